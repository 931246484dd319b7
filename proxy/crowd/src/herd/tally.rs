//! What a herd counts while it waits; those of several processes are merged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// From the instant somebody was to come, whatever came between, to the confirmed place.
    pub joined: Histogram,
    /// From the same instant to the open socket.
    pub opened: Histogram,
    /// From the instant for which a place holds to its arrival; pushes only.
    pub lag: Histogram,
    /// By how much pushes missed their promised instants.
    pub late: Histogram,
    /// Sockets that opened in each second since the beginning.
    pub opened_in: Vec<u32>,
    pub messages: u64,
    pub bytes: u64,
    /// Most sockets open at once, in each process, summed.
    pub most_open: u64,
    pub steady: Steady,
    /// The longest that a process did not look at its sockets.
    pub worst_stall: Duration,
}

/// From some seconds after the last one came to the end: nothing but waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steady {
    pub messages: u64,
    /// Processor time of the threads that read them, without that of requests.
    pub cpu: Duration,
}

/// A day: no run is longer.
const MOST_SECONDS: usize = 86_400;

impl Tally {
    pub fn opened_at(&mut self, since_beginning: Duration) {
        let second = since_beginning.as_secs() as usize;
        if second < MOST_SECONDS {
            self.opened_in.resize(self.opened_in.len().max(second + 1), 0);
            if let Some(count) = self.opened_in.get_mut(second) {
                *count += 1;
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.joined.merge(&other.joined);
        self.opened.merge(&other.opened);
        self.lag.merge(&other.lag);
        self.late.merge(&other.late);
        self.opened_in.resize(self.opened_in.len().max(other.opened_in.len()), 0);
        for (count, more) in self.opened_in.iter_mut().zip(&other.opened_in) {
            *count += more;
        }
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.most_open += other.most_open;
        self.steady.messages += other.steady.messages;
        self.steady.cpu += other.steady.cpu;
        self.worst_stall = self.worst_stall.max(other.worst_stall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_tallies_are_the_sum_second_by_second() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.opened_at(Duration::from_millis(500));
        other.opened_at(Duration::from_millis(999));
        other.opened_at(Duration::from_millis(2000));
        (one.messages, other.messages) = (2, 3);
        (one.worst_stall, other.worst_stall) = (Duration::from_millis(9), Duration::from_millis(7));
        one.merge(&other);
        assert_eq!(one.opened_in, [2, 0, 1]);
        assert_eq!((one.messages, one.worst_stall.as_millis()), (5, 9));
    }
}
