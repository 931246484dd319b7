//! The store's clock, kept running between two answers of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use room::time::{Micros, as_micros};

/// Two clocks that run freely part by no more than this, in microseconds a second. Where they do, the answers
/// contradict what was known, and the newest is believed.
const DRIFT: u64 = 100;

/// One room's clock. Lock-free: every request reads it.
#[derive(Debug)]
pub struct RoomClock {
    base: Instant,
    /// The store's clock at `base`, in microseconds; the wall clock until the store answered.
    at_base: AtomicU64,
    /// Between which two readings that lies. For those who calibrate.
    bounds: Mutex<Option<Bounds>>,
    last_stamp: AtomicU64,
    /// The sum of all steps back, in microseconds.
    stepped_back: AtomicU64,
}

/// What the answers leave possible for the store's clock at `base`: no less and no more, in microseconds. Each answer
/// narrows it, so the fastest trips decide, and of slow ones only what they rule out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least: u64,
    most: u64,
    /// When that was known, since `base`.
    at: Duration,
}

impl Bounds {
    /// What one answer says: the store's clock stood at `clock` at some moment between `sent` and `received`.
    fn of(clock: Micros, sent: Duration, received: Duration) -> Self {
        let at_base = |span: Duration| clock.0.saturating_sub(as_micros(span));
        Self { least: at_base(received), most: at_base(sent), at: received }
    }

    /// What both leave possible; where they contradict each other the clock was set, and the answer is right.
    fn narrowed(self, answer: Self) -> Self {
        let slack = as_micros(answer.at.saturating_sub(self.at)).saturating_mul(DRIFT).div_ceil(1_000_000);
        let least = answer.least.max(self.least.saturating_sub(slack));
        let most = answer.most.min(self.most.saturating_add(slack));
        if least <= most { Self { least, most, at: answer.at.max(self.at) } } else { answer }
    }

    fn middle(self) -> u64 {
        self.least.midpoint(self.most)
    }
}

impl Default for RoomClock {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            at_base: AtomicU64::new(Micros::from(SystemTime::now()).0),
            bounds: Mutex::default(),
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
        let answer = Bounds::of(clock, sent.duration_since(self.base), received.duration_since(self.base));
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        let narrowed = bounds.map_or(answer, |before| before.narrowed(answer));
        *bounds = Some(narrowed);
        let back = self.at_base.load(Ordering::Relaxed).saturating_sub(narrowed.middle());
        self.stepped_back.fetch_add(back, Ordering::Relaxed);
        self.at_base.store(narrowed.middle(), Ordering::Relaxed);
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

    /// A store whose clock is `ahead` of ours, asked ten times a second in virtual time.
    struct Asked {
        clock: RoomClock,
        ahead: i64,
        at: Duration,
        /// What an average of the middles of the trips would make of the same answers.
        averaged: f64,
        draw: u64,
    }

    impl Asked {
        fn new(ahead: i64) -> Self {
            let clock = RoomClock::default();
            clock.at_base.store(START, Ordering::Relaxed);
            Self { clock, ahead, at: Duration::ZERO, averaged: ahead as f64, draw: 1 }
        }

        /// An answer whose way there and way back take so long.
        fn answer(&mut self, there: Duration, back: Duration) {
            self.at += Duration::from_millis(100);
            let (sent, received) = (self.clock.base + self.at, self.clock.base + self.at + there + back);
            let stood = Micros(START.saturating_add_signed(self.ahead)) + self.at + there;
            self.clock.calibrate(stood, sent, received);
            let off = (as_micros(there) as f64 - as_micros(back) as f64) / 2.0;
            self.averaged += (self.ahead as f64 + off - self.averaged) / 8.0;
        }

        /// From a tenth of a millisecond to a hundred, the short ones more often.
        fn noise(&mut self) -> Duration {
            self.draw =
                self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let even = (self.draw >> 33) as f64 / f64::from(1u32 << 31);
            Duration::from_secs_f64(1e-4 * 1000f64.powf(even))
        }

        /// How far the clock is from the store's, in microseconds.
        fn error(&self) -> f64 {
            let right = START.saturating_add_signed(self.ahead);
            self.clock.at_base.load(Ordering::Relaxed).abs_diff(right) as f64
        }
    }

    const START: u64 = 1_767_225_600_000_000;

    #[test]
    fn the_clock_is_right_within_a_millisecond_however_uneven_the_trips_are() {
        let mut store = Asked::new(7_000_000);
        let (mut worst, mut worst_average) = (0f64, 0f64);
        for asked in 0..3000 {
            let (there, back) = (store.noise(), store.noise());
            store.answer(there, back);
            if asked >= 50 {
                worst = worst.max(store.error());
                worst_average = worst_average.max((store.averaged - store.ahead as f64).abs());
            }
        }
        assert!(worst < 1_000.0, "{worst} µs");
        assert!(worst_average > 10.0 * worst, "an average would be off by {worst_average} µs");
    }

    #[test]
    fn one_slow_answer_moves_the_clock_by_nothing() {
        let mut store = Asked::new(0);
        store.answer(Duration::from_micros(200), Duration::from_micros(200));
        let before = store.error();
        store.answer(Duration::from_millis(1), Duration::from_millis(240));
        assert!(store.error() <= before + 10.0, "{} µs after {before} µs", store.error());
    }

    #[test]
    fn the_clock_follows_a_store_whose_clock_is_set_at_once_by_however_little() {
        let mut store = Asked::new(0);
        let fast = Duration::from_micros(200);
        for set_to in [60_000_000, -3_600_000_000, -3_600_001_000, 0] {
            store.answer(fast, fast);
            store.ahead = set_to;
            store.answer(fast, fast);
            assert!(store.error() <= 200.0, "{} µs off {set_to}", store.error());
        }
    }

    #[test]
    fn the_clock_keeps_up_with_a_store_that_is_slewed() {
        let mut store = Asked::new(0);
        for _ in 0..600 {
            // Five hundred in a million, as fast as a time service drags a clock.
            store.ahead += 50;
            store.answer(Duration::from_micros(300), Duration::from_micros(500));
            assert!(store.error() <= 850.0, "{} µs", store.error());
        }
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
