//! How long the wait will be, as a range.

use std::time::Duration;

use crate::time::Micros;
use crate::wire::Estimate;

/// Older movement counts for less: after this long, for a third.
const MEMORY: Duration = Duration::from_secs(20);
/// The 90th percentile of the standard normal distribution.
const P90: f64 = 1.2816;
/// How far off the speed of the line may be over a long wait.
const SPEED_ERROR: f64 = 0.15;

/// Follows how fast the line moves.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// People a second; `None` until two observations were made.
    speed: Option<f64>,
    last: Option<(Micros, u64)>,
}

impl Forecast {
    /// `moved`: all who ever left the line, by a turn or otherwise.
    pub fn observe(&mut self, clock: Micros, moved: u64) {
        let Some((then, before)) = self.last.replace((clock, moved)) else {
            return;
        };
        let span = clock.since(then).as_secs_f64();
        if span <= 0.0 || moved < before {
            self.last = Some((clock.max(then), moved));
            return;
        }
        let speed = (moved - before) as f64 / span;
        let keep = (-span / MEMORY.as_secs_f64()).exp();
        self.speed = Some(self.speed.map_or(speed, |old| old * keep + speed * (1.0 - keep)));
    }

    /// The remaining wait of somebody with `ahead` people before them. While the line has not moved the configured
    /// rate stands in for its speed.
    pub fn wait(&self, ahead: u64, rate_per_minute: u32) -> Estimate {
        let limit = f64::from(rate_per_minute) / 60.0;
        // Sessions may hold the line below the rate, people who give up may move it faster.
        let speed = self.speed.unwrap_or(limit).clamp(limit / 100.0, limit * 4.0);
        let ahead = ahead as f64;
        let median = ahead / speed;
        let spread = ahead.sqrt() / speed + median * SPEED_ERROR;
        Estimate { p50_seconds: median.ceil() as u64, p90_seconds: (median + P90 * spread).ceil() as u64 }
    }
}

/// How long after `p50_seconds` were told the next update is due: 2 % of the wait, from one second to a minute.
pub fn next_update_secs(p50_seconds: u64) -> u32 {
    (p50_seconds / 50).clamp(1, 60) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anything_moved_the_rate_gives_the_wait() {
        let estimate = Forecast::default().wait(300, 600);
        assert_eq!(estimate.p50_seconds, 30);
        assert!(estimate.p90_seconds > 30 && estimate.p90_seconds < 45);
    }

    #[test]
    fn a_line_that_moves_at_half_the_rate_takes_twice_as_long() {
        let mut forecast = Forecast::default();
        for second in 0..120 {
            forecast.observe(Micros::from_secs(second), second * 5);
        }
        assert_eq!(forecast.wait(300, 600).p50_seconds, 60);
    }

    #[test]
    fn a_counter_that_starts_anew_and_a_clock_that_stands_are_passed_over() {
        let mut forecast = Forecast::default();
        forecast.observe(Micros::from_secs(1), 100);
        forecast.observe(Micros::from_secs(1), 200);
        forecast.observe(Micros::from_secs(2), 0);
        assert_eq!(forecast.wait(10, 600).p50_seconds, 1);
    }

    #[test]
    fn updates_come_each_second_at_the_front_and_rarely_far_behind() {
        assert_eq!([0, 50, 100, 500, 100_000].map(next_update_secs), [1, 1, 2, 10, 60]);
    }
}
