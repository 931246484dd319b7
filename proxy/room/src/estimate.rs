//! How long the wait will be, as a range.
//!
//! The line shrinks in two ways: its front is admitted, `speed` people a second, and of those who stand in it a small
//! share `leaving` gives up each second. `ahead` people are gone after `ln(1 + leaving × ahead / speed) / leaving`
//! seconds. Both rates are learned from what the room counts, starting from what its limits make likely: the
//! posterior mean of a Poisson rate under a gamma prior (Gelman et al., Bayesian Data Analysis, §2.6).

use std::time::Duration;

use crate::queue::Counts;
use crate::time::Micros;
use crate::wire::Estimate;

/// What the limits say weighs as much as this many admissions, within these times of watching.
const PRIOR_PEOPLE: f64 = 4.0;
const PRIOR_SECS: (f64, f64) = (2.0, 10.0);
/// Turns that were not used are given again: the line may move faster than the rate by so much.
const MADE_UP: f64 = 0.25;
/// What is older than this, or than so many admissions took, counts for a third.
const MEMORY: Duration = Duration::from_secs(20);
const MEMORY_MOST: Duration = Duration::from_secs(600);
const MEMORY_PEOPLE: f64 = 20.0;
/// Nobody is seen to give up in the first moments: so much waiting without it is assumed.
const LEAVING_PRIOR_SECS: f64 = 1000.0;
/// The 90th percentile of the standard normal distribution.
const P90: f64 = 1.2816;
/// How far off the speed may be over a long wait, however much was observed: limits and sessions change.
const SPEED_ERROR: f64 = 0.1;
/// The first places are told of each change; who asks instead of listening asks this often there.
pub const EXACT_PLACES: u64 = 100;
const ASK_AT_FRONT_SECS: u64 = 5;

/// What the limits say before anything was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub rate_per_minute: u32,
    pub slots: u32,
    /// Slots in use.
    pub taken: u64,
    pub session: Duration,
}

/// Follows how fast the line moves.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    last: Option<(Micros, Counts)>,
    /// Seconds observed, people admitted, person-seconds waited and people who gave up: older ones fade.
    seconds: f64,
    admitted: f64,
    waited: f64,
    left: f64,
    /// How much of the memory is filled: from 0 to 1.
    seen: f64,
    /// Person-seconds inside, and sessions that ended.
    inside: f64,
    ended: f64,
}

impl Limits {
    fn rate(&self) -> f64 {
        f64::from(self.rate_per_minute.max(1)) / 60.0
    }

    /// People a second: at the rate, or, once every slot is taken, as sessions of this length make room.
    fn speed(&self, session_secs: f64) -> f64 {
        if self.taken * 100 < u64::from(self.slots) * 98 {
            return self.rate();
        }
        self.rate().min(f64::from(self.slots.max(1)) / session_secs.max(1.0))
    }
}

impl Forecast {
    /// Takes in what the room counted until `clock`. Time in which nobody could move (paused) is not to be observed:
    /// see [`Self::skip`].
    pub fn observe(&mut self, clock: Micros, counts: Counts) {
        let Some((then, before)) = self.last.replace((clock, counts)) else { return };
        let span = clock.since(then).as_secs_f64();
        let gone = |counts: &Counts| counts.abandoned + counts.set_aside;
        if span <= 0.0 || counts.admitted < before.admitted || gone(&counts) < gone(&before) {
            self.last = Some((clock.max(then), counts));
            return;
        }
        let keep = (-span / MEMORY_MOST.as_secs_f64()).exp();
        self.inside = self.inside * keep + before.active as f64 * span;
        self.ended = self.ended * keep + counts.ended.saturating_sub(before.ended) as f64;
        // Who came and was let in at once says nothing of a line.
        if before.waiting + before.returning == 0 {
            return;
        }
        let keep = (-span / self.memory()).exp();
        let add = |sum: &mut f64, news: f64| *sum = *sum * keep + news;
        add(&mut self.seconds, span);
        add(&mut self.admitted, (counts.admitted - before.admitted) as f64);
        add(&mut self.waited, before.waiting as f64 * span);
        add(&mut self.left, (gone(&counts) - gone(&before)) as f64);
        self.seen = 1.0 - (1.0 - self.seen) * keep;
    }

