//! The store's clock, kept running between two answers of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use room::time::{Micros, as_micros};

/// A larger difference is a jump of the store's clock, not noise: it is followed at once.
const JUMP_MICROS: i64 = 100_000;
/// Noise is averaged: each answer moves the clock by this fraction of its difference.
const SMOOTHING: i64 = 8;

/// One room's clock. Lock-free: every request reads it.
#[derive(Debug)]
pub struct RoomClock {
    base: Instant,
    /// The store's clock at `base`, in microseconds; the wall clock until the store answered.
    at_base: AtomicU64,
    calibrated: AtomicU64,
    last_stamp: AtomicU64,
    /// The sum of all steps back, in microseconds.
    stepped_back: AtomicU64,
}

impl Default for RoomClock {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            at_base: AtomicU64::new(Micros::from(SystemTime::now()).0),
            calibrated: AtomicU64::new(0),
            last_stamp: AtomicU64::new(0),
            stepped_back: AtomicU64::new(0),
        }
    }
}

impl RoomClock {
    pub fn now(&self) -> Micros {
        Micros(self.at_base.load(Ordering::Relaxed)) + self.base.elapsed()
    }

    /// Runs as [`Self::now`] does, but never back: for limits, which would take a step back for a burst.
    pub fn steady(&self) -> Micros {
        self.now() + Duration::from_micros(self.stepped_back.load(Ordering::Relaxed))
    }

    /// A stamp: now, and later than every stamp before.
    pub fn stamp(&self) -> Micros {
        let now = self.now().0;
        let next = |last: u64| Some(now.max(last + 1));
        let before = self.last_stamp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Micros(now.max(before.unwrap_or_default() + 1))
    }

    /// Follows the store: its clock stood at `clock` between `sent` and `received`.
    pub fn calibrate(&self, clock: Micros, sent: Instant, received: Instant) {
        let middle = sent.duration_since(self.base) + received.duration_since(sent) / 2;
        let measured = clock.0.saturating_sub(as_micros(middle));
        let first = self.calibrated.fetch_add(1, Ordering::Relaxed) == 0;
        let current = self.at_base.load(Ordering::Relaxed);
        let difference = measured.cast_signed().wrapping_sub(current.cast_signed());
        let step = if first || difference.abs() > JUMP_MICROS { difference } else { difference / SMOOTHING };
        if step < 0 {
            self.stepped_back.fetch_add(step.unsigned_abs(), Ordering::Relaxed);
        }
        self.at_base.store(current.saturating_add_signed(step), Ordering::Relaxed);
    }

    /// How far the store's clock is from this machine's, in seconds.
    pub fn offset_secs(&self) -> f64 {
        let ours = Micros::from(SystemTime::now()).0.cast_signed();
        (self.now().0.cast_signed() - ours) as f64 / 1e6
    }

    /// When on this machine's monotonic clock an instant of the store's comes.
    pub fn instant_of(&self, instant: Micros) -> Instant {
        Instant::now() + instant.since(self.now()).min(Duration::from_secs(7 * 24 * 3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_a_jump_at_once_and_noise_slowly() {
        let clock = RoomClock::default();
        let tell = |ahead: Duration| {
            let sent = Instant::now();
            clock.calibrate(clock.now() + ahead, sent, Instant::now());
        };
        let before = clock.now();
        tell(Duration::from_secs(60));
        assert!(clock.now().since(before) >= Duration::from_secs(60));
        let before = clock.now();
        tell(Duration::from_millis(80));
        let moved = clock.now().since(before);
        assert!(moved >= Duration::from_millis(9) && moved < Duration::from_millis(60), "{moved:?}");
    }

    #[test]
    fn the_steady_clock_does_not_go_back_with_the_store() {
        let clock = RoomClock::default();
        let tell = |clock_of_store: Micros| clock.calibrate(clock_of_store, Instant::now(), Instant::now());
        tell(clock.now());
        let before = (clock.now(), clock.steady());
        tell(clock.now() - Duration::from_secs(5));
        assert!(clock.now() < before.0 && clock.steady() >= before.1);
        let after = clock.steady();
        tell(clock.now() + Duration::from_secs(5));
        assert!(clock.steady().since(after) >= Duration::from_secs(5), "and goes on with it");
    }

    #[test]
    fn stamps_grow_strictly_however_fast_they_are_drawn() {
        let clock = RoomClock::default();
        let stamps: Vec<Micros> = (0..10_000).map(|_| clock.stamp()).collect();
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
