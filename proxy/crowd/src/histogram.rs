//! Durations counted in fixed memory: quantiles are exact to 1.6 % from a microsecond to half a day.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use room::time::as_micros;
use serde::{Deserialize, Serialize};

/// Steps within each doubling.
const STEPS_BITS: u32 = 6;
const STEPS: u64 = 1 << STEPS_BITS;
/// Beyond 2^36 µs, 19 hours, everything counts as that.
const DOUBLINGS: u32 = 36;
const BUCKETS: usize = ((DOUBLINGS - STEPS_BITS + 1) as usize) << STEPS_BITS;

/// One owner counts; several are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Grows to the largest bucket that was hit.
    counts: Vec<u64>,
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        self.add(bucket(as_micros(took)), 1);
    }

    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().enumerate().for_each(|(index, count)| self.add(index, *count));
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// In milliseconds, never below the true value; `None` when nothing was recorded.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(highest(index) as f64 / 1000.0)
    }

    fn add(&mut self, index: usize, count: u64) {
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        if let Some(bucket) = self.counts.get_mut(index) {
            *bucket += count;
        }
    }
}

/// The same for many who count at once.
#[derive(Debug)]
pub struct Latencies(Box<[AtomicU64]>);

impl Default for Latencies {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Latencies {
    pub fn record(&self, took: Duration) {
        if let Some(count) = self.0.get(bucket(as_micros(took))) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub fn absorb(&self, other: &Histogram) {
        for (count, more) in self.0.iter().zip(&other.counts) {
            count.fetch_add(*more, Relaxed);
        }
    }

    pub fn snapshot(&self) -> Histogram {
        let mut counts: Vec<u64> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        Histogram { counts }
    }

    pub fn count(&self) -> u64 {
        self.snapshot().count()
    }

    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.snapshot().quantile_ms(share)
    }
}

/// The first doublings are counted singly; from then on the highest bits choose.
fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << DOUBLINGS) - 1);
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    ((u64::from(shift) << STEPS_BITS) + (micros >> shift)) as usize
}

/// The largest number of microseconds that falls into a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> STEPS_BITS).saturating_sub(1);
    let steps = bucket - (shift << STEPS_BITS);
    debug_assert!(steps < 2 * STEPS, "a bucket is a shift and at most twice the steps");
    ((steps + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), None);
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (0.999, 999.0)] {
            let shown = latencies.quantile_ms(share).unwrap();
            assert!((shown - exact).abs() / exact < 0.02, "{share}: {shown}");
        }
    }

    #[test]
    fn durations_beyond_the_scale_land_at_its_ends() {
        let latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(400_000));
        assert_eq!(latencies.count(), 2);
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let (mut whole, mut parts) = (Histogram::default(), [Histogram::default(), Histogram::default()]);
        for ms in 0..500_u64 {
            whole.record(Duration::from_millis(ms * 7));
            parts[usize::from(ms > 100)].record(Duration::from_millis(ms * 7));
        }
        let [mut one, other] = parts;
        one.merge(&other);
        let shared = Latencies::default();
        shared.absorb(&one);
        assert_eq!((&one, shared.snapshot()), (&whole, whole.clone()));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_durations_to_two_percent(micros in 0_u64..1 << DOUBLINGS) {
            let index = bucket(micros);
            prop_assert!(index < BUCKETS);
            let most = highest(index);
            prop_assert!(most >= micros && (most - micros) as f64 <= micros as f64 / STEPS as f64);
        }
    }
}