    /// Lets time pass in which nothing could move.
    pub fn skip(&mut self, clock: Micros, counts: Counts) {
        self.last = Some((clock, counts));
    }

    /// A slow line is watched for longer, until enough people were admitted.
    fn memory(&self) -> f64 {
        let speed = self.admitted / self.seconds.max(1.0);
        (MEMORY_PEOPLE / speed.max(1e-6)).clamp(MEMORY.as_secs_f64(), MEMORY_MOST.as_secs_f64())
    }

    /// The remaining wait of somebody with `ahead` people before them.
    pub fn wait(&self, ahead: u64, limits: Limits) -> Estimate {
        let speed = self.speed(limits);
        let leaving = self.left / (self.waited + LEAVING_PRIOR_SECS);
        // The first is half a step of the line away from the next turn.
        let ahead = ahead as f64 + 0.5;
        let lost = leaving * ahead / speed;
        let median = if lost < 1e-6 { ahead / speed } else { lost.ln_1p() / leaving };
        let unsure = SPEED_ERROR + 0.5 / (PRIOR_PEOPLE + self.admitted).sqrt();
        let spread = (ahead.sqrt() / speed).min(median) + median * unsure;
        Estimate { p50_seconds: median.ceil() as u64, p90_seconds: (median + P90 * spread).ceil() as u64 }
    }

    /// How long sessions last, on the average; a third of the longest before any ended.
    fn session_secs(&self, limits: Limits) -> f64 {
        let guess = limits.session.as_secs_f64() / 3.0;
        (self.inside + guess) / (self.ended + 1.0)
    }

    fn speed(&self, limits: Limits) -> f64 {
        let rate = limits.rate();
        let expected = limits.speed(self.session_secs(limits));
        let seconds = (PRIOR_PEOPLE / expected).clamp(PRIOR_SECS.0, PRIOR_SECS.1) * (1.0 - self.seen);
        let speed = (seconds * expected + self.admitted) / (seconds + self.seconds);
        // The burst of the first moment promises nobody a short wait.
        speed.clamp(rate / 10_000.0, rate * (1.0 + MADE_UP * self.seen))
    }
}

