//! An independent eye on the limit: measures entries against what the rate allowed, from the outside of the queue.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Micros, as_micros};

/// Utilisation is taken over this long.
const WINDOW: Duration = Duration::from_secs(60);
/// Samples closer than this are one: the memory is bounded by `WINDOW / STEP`.
const STEP: Duration = Duration::from_secs(1);

/// Follows the count of all entries of a room.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    last: Option<Sample>,
    /// Entries above what the rate has allowed so far; the limit is broken when this exceeds the burst.
    level: f64,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Micros,
    entered: u64,
    /// Entries that the rate allowed until then.
    allowed: f64,
    /// Part of the time until then in which somebody waited, in microseconds.
    wanted: u64,
}

/// What a reading says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// Entries beyond rate and burst since the last reading: zero, always.
    pub over: u64,
    /// Entries of the last minute over what the rate allowed in it; `None` while nobody had to wait for most of it.
    pub utilisation: Option<f64>,
}

impl Meter {
    /// `entered`: all entries since the room began. `waits`: whether somebody stands in the line.
    pub fn read(&mut self, at: Micros, entered: u64, rate: u32, burst: u32, waits: bool) -> Reading {
        let Some(last) = self.last.filter(|last| last.at <= at && last.entered <= entered) else {
            *self = Self { last: Some(Sample { at, entered, allowed: 0.0, wanted: 0 }), ..Self::default() };
            return Reading::default();
        };
        let span = as_micros(at.since(last.at));
        let allowed = span as f64 * f64::from(rate) / 6e7;
        let wanted = last.wanted + if waits { span } else { 0 };
        let sample = Sample { at, entered, allowed: last.allowed + allowed, wanted };
        self.last = Some(sample);
        // When in the span they came is not known: all of it may have been before them.
        self.level = (self.level + (entered - last.entered) as f64 - allowed).max(0.0);
        // What is counted once is not counted again.
        let over = (self.level - f64::from(burst)).max(0.0).floor();
        self.level -= over;
        self.keep(sample);
        Reading { over: over as u64, utilisation: self.utilisation(sample) }
    }

    fn keep(&mut self, sample: Sample) {
        if self.samples.back().is_none_or(|newest| sample.at.since(newest.at) >= STEP) {
            self.samples.push_back(sample);
        }
        while self.samples.front().is_some_and(|oldest| sample.at.since(oldest.at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    fn utilisation(&self, now: Sample) -> Option<f64> {
        let then = self.samples.front()?;
        let span = as_micros(now.at.since(then.at));
        let allowed = now.allowed - then.allowed;
        let mostly_wanted = (now.wanted - then.wanted) * 10 >= span * 9 && span > 0;
        (mostly_wanted && allowed > 0.0).then(|| (now.entered - then.entered) as f64 / allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(meter: &mut Meter, millis: u64, entered: u64) -> Reading {
        meter.read(Micros(millis * 1000), entered, 600, 10, true)
    }

    #[test]
    fn a_room_at_its_limit_is_fully_used_and_never_over() {
        let mut meter = Meter::default();
        let readings: Vec<Reading> = (0..1200).map(|tick| read(&mut meter, tick * 100, 10 + tick)).collect();
        assert!(readings.iter().all(|reading| reading.over == 0));
        let last = readings.last().and_then(|reading| reading.utilisation).unwrap();
        assert!((0.99..1.01).contains(&last), "{last}");
    }

    #[test]
    fn entries_beyond_rate_and_burst_are_counted_once() {
        let mut meter = Meter::default();
        read(&mut meter, 0, 0);
        assert_eq!(read(&mut meter, 100, 10).over, 0, "the burst");
        assert_eq!(read(&mut meter, 200, 15).over, 3, "two tokens came back");
        assert_eq!(read(&mut meter, 300, 15).over, 0);
    }

    #[test]
    fn entries_are_not_counted_against_a_span_that_was_looked_at_only_at_its_end() {
        let mut meter = Meter::default();
        read(&mut meter, 0, 0);
        assert_eq!(read(&mut meter, 2000, 30).over, 0, "twenty by the rate, ten by the burst");
        assert_eq!(read(&mut meter, 2100, 31).over, 0);
    }

    #[test]
    fn a_room_that_starts_anew_is_measured_anew() {
        let mut meter = Meter::default();
        read(&mut meter, 1000, 500);
        assert_eq!(read(&mut meter, 1100, 3), Reading::default());
    }
}
