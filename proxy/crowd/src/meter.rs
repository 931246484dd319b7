//! What is counted while the crowd runs: cheap, shared, bounded.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Shared by everyone in the run.
#[derive(Debug, Default)]
pub struct Meter {
    pub latencies: Latencies,
    pub limited: AtomicU64,
    pub arrived: AtomicU64,
    pub turns: AtomicU64,
    pub entries: AtomicU64,
    pub paid: AtomicU64,
    pub waiting: AtomicI64,
    pub shopping: AtomicI64,
    /// Waiting sockets that are open.
    pub sockets: AtomicI64,
    /// Requests of those who stay inside that were answered, and that failed.
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Meter {
    /// One more of a kind; kinds are names in this program, so there are few.
    pub fn error(&self, kind: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *errors.entry(kind).or_default() += 1;
    }

    pub fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Adds one for as long as it lives.
#[derive(Debug)]
pub struct Present<'a>(&'a AtomicI64);

impl<'a> Present<'a> {
    pub fn on(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

const BUCKETS: usize = 1024;
/// Each bucket is 1.5 % wider than the one before, from 10 µs on: 1,024 of them reach 40 s.
const GROWTH: f64 = 1.015;
const FIRST_MICROS: f64 = 10.0;

/// A histogram of durations in fixed memory; quantiles are exact to 1.5 %.
#[derive(Debug)]
pub struct Latencies(Box<[AtomicU64]>);

impl Default for Latencies {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Latencies {
    pub fn record(&self, took: Duration) {
        let micros = took.as_secs_f64() * 1e6;
        let index = (micros / FIRST_MICROS).max(1.0).ln() / GROWTH.ln();
        if let Some(bucket) = self.0.get((index as usize).min(BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// In milliseconds; `None` when nothing was recorded.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total = self.count();
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |bucket: &AtomicU64| {
            seen += bucket.load(Relaxed);
            seen >= wanted
        };
        let index = self.0.iter().position(reached)?;
        Some(FIRST_MICROS * GROWTH.powf(index as f64 + 1.0) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), None);
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let shown = latencies.quantile_ms(share).unwrap();
            assert!((shown - exact).abs() / exact < 0.02, "{share}: {shown}");
        }
    }

    #[test]
    fn durations_beyond_the_scale_land_at_its_ends() {
        let latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(4000));
        assert_eq!(latencies.count(), 2);
    }

    #[test]
    fn a_gauge_falls_when_its_holder_goes() {
        let meter = Meter::default();
        drop(Present::on(&meter.waiting));
        assert_eq!(meter.waiting.load(Relaxed), 0);
    }
}
