//! Practice: a sale that opens again and again, so that people can learn to be fast before it matters.
//!
//! This file is the rule, without IO or clock; [`timetable`] is what a process knows of the rules of all events and of
//! the database's clock, [`worker`] keeps them.

pub mod names;
pub mod timetable;
pub mod worker;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An instant: milliseconds since the Unix epoch, by the clock of the database.
pub type Millis = i64;

const SHORTEST_PERIOD: Millis = 1000;
const LONGEST_PERIOD: Millis = 24 * 3600 * 1000;
const SHORTEST_WINDOW: Millis = 100;
/// Between two windows, for the stock to come back.
const SHORTEST_GAP: Millis = 500;
/// Who holds something when a window closes may still pay for so long, or for half of the gap if that is shorter.
const LONGEST_GRACE: Millis = 10_000;

/// When the sale is open: in each period, counted from the epoch, between two moments. Written
/// `every=60s open=0s-15s`, with the units `ms`, `s`, `m`, `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    every: Millis,
    opens: Millis,
    closes: Millis,
}

/// One time that the sale is open: from `opens_at`, which is also its name, until just before `closes_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    pub opens_at: Millis,
    pub closes_at: Millis,
}

/// A rule that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("write it as `every=60s open=0s-15s`; the units are ms, s, m, h")]
    Form,
    #[error("a period takes 1 s to 24 h")]
    Period,
    #[error("the window lies within its period, opens before it closes, and is open for 100 ms at least")]
    Window,
    #[error("leave 500 ms at least between two windows, for the stock to come back")]
    Gap,
}

impl Rule {
    pub const fn new(every: Millis, opens: Millis, closes: Millis) -> Result<Self, RuleError> {
        if every < SHORTEST_PERIOD || every > LONGEST_PERIOD {
            return Err(RuleError::Period);
        }
        if opens < 0 || closes > every || closes < opens || closes - opens < SHORTEST_WINDOW {
            return Err(RuleError::Window);
        }
        if every - (closes - opens) < SHORTEST_GAP {
            return Err(RuleError::Gap);
        }
        Ok(Self { every, opens, closes })
    }

    /// Period, opening and closing within it.
    pub const fn parts(self) -> [Millis; 3] {
        [self.every, self.opens, self.closes]
    }

    pub const fn every(self) -> Millis {
        self.every
    }

    pub const fn window_length(self) -> Millis {
        self.closes - self.opens
    }

    /// The window that opened last: it may be open still.
    pub const fn latest(self, now: Millis) -> Window {
        self.window((now - self.opens).div_euclid(self.every))
    }

    /// The window that opens next, after `now`.
    pub const fn next(self, now: Millis) -> Window {
        self.window((now - self.opens).div_euclid(self.every) + 1)
    }

    pub const fn is_open(self, now: Millis) -> bool {
        now < self.latest(now).closes_at
    }

    /// How long until the sale opens; `None` while it is open.
    pub const fn closed_for(self, now: Millis) -> Option<Duration> {
        if self.is_open(now) { None } else { Some(between(now, self.next(now).opens_at)) }
    }

    /// The window that the stock should be for: a while after one has closed, the next.
    pub const fn stock_for(self, now: Millis) -> Millis {
        let latest = self.latest(now);
        if now < latest.closes_at + self.grace() { latest.opens_at } else { self.next(now).opens_at }
    }

    /// How long until something changes: the sale opens or closes, or its stock comes back.
    pub fn until_edge(self, now: Millis) -> Duration {
        let latest = self.latest(now);
        let edges = [latest.closes_at, latest.closes_at + self.grace(), self.next(now).opens_at];
        let next = edges.into_iter().find(|edge| *edge > now);
        between(now, next.unwrap_or(now))
    }

    const fn grace(self) -> Millis {
        let half = (self.every - self.window_length()) / 2;
        if half < LONGEST_GRACE { half } else { LONGEST_GRACE }
    }

    const fn window(self, number: i64) -> Window {
        let start = number * self.every;
        Window { opens_at: start + self.opens, closes_at: start + self.closes }
    }
}

const fn between(from: Millis, to: Millis) -> Duration {
    Duration::from_millis(to.abs_diff(from))
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(every), Some(open), None) = (words.next(), words.next(), words.next()) else {
            return Err(RuleError::Form);
        };
        let every = every.strip_prefix("every=").and_then(millis).ok_or(RuleError::Form)?;
        let open = open.strip_prefix("open=").and_then(|open| open.split_once('-'));
        let (opens, closes) = open.ok_or(RuleError::Form)?;
        Self::new(every, millis(opens).ok_or(RuleError::Form)?, millis(closes).ok_or(RuleError::Form)?)
    }
}

