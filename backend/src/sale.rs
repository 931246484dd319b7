//! The rules of a sale, without IO: stock, quantities, keys and the states of an order.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

/// The counters of one event. `sold + held ≤ total`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stock {
    pub total: u32,
    pub held: u32,
    pub sold: u32,
}

impl Stock {
    /// What a buyer could still take.
    pub const fn remaining(self) -> u32 {
        self.total.saturating_sub(self.held).saturating_sub(self.sold)
    }

    /// Whether anything may still be bought, now or when a hold expires.
    pub const fn is_open(self) -> bool {
        self.sold < self.total
    }

    /// The stock with `qty` more on hold, or `None` if there is not that much left.
    #[must_use]
    pub const fn hold(self, qty: Qty) -> Option<Self> {
        if qty.get() > self.remaining() {
            return None;
        }
        Some(Self { held: self.held + qty.get(), ..self })
    }
}

/// What one buyer of an event asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub user: &'a str,
    /// One purchase of this user.
    pub key: &'a str,
    pub qty: Qty,
}

/// What one wish comes to; `remaining` is what is left for those who come after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    Hold {
        remaining: u32,
    },
    OutOfStock {
        remaining: u32,
    },
    /// The same purchase stands further ahead.
    Duplicate,
}

/// Serves wishes in their order: each gets all it asks for, or nothing if that much is not left. The stock is what
/// remains to be written.
pub fn decide(mut stock: Stock, wishes: &[Wish<'_>]) -> (Stock, Vec<Decision>) {
    let mut seen = HashSet::with_capacity(wishes.len());
    let mut decisions = Vec::with_capacity(wishes.len());
    for wish in wishes {
        decisions.push(if !seen.insert((wish.user, wish.key)) {
            Decision::Duplicate
        } else if let Some(after) = stock.hold(wish.qty) {
            stock = after;
            Decision::Hold { remaining: after.remaining() }
        } else {
            Decision::OutOfStock { remaining: stock.remaining() }
        });
    }
    (stock, decisions)
}

/// The name of an event: 1 to 64 bytes without control characters. Whether it exists is another question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(String);

impl EventId {
    pub const MAX_BYTES: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = SaleError;

    fn from_str(text: &str) -> Result<Self, SaleError> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.into())) } else { Err(SaleError::EventId) }
    }
}

/// How many tickets one purchase asks for: at least 1, at most what the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Qty(u32);

impl Qty {
    pub fn new(asked: i64, max: u32) -> Result<Self, SaleError> {
        match u32::try_from(asked) {
            Ok(qty) if (1..=max).contains(&qty) => Ok(Self(qty)),
            _ => Err(SaleError::Qty { asked, max }),
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What the buyer calls one purchase: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const MAX_BYTES: usize = 255;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = SaleError;

    fn from_str(text: &str) -> Result<Self, SaleError> {
        match text.len() {
            0 => Err(SaleError::KeyMissing),
            len if len > Self::MAX_BYTES => Err(SaleError::KeyTooLong(len)),
            _ if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(text.into())),
            _ => Err(SaleError::KeyUnreadable),
        }
    }
}

/// A request that no stock could fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaleError {
    #[error("no event has such an id: it has 1 to {max} bytes, none of them control characters", max = EventId::MAX_BYTES)]
    EventId,
    #[error("`qty` is {asked}; one purchase takes 1 to {max}")]
    Qty { asked: i64, max: u32 },
    #[error("send an `Idempotency-Key` header; repeat it only to retry the same purchase")]
    KeyMissing,
    #[error("the `Idempotency-Key` has {0} bytes; at most {max} are taken", max = IdempotencyKey::MAX_BYTES)]
    KeyTooLong(usize),
    #[error("the `Idempotency-Key` may hold visible ASCII characters only")]
    KeyUnreadable,
}

/// Where an order stands. The order of the variants is the order of time: a status never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Init,
    Hold,
    Paying,
    Paid,
    Expired,
    Rejected,
    Cancelled,
    Refunded,
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Init,
        Self::Hold,
        Self::Paying,
        Self::Paid,
        Self::Expired,
        Self::Rejected,
        Self::Cancelled,
        Self::Refunded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Hold => "HOLD",
            Self::Paying => "PAYING",
            Self::Paid => "PAID",
            Self::Expired => "EXPIRED",
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELLED",
            Self::Refunded => "REFUNDED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownStatus(text.into()))
    }
}

