//! Whether everybody who waits is placed again when that was promised.

use std::time::Duration;

use room::time::Micros;
use serde::{Deserialize, Serialize};

use crate::clock::Span;

/// One visitor's, over all sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cadence {
    pub updates: u32,
    /// By how much the latest of them certainly missed the instant that the one before had promised.
    pub worst_late: Duration,
}

/// An open socket, on which something is due.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beat {
    /// The last one came by then.
    since: Micros,
    /// The next one was promised within this.
    promised: Duration,
}

impl Beat {
    /// A place is due at once.
    pub const fn open(now: Micros) -> Self {
        Self { since: now, promised: Duration::ZERO }
    }

    /// Whether a place came on this socket before: then this one was pushed when it was due.
    pub const fn is_running(self) -> bool {
        !self.promised.is_zero()
    }

    /// A place came within `arrived`; the next one is promised within `next`. Returns by how much it was late.
    pub fn placed(&mut self, arrived: Span, next: Duration, cadence: &mut Cadence) -> Duration {
        let late = self.late_by(arrived.from, cadence);
        *self = Self { since: arrived.to, promised: next };
        cadence.updates = cadence.updates.saturating_add(1);
        late
    }

    /// Nothing more is waited for: what was due by now is late.
    pub fn over(self, now: Micros, cadence: &mut Cadence) {
        self.late_by(now, cadence);
    }

    fn late_by(self, instant: Micros, cadence: &mut Cadence) -> Duration {
        let late = instant.since(self.since + self.promised);
        cadence.worst_late = cadence.worst_late.max(late);
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Micros {
        Micros::from_secs(secs)
    }

    #[test]
    fn an_update_in_time_is_not_late_and_one_after_its_time_is() {
        let (mut beat, mut cadence) = (Beat::open(secs(10)), Cadence::default());
        let two = Duration::from_secs(2);
        assert_eq!(beat.placed(Span::at(secs(10)), two, &mut cadence), Duration::ZERO);
        assert_eq!(beat.placed(Span::at(secs(12)), two, &mut cadence), Duration::ZERO);
        assert_eq!(beat.placed(Span::at(secs(17)), two, &mut cadence).as_secs(), 3);
        assert_eq!(beat.placed(Span::at(secs(18)), two, &mut cadence), Duration::ZERO);
        assert_eq!((cadence.updates, cadence.worst_late.as_secs()), (4, 3));
    }

    #[test]
    fn what_may_have_arrived_earlier_is_not_late() {
        let (mut beat, mut cadence) = (Beat::open(secs(10)), Cadence::default());
        beat.placed(Span::new(secs(10), secs(15)), Duration::from_secs(2), &mut cadence);
        beat.placed(Span::new(secs(16), secs(30)), Duration::from_secs(2), &mut cadence);
        assert_eq!(cadence.worst_late, Duration::ZERO);
    }

    #[test]
    fn silence_to_the_end_is_late_too() {
        let (mut beat, mut cadence) = (Beat::open(secs(10)), Cadence::default());
        beat.placed(Span::at(secs(10)), Duration::from_secs(5), &mut cadence);
        beat.over(secs(14), &mut cadence);
        assert_eq!(cadence.worst_late, Duration::ZERO);
        beat.over(secs(40), &mut cadence);
        assert_eq!(cadence.worst_late.as_secs(), 25);
    }
}