/// Whole digits and a unit.
fn millis(text: &str) -> Option<Millis> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(unit)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<Millis>().ok()?.checked_mul(factor)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every={}ms open={}ms-{}ms", self.every, self.opens, self.closes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rule_is_read_or_refused_with_what_is_wrong() {
        let rule: Rule = "every=60s open=0s-15s".parse().unwrap();
        assert_eq!(rule.parts(), [60_000, 0, 15_000]);
        assert_eq!(
            "every=1h  open=30m-2100s".parse::<Rule>().unwrap().parts(),
            [3_600_000, 1_800_000, 2_100_000]
        );
        for (text, error) in [
            ("", RuleError::Form),
            ("every=60s", RuleError::Form),
            ("every=60 open=0s-15s", RuleError::Form),
            ("every=60s open=0s", RuleError::Form),
            ("every=-60s open=0s-15s", RuleError::Form),
            ("every=60s open=0s-15s now", RuleError::Form),
            ("every=99999999999999999999s open=0s-15s", RuleError::Form),
            ("every=9223372036854775807h open=0s-15s", RuleError::Form),
            ("every=999ms open=0s-1s", RuleError::Period),
            ("every=25h open=0s-15s", RuleError::Period),
            ("every=60s open=15s-0s", RuleError::Window),
            ("every=60s open=50s-61s", RuleError::Window),
            ("every=60s open=1s-1050ms", RuleError::Window),
            ("every=60s open=0s-60s", RuleError::Gap),
        ] {
            assert_eq!(text.parse::<Rule>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_first_quarter_of_each_minute() {
        let rule: Rule = "every=60s open=0s-15s".parse().unwrap();
        let minute = 29_000_000 * 60_000;
        let window = Window { opens_at: minute, closes_at: minute + 15_000 };
        assert_eq!(rule.latest(minute), window);
        assert_eq!((rule.is_open(minute - 1), rule.is_open(minute)), (false, true));
        assert_eq!((rule.is_open(minute + 14_999), rule.is_open(minute + 15_000)), (true, false));
        assert_eq!(rule.closed_for(minute + 20_000), Some(Duration::from_secs(40)));
        assert_eq!(rule.stock_for(minute + 24_999), minute, "who holds something may still pay");
        assert_eq!(rule.stock_for(minute + 25_000), minute + 60_000);
    }

    fn rules() -> impl Strategy<Value = Rule> {
        (SHORTEST_PERIOD..=LONGEST_PERIOD)
            .prop_flat_map(|every| (Just(every), 0..every, 0..=every))
            .prop_filter_map("a rule that cannot be kept", |(every, opens, closes)| {
                Rule::new(every, opens, closes).ok()
            })
    }

    proptest! {
        #[test]
        fn a_rule_reads_back(rule in rules()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        /// Whatever the rule and the moment: windows follow each other without overlapping, and the stock is that of
        /// the open window, and of a later one never before a window is over.
        #[test]
        fn windows_follow_each_other(rule in rules(), now in 0_i64..4_000_000_000_000) {
            let (latest, next) = (rule.latest(now), rule.next(now));
            prop_assert!(latest.opens_at <= now && now < next.opens_at);
            prop_assert_eq!(next.opens_at - latest.opens_at, rule.every());
            prop_assert!(latest.closes_at < next.opens_at);
            prop_assert_eq!(latest.opens_at.rem_euclid(rule.every()), rule.parts()[1]);
            prop_assert_eq!(rule.is_open(now), now < latest.closes_at);
            let stock = rule.stock_for(now);
            if rule.is_open(now) {
                prop_assert_eq!(stock, latest.opens_at);
                prop_assert_eq!(rule.closed_for(now), None);
            } else {
                prop_assert!(stock == latest.opens_at || stock == next.opens_at);
                let waited = now + rule.closed_for(now).unwrap().as_millis() as i64;
                prop_assert_eq!(waited, next.opens_at);
                prop_assert!(rule.is_open(waited) && !rule.is_open(waited - 1));
            }
        }

        /// Between two edges nothing changes, and at each one something does.
        #[test]
        fn edges_are_where_something_changes(rule in rules(), now in 0_i64..4_000_000_000_000, part in 0.0_f64..1.0) {
            let state = |at| (rule.is_open(at), rule.stock_for(at));
            let wait = rule.until_edge(now).as_millis() as i64;
            prop_assert!(wait > 0 && wait < rule.every());
            prop_assert_eq!(state(now + ((wait - 1) as f64 * part) as i64), state(now));
            prop_assert_ne!(state(now + wait), state(now));
        }
    }
}
