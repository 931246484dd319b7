//! Percentiles of latencies.

use std::time::Duration;

/// All latencies of a run: exact, 4 bytes each.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// Microseconds.
    micros: Vec<u32>,
}

impl Latencies {
    pub fn note(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn add(&mut self, other: &Self) {
        self.micros.extend_from_slice(&other.micros);
    }

    pub fn len(&self) -> usize {
        self.micros.len()
    }

    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The latency that `percent` of all stay below or reach, in milliseconds; 0 without any.
    pub fn ms(&mut self, percent: f64) -> f64 {
        let rank = (self.micros.len() as f64 * percent / 100.0).ceil() as usize;
        let index = rank.saturating_sub(1);
        if index >= self.micros.len() {
            return 0.0;
        }
        let (_, micros, _) = self.micros.select_nth_unstable(index);
        f64::from(*micros) / 1e3
    }
}

impl Extend<Duration> for Latencies {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, latencies: I) {
        for latency in latencies {
            self.note(latency);
        }
    }
}

#[cfg(test)]
// Exact on purpose: what is compared was not computed with.
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_of_what_was_noted() {
        let mut all = Latencies::default();
        all.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!([all.ms(50.0), all.ms(95.0), all.ms(99.0), all.ms(100.0)], [50.0, 95.0, 99.0, 100.0]);
    }

    #[test]
    fn nothing_noted_is_no_latency() {
        assert_eq!(Latencies::default().ms(99.0), 0.0);
    }
}
