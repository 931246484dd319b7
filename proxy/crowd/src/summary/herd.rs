//! Figures of those who waited on sockets.

use std::time::Duration;

use serde::Serialize;

use super::round;
use crate::clock::Span;
use crate::herd::FIRST_ID;
use crate::herd::tally::Tally;
use crate::histogram::Histogram;
use crate::proof::{Promises, facts};
use crate::story::Story;

/// Latencies begin at the instant at which something was to happen: a slow answer makes nobody come later.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HerdFigures {
    pub waiters: u64,
    /// Sockets open at the same time.
    pub most_open: u64,
    /// In the best second.
    pub opened_per_second: u32,
    /// To the confirmed place.
    pub joined_ms: Quantiles,
    /// To the open socket.
    pub opened_ms: Quantiles,
    /// From the instant for which a place holds to its arrival.
    pub lag_ms: Quantiles,
    /// From the giving of a turn to its arrival.
    pub turn_lag_ms: Quantiles,
    /// By how much pushes missed the promised instant.
    pub late_ms: Quantiles,
    pub messages: u64,
    pub bytes_per_message: f64,
    /// While nothing else was left to do; `None` when the run ended before.
    pub cpu_us_per_message: Option<f64>,
    pub steady_messages: u64,
    /// The longest that a process did not look at its sockets.
    pub worst_stall_ms: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub count: u64,
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Self {
        let ms = |share| round(histogram.quantile_ms(share).unwrap_or_default());
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(ms);
        Self { p50, p95, p99, p999, count: histogram.count() }
    }
}

impl HerdFigures {
    pub fn new(stories: &[&Story], promises: &Promises, tally: &Tally) -> Self {
        let steady = tally.steady;
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6;
        Self {
            waiters: stories.iter().filter(|story| (FIRST_ID..u64::MAX).contains(&story.id)).count() as u64,
            most_open: tally.most_open,
            opened_per_second: tally.opened_in.iter().copied().max().unwrap_or_default(),
            joined_ms: Quantiles::of(&tally.joined),
            opened_ms: Quantiles::of(&tally.opened),
            lag_ms: Quantiles::of(&tally.lag),
            turn_lag_ms: Quantiles::of(&turn_lags(stories, promises)),
            late_ms: Quantiles::of(&tally.late),
            messages: tally.messages,
            bytes_per_message: round(tally.bytes as f64 / tally.messages.max(1) as f64),
            cpu_us_per_message: (steady.messages > 0)
                .then(|| round(micros(steady.cpu) / steady.messages as f64)),
            steady_messages: steady.messages,
            worst_stall_ms: round(tally.worst_stall.as_secs_f64() * 1000.0),
        }
    }

    pub fn lines(&self) -> [String; 3] {
        let ms = |q: &Quantiles| format!("p50 {:.0} ms, p99 {:.0} ms, p99.9 {:.0} ms", q.p50, q.p99, q.p999);
        let cpu =
            self.cpu_us_per_message.map_or_else(String::new, |cpu| format!(", {cpu:.2} µs of CPU each"));
        [
            format!(
                "{} in the herd, at most {} sockets, up to {} opened a second; to the place {}",
                self.waiters,
                self.most_open,
                self.opened_per_second,
                ms(&self.joined_ms)
            ),
            format!(
                "{} messages of {:.0} bytes{cpu}; lag {}",
                self.messages,
                self.bytes_per_message,
                ms(&self.lag_ms)
            ),
            format!("turns heard after {}; places late by {}", ms(&self.turn_lag_ms), ms(&self.late_ms)),
        ]
    }
}

/// Turns are dated by their deadlines. Who was away hears of one later, by intent.
fn turn_lags(stories: &[&Story], promises: &Promises) -> Histogram {
    let (facts, clock) = facts::establish(stories, promises.claim_window);
    let mut lags = Histogram::default();
    for (story, facts) in stories.iter().zip(&facts).filter(|(_, facts)| !facts.absent) {
        if let (Some(turn), Some(given)) = (story.turn.filter(|turn| turn.expires.is_some()), facts.given) {
            lags.record(clock.of(Span::at(turn.seen)).to.since(given.from));
        }
    }
    lags
}
