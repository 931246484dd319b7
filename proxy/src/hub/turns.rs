//! Turns heard of lately: an answer of the store that is older than a tick must not undo what the tick said.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use room::ids::VisitorId;
use room::time::Micros;

/// An answer takes less than this from the store to the hub.
const REMEMBERED: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct RecentTurns {
    /// Number of the event, and the deadline.
    turns: HashMap<VisitorId, (u64, Micros)>,
    order: VecDeque<(Micros, u64, VisitorId)>,
}

impl RecentTurns {
    pub(super) fn note(&mut self, visitor: VisitorId, number: u64, deadline: Micros, now: Micros) {
        self.turns.insert(visitor, (number, deadline));
        self.order.push_back((now, number, visitor));
        while let Some(&(at, number, visitor)) = self.order.front()
            && now.since(at) > REMEMBERED
        {
            self.order.pop_front();
            if self.turns.get(&visitor).is_some_and(|(newest, _)| *newest == number) {
                self.turns.remove(&visitor);
            }
        }
    }

    /// The deadline of a turn that was given after the event of this number.
    pub(super) fn after(&self, visitor: VisitorId, number: u64) -> Option<Micros> {
        let (newest, deadline) = self.turns.get(&visitor)?;
        (*newest > number).then_some(*deadline)
    }

    /// The turn is claimed, given back or over.
    pub(super) fn forget(&mut self, visitor: VisitorId) {
        self.turns.remove(&visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISITOR: VisitorId = VisitorId::from_random([1; 12]);

    #[test]
    fn only_an_answer_that_is_older_than_the_turn_is_corrected() {
        let mut turns = RecentTurns::default();
        turns.note(VISITOR, 7, Micros(900), Micros(100));
        assert_eq!(turns.after(VISITOR, 6), Some(Micros(900)));
        assert_eq!(turns.after(VISITOR, 7), None);
        turns.forget(VISITOR);
        assert_eq!(turns.after(VISITOR, 6), None);
    }

    #[test]
    fn turns_of_long_ago_are_not_kept() {
        let mut turns = RecentTurns::default();
        for second in 0..1000_u64 {
            let visitor = VisitorId::from_random([(second % 250) as u8; 12]);
            turns.note(visitor, second, Micros(0), Micros::from_secs(second));
        }
        assert!(turns.turns.len() <= 11 && turns.order.len() <= 11);
    }
}
