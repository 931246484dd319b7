//! One clock for the whole run: wall time taken once, then the monotonic clock, so that instants never step.

use std::time::{Duration, Instant, SystemTime};

use room::time::Micros;

/// Cheap to copy; every copy tells the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Instant,
    epoch: Micros,
}

impl Clock {
    pub fn start() -> Self {
        Self { anchor: Instant::now(), epoch: Micros::from(SystemTime::now()) }
    }

    pub fn now(&self) -> Micros {
        self.epoch + self.anchor.elapsed()
    }

    /// Since the run began.
    pub fn elapsed(&self) -> Duration {
        self.anchor.elapsed()
    }
}

/// From a request's sending to its answer's arrival: whatever the server did, it did in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    pub from: Micros,
    pub to: Micros,
}

impl Span {
    pub const fn new(from: Micros, to: Micros) -> Self {
        Self { from, to }
    }

    pub const fn at(instant: Micros) -> Self {
        Self { from: instant, to: instant }
    }
}