/// How long after `p50_seconds` were told to somebody with `ahead` people before them the next update is due: 2 % of
/// the wait, from one second to a minute.
pub fn next_update_secs(p50_seconds: u64, ahead: u64) -> u32 {
    let most = if ahead < EXACT_PLACES { ASK_AT_FRONT_SECS } else { 60 };
    (p50_seconds / 50).clamp(1, most) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const FREE: Limits =
        Limits { rate_per_minute: 600, slots: 1000, taken: 10, session: Duration::from_secs(600) };
    const FULL: Limits = Limits { slots: 60, taken: 60, ..FREE };

    /// A line of `waiting` that moves evenly, watched ten times a second for so many seconds.
    struct Line {
        counts: Counts,
        forecast: Forecast,
        now: Micros,
    }

    impl Line {
        fn of(waiting: u64) -> Self {
            let counts = Counts { waiting, ..Counts::default() };
            let mut forecast = Forecast::default();
            forecast.observe(Micros::ZERO, counts);
            Self { counts, forecast, now: Micros::ZERO }
        }

        /// Each second so many are admitted, so many give up, and so many sessions end.
        fn watch(mut self, seconds: u64, admitted: u64, gone: u64, ended: u64) -> Self {
            for tenth in 1..=seconds * 10 {
                let done = |each: u64| each * tenth / 10 - each * (tenth - 1) / 10;
                self.counts.admitted += done(admitted);
                self.counts.abandoned += done(gone);
                self.counts.ended += done(ended);
                self.counts.waiting = self.counts.waiting.saturating_sub(done(admitted) + done(gone));
                self.now = Micros(self.now.0 + SECOND / 10);
                self.forecast.observe(self.now, self.counts);
            }
            self
        }

        fn told(&self, ahead: u64, limits: Limits) -> u64 {
            self.forecast.wait(ahead, limits).p50_seconds
        }
    }

    #[test]
    fn before_anything_moved_the_rate_gives_the_wait() {
        let estimate = Forecast::default().wait(299, FREE);
        assert_eq!(estimate.p50_seconds, 30);
        assert!(estimate.p90_seconds > 35 && estimate.p90_seconds < 50);
    }

    #[test]
    fn a_burst_at_the_beginning_promises_nobody_a_short_wait() {
        let mut line = Line::of(500);
        line.counts.admitted = 10;
        line.forecast.observe(Micros(SECOND / 10), line.counts);
        assert!((28..=31).contains(&line.told(300, FREE)), "{}", line.told(300, FREE));
    }

    #[test]
    fn a_line_that_moves_at_half_the_rate_takes_twice_as_long() {
        let told = Line::of(2000).watch(60, 5, 0, 0).told(300, FREE);
        assert!((58..=63).contains(&told), "{told}");
    }

    #[test]
    fn those_who_give_up_shorten_the_wait_of_those_far_behind_by_more() {
        // 0.2 % of 5,000 give up each second: 1,000 ahead take ln(1 + 0.002 × 1000 / 10) / 0.002 s = 91 s.
        let line = Line::of(5000).watch(20, 10, 10, 0);
        let told = line.told(1000, FREE);
        assert!((88..=98).contains(&told), "{told}");
        assert!((9..=11).contains(&line.told(100, FREE)));
    }

    #[test]
    fn a_room_whose_slots_are_taken_is_expected_to_move_as_its_sessions_end() {
        let unseen = Forecast::default();
        assert!(unseen.wait(30, FULL).p50_seconds > 3 * unseen.wait(30, FREE).p50_seconds);
        // Sessions that lasted 20 s, seen before anybody had to wait.
        let mut line = Line::of(0);
        line.counts.active = 60;
        let told = line.watch(120, 3, 0, 3).told(300, FULL);
        assert!((90..=115).contains(&told), "{told}");
    }

    #[test]
    fn one_slot_that_changes_hands_every_ten_seconds_is_learned_from_a_few_hands() {
        let one = Limits { slots: 1, taken: 1, ..FREE };
        let mut line = Line::of(10);
        line.counts.active = 1;
        for _ in 0..4 {
            line = line.watch(10, 0, 0, 0);
            line.counts.admitted += 1;
            line.counts.ended += 1;
        }
        let told = line.watch(1, 0, 0, 0).told(4, one);
        assert!((40..=90).contains(&told), "{told} s for a wait of 45");
    }

    #[test]
    fn a_pause_is_no_standstill() {
        let line = Line::of(500).watch(30, 10, 0, 0);
        let before = line.told(100, FREE);
        let mut forecast = line.forecast.clone();
        let later = line.now + Duration::from_secs(600);
        forecast.skip(later, line.counts);
        forecast.observe(
            later + Duration::from_secs(1),
            Counts { admitted: line.counts.admitted + 10, ..line.counts },
        );
        assert_eq!(forecast.wait(100, FREE).p50_seconds, before);
    }

    #[test]
    fn a_counter_that_starts_anew_and_a_clock_that_stands_are_passed_over() {
        let counts = |admitted| Counts { waiting: 100, admitted, ..Counts::default() };
        let mut forecast = Forecast::default();
        forecast.observe(Micros(SECOND), counts(100));
        forecast.observe(Micros(SECOND), counts(200));
        forecast.observe(Micros(2 * SECOND), counts(0));
        assert_eq!(forecast.wait(10, FREE), Forecast::default().wait(10, FREE));
    }

    #[test]
    fn updates_come_each_second_at_the_front_and_rarely_far_behind() {
        let far = |secs| next_update_secs(secs, 1000);
        assert_eq!([0, 50, 100, 500, 100_000].map(far), [1, 1, 2, 10, 60]);
        assert_eq!(next_update_secs(100_000, 10), 5);
    }
}
