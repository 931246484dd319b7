//! The payment saga: an order goes HOLD → PAYING → PAID, or what was taken is given back.
//!
//! The rules are here, without IO: what the gateway says of a charge, and what follows from it for a payment. Nothing
//! depends on the way it was heard (a webhook, an answer) or on how often, so a word that comes late, twice or in the
//! wrong order does no harm. `db::payments` carries the steps out, [`drive`] asks the gateway until an end is reached.

pub mod args;
pub mod drive;
pub mod gateway;
pub mod mock;
pub mod signature;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PaymentStatus {
    /// The buyer has seen the amount.
    Intent,
    /// The gateway was asked for the money, or will be in a moment.
    Authorizing,
    /// Paid, and the order with it.
    Succeeded,
    Failed,
    /// Called off before money moved.
    Cancelled,
    /// Money came that buys nothing any more; it goes back.
    Refunding,
    Refunded,
}

/// Where the gateway says a charge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Charge {
    Pending,
    Succeeded,
    Failed,
    Cancelled,
    Refunded,
}

/// What follows for a payment from a word of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Known already, or nothing decided yet.
    Stay,
    /// Sell what is on hold; if it is on hold no more, [`Step::Refund`].
    Sell,
    /// Give back what is on hold, and end like this.
    GiveBack(PaymentStatus),
    /// The money came in vain: ask the gateway to send it back.
    Refund,
    /// It is back.
    Refunded,
}

/// The rule of the saga.
pub const fn step(payment: PaymentStatus, charge: Charge) -> Step {
    use PaymentStatus::{Authorizing, Cancelled, Failed, Intent, Refunding};
    match (payment, charge) {
        (Intent | Authorizing, Charge::Succeeded) => Step::Sell,
        (Intent | Authorizing, Charge::Failed) => Step::GiveBack(Failed),
        (Intent | Authorizing, Charge::Cancelled) => Step::GiveBack(Cancelled),
        // The gateway called it off, and money moved all the same.
        (Failed | Cancelled, Charge::Succeeded) => Step::Refund,
        (Intent | Authorizing | Failed | Cancelled | Refunding, Charge::Refunded) => Step::Refunded,
        // Nothing decided, known already, or at an end.
        _ => Step::Stay,
    }
}

impl PaymentStatus {
    const ALL: [Self; 7] = [
        Self::Intent,
        Self::Authorizing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Refunding,
        Self::Refunded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "INTENT",
            Self::Authorizing => "AUTHORIZING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Refunding => "REFUNDING",
            Self::Refunded => "REFUNDED",
        }
    }

    /// Whether the gateway still has something to do.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Authorizing | Self::Refunding)
    }
}

impl fmt::Display for PaymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PaymentStatus {
    type Err = UnknownPaymentStatus;

    fn from_str(text: &str) -> Result<Self, UnknownPaymentStatus> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| UnknownPaymentStatus(text.into()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a payment has the unknown status `{0}`; is this program older than its database?")]
pub struct UnknownPaymentStatus(String);

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGES: [Charge; 5] =
        [Charge::Pending, Charge::Succeeded, Charge::Failed, Charge::Cancelled, Charge::Refunded];

    /// Where a payment goes, if its order can (`on_hold`) or cannot be sold any more.
    fn after(payment: PaymentStatus, charge: Charge, on_hold: bool) -> PaymentStatus {
        match step(payment, charge) {
            Step::Stay => payment,
            Step::Sell if on_hold => PaymentStatus::Succeeded,
            Step::Sell | Step::Refund => PaymentStatus::Refunding,
            Step::GiveBack(end) => end,
            Step::Refunded => PaymentStatus::Refunded,
        }
    }

    #[test]
    fn a_word_heard_twice_changes_nothing_the_second_time() {
        for payment in PaymentStatus::ALL {
            for charge in CHARGES {
                for on_hold in [true, false] {
                    let once = after(payment, charge, on_hold);
                    assert_eq!(after(once, charge, false), once, "{payment} {charge:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_sold_stays_sold_and_what_is_refunded_stays_refunded() {
        for charge in CHARGES {
            for end in [PaymentStatus::Succeeded, PaymentStatus::Refunded] {
                assert_eq!(step(end, charge), Step::Stay);
            }
        }
    }

    #[test]
    fn money_that_moved_is_kept_only_for_something_sold() {
        for payment in [
            PaymentStatus::Intent,
            PaymentStatus::Authorizing,
            PaymentStatus::Failed,
            PaymentStatus::Cancelled,
            PaymentStatus::Refunding,
        ] {
            assert_eq!(after(payment, Charge::Succeeded, false), PaymentStatus::Refunding, "{payment}");
        }
        assert_eq!(after(PaymentStatus::Authorizing, Charge::Succeeded, true), PaymentStatus::Succeeded);
        assert_eq!(after(PaymentStatus::Cancelled, Charge::Succeeded, true), PaymentStatus::Refunding);
    }

    #[test]
    fn a_status_reads_back() {
        for status in PaymentStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("PAID".parse::<PaymentStatus>().is_err());
    }
}
