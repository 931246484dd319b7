//! How many may pass: a rate as one timestamp (GCRA, ITU-T I.371).
//!
//! `tat`, the theoretical arrival time, is when the bucket would be full again. All arithmetic is on whole
//! microseconds and rounds against the visitor, so that over any window the tokens taken are at most
//! `rate × window + burst`, and the Redis scripts, which have only doubles, compute the same numbers.

use serde::{Deserialize, Serialize};

use crate::time::Micros;

const MINUTE_MICROS: u64 = 60_000_000;

/// A token bucket. Rates are tokens per minute and never zero (see [`crate::rules::Rules`]). The greater of two is the
/// emptier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget {
    tat: Micros,
}

impl Budget {
    /// A bucket that is empty at `now`.
    pub fn empty(now: Micros, rate: u32, burst: u32) -> Self {
        Self { tat: Micros(now.0 + cost(u64::from(burst), rate)) }
    }

    /// Tokens that may be taken at `now`.
    pub fn tokens(&self, now: Micros, rate: u32, burst: u32) -> u64 {
        let full = now.0 + cost(u64::from(burst), rate);
        full.saturating_sub(self.tat.max(now).0) * u64::from(rate) / MINUTE_MICROS
    }

    /// Takes `count`, which must not exceed [`Self::tokens`].
    pub fn take(&mut self, count: u64, now: Micros, rate: u32) {
        if count > 0 {
            self.tat = Micros(self.tat.max(now).0 + cost(count, rate));
        }
    }

    /// Returns tokens that were taken for nothing.
    pub fn give_back(&mut self, count: u64, rate: u32) {
        self.tat = Micros(self.tat.0.saturating_sub(count * MINUTE_MICROS / u64::from(rate)));
    }

    /// When the next token may be taken; `now` if one is there.
    pub fn next_at(&self, now: Micros, rate: u32, burst: u32) -> Micros {
        let ready = (self.tat.0 + cost(1, rate)).saturating_sub(cost(u64::from(burst), rate));
        Micros(ready).max(now)
    }

    /// Changes the rate and keeps the tokens that are missing, so that no change, however often repeated, makes
    /// tokens of its own.
    pub fn retune(&mut self, now: Micros, old: u32, new: u32) {
        let missing = self.tat.0.saturating_sub(now.0) * u64::from(old);
        if missing > 0 {
            self.tat = Micros(now.0 + missing.div_ceil(u64::from(new)));
        }
    }
}

/// As a store keeps it: the instant at which the bucket would be full again.
impl From<Budget> for Micros {
    fn from(budget: Budget) -> Self {
        budget.tat
    }
}

impl From<Micros> for Budget {
    fn from(tat: Micros) -> Self {
        Self { tat }
    }
}

/// How long `count` tokens take to refill.
fn cost(count: u64, rate: u32) -> u64 {
    (count * MINUTE_MICROS).div_ceil(u64::from(rate))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const START: Micros = Micros(1_767_225_600_000_000);

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_token_an_interval() {
        let mut budget = Budget::default();
        assert_eq!(budget.tokens(START, 60, 5), 5);
        budget.take(5, START, 60);
        assert_eq!(budget.tokens(START, 60, 5), 0);
        assert_eq!(budget.next_at(START, 60, 5), START + Duration::from_secs(1));
        assert_eq!(budget.tokens(START + Duration::from_millis(999), 60, 5), 0);
        assert_eq!(budget.tokens(START + Duration::from_secs(1), 60, 5), 1);
        assert_eq!(budget.tokens(START + Duration::from_secs(60), 60, 5), 5);
    }

    #[test]
    fn a_returned_token_can_be_taken_again() {
        let mut budget = Budget::empty(START, 60, 5);
        assert_eq!(budget.tokens(START, 60, 5), 0);
        budget.give_back(2, 60);
        assert_eq!(budget.tokens(START, 60, 5), 2);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Take,
        Retune(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u64..3_000_000).prop_map(Step::Wait),
            Just(Step::Take),
            (1_u32..100_000).prop_map(Step::Retune),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// The promise of the product: over *any* window, through any changes of the rate, tokens taken are at
        /// most the integral of the rate plus the largest burst.
        #[test]
        fn no_window_holds_more_than_rate_and_burst(rate in 1_u32..100_000, steps in steps()) {
            let burst_of = |rate: u32| rate.div_ceil(60).max(2);
            let (mut now, mut rate, mut budget) = (START, rate, Budget::default());
            // (instant, tokens taken, integral of the rate until then, burst)
            let mut log: Vec<(u64, f64, u32)> = Vec::new();
            let mut integral = 0.0;
            for step in steps {
                match step {
                    Step::Wait(micros) => {
                        now = Micros(now.0 + micros);
                        integral += micros as f64 * f64::from(rate) / 6e7;
                    }
                    Step::Take => {
                        let count = budget.tokens(now, rate, burst_of(rate));
                        budget.take(count, now, rate);
                        log.push((count, integral, burst_of(rate)));
                    }
                    Step::Retune(new) => {
                        budget.retune(now, rate, new);
                        rate = new;
                    }
                }
            }
            for from in 0..log.len() {
                let (mut taken, mut burst) = (0, 0);
                for &(count, until, burst_then) in &log[from..] {
                    taken += count;
                    burst = burst.max(burst_then);
                    let allowed = until - log[from].1 + f64::from(burst);
                    // One microsecond of the fastest rate is the resolution of the clock.
                    prop_assert!(taken as f64 <= allowed + 0.01, "{taken} > {allowed}");
                }
            }
        }

        #[test]
        fn the_limit_is_used_to_99_percent(rate in 1_u32..1_000_000) {
            let burst = rate.div_ceil(60).max(1 + rate.div_ceil(600));
            let mut budget = Budget::empty(START, rate, burst);
            let (mut now, mut taken) = (START, 0);
            for _ in 0..6000 {
                now = now + Duration::from_millis(100);
                let count = budget.tokens(now, rate, burst);
                budget.take(count, now, rate);
                taken += count;
            }
            prop_assert!(taken as f64 >= 0.99 * f64::from(rate) * 10.0 - 1.0);
        }
    }
}