/// The database holds a status that this program does not know: it is older than the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an order has the unknown status `{0}`; is this program older than its database?")]
pub struct UnknownStatus(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hold_takes_from_what_remains_and_never_more() {
        let stock = Stock { total: 10, held: 3, sold: 5 };
        let two = Qty::new(2, 8).unwrap();
        assert_eq!(stock.remaining(), 2);
        let after = stock.hold(two).unwrap();
        assert_eq!((after.remaining(), after.held, after.sold), (0, 5, 5));
        assert_eq!(after.hold(Qty::new(1, 8).unwrap()), None);
    }

    #[test]
    fn a_sale_stays_open_while_a_hold_could_come_back() {
        assert!(Stock { total: 2, held: 2, sold: 0 }.is_open());
        assert!(!Stock { total: 2, held: 0, sold: 2 }.is_open());
    }

    #[test]
    fn a_purchase_takes_one_to_max() {
        for (asked, fits) in [(i64::MIN, false), (-1, false), (0, false), (1, true), (8, true), (9, false)] {
            assert_eq!(Qty::new(asked, 8).is_ok(), fits, "{asked}");
        }
    }

    #[test]
    fn an_event_id_is_short_text() {
        for (text, fits) in [("e1", true), ("Straße 7", true), ("", false), ("a\0", false), ("a\nb", false)]
        {
            assert_eq!(text.parse::<EventId>().is_ok(), fits, "{text:?}");
        }
        assert!("e".repeat(65).parse::<EventId>().is_err());
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        assert!("0192-a".parse::<IdempotencyKey>().is_ok());
        assert!("k".repeat(255).parse::<IdempotencyKey>().is_ok());
        assert_eq!("".parse::<IdempotencyKey>(), Err(SaleError::KeyMissing));
        assert_eq!("k".repeat(256).parse::<IdempotencyKey>(), Err(SaleError::KeyTooLong(256)));
        assert_eq!("a b".parse::<IdempotencyKey>(), Err(SaleError::KeyUnreadable));
    }

    #[test]
    fn a_status_reads_back_and_knows_which_came_first() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!(Status::ALL.is_sorted() && Status::Hold < Status::Expired);
        assert!("SOLD".parse::<Status>().is_err());
    }

    fn qty(count: u32) -> Qty {
        Qty::new(count.into(), 8).unwrap()
    }

    #[test]
    fn a_group_is_served_in_order_and_whoever_asks_for_less_may_get_what_is_left() {
        let stock = Stock { total: 10, held: 2, sold: 4 };
        let wish = |user, count| Wish { user, key: "k", qty: qty(count) };
        let wishes = [wish("ann", 3), wish("bob", 2), wish("ann", 1), wish("cat", 1), wish("dan", 1)];
        let (after, decisions) = decide(stock, &wishes);
        let expected = [
            Decision::Hold { remaining: 1 },
            Decision::OutOfStock { remaining: 1 },
            Decision::Duplicate,
            Decision::Hold { remaining: 0 },
            Decision::OutOfStock { remaining: 0 },
        ];
        assert_eq!(decisions, expected);
        assert_eq!(after, Stock { held: 6, ..stock });
    }

    proptest! {
        /// Whatever the stock and the crowd: what is held is what was promised, nobody is refused what was there, and
        /// a group comes to the same as one after the other.
        #[test]
        fn a_group_comes_to_the_same_as_one_buyer_after_the_other(
            (total, sold, held) in (0_u32..300).prop_flat_map(|total| (Just(total), 0..=total))
                .prop_flat_map(|(total, sold)| (Just(total), Just(sold), 0..=total - sold)),
            crowd in prop::collection::vec((0_u8..60, 0_u8..2, 1_u32..=8), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let stock = Stock { total, held, sold };
            let names: Vec<(String, String)> =
                crowd.iter().map(|(user, key, _)| (format!("u{user}"), format!("k{key}"))).collect();
            let wishes: Vec<Wish<'_>> = crowd.iter().zip(&names)
                .map(|((_, _, count), (user, key))| Wish { user, key, qty: qty(*count) }).collect();
            let (after, decisions) = decide(stock, &wishes);

            let mut left = stock.remaining();
            let mut promised = 0;
            let mut seen = HashSet::new();
            for (wish, decision) in wishes.iter().zip(&decisions) {
                let first = seen.insert((wish.user, wish.key));
                match *decision {
                    Decision::Hold { remaining } => {
                        prop_assert!(first && wish.qty.get() <= left);
                        left -= wish.qty.get();
                        promised += wish.qty.get();
                        prop_assert_eq!(remaining, left);
                    }
                    Decision::OutOfStock { remaining } => {
                        prop_assert!(first && wish.qty.get() > left);
                        prop_assert_eq!(remaining, left);
                    }
                    Decision::Duplicate => prop_assert!(!first),
                }
            }
            prop_assert_eq!(after, Stock { held: held + promised, ..stock });
            prop_assert!(after.held + after.sold <= after.total);

            // Cut anywhere, the two groups come to the same, but for who is known as a duplicate.
            let (one, other) = wishes.split_at(cut.index(wishes.len() + 1));
            let (between, _) = decide(stock, one);
            let answered: HashSet<_> = one.iter().map(|wish| (wish.user, wish.key)).collect();
            let fresh: Vec<Wish<'_>> =
                other.iter().filter(|wish| !answered.contains(&(wish.user, wish.key))).copied().collect();
            prop_assert_eq!(decide(between, &fresh).0, after);
        }
    }
}
