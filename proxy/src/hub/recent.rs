//! News of visitors, heard of lately: an answer of the store that is older must not undo what they said.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use room::ids::VisitorId;
use room::time::Micros;

/// An answer takes less than this from the store to the hub.
const REMEMBERED: Duration = Duration::from_secs(10);
/// More than all turns that ticks can give in that time. Of more departures the oldest are forgotten first.
const MOST: usize = 200_000;

/// One kind of news: of each visitor the newest.
#[derive(Debug)]
pub(super) struct Recent<T> {
    /// Number of the event, and what it said.
    news: HashMap<VisitorId, (u64, T)>,
    order: VecDeque<(Micros, u64, VisitorId)>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { news: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T: Copy> Recent<T> {
    pub(super) fn note(&mut self, visitor: VisitorId, number: u64, what: T, now: Micros) {
        self.news.insert(visitor, (number, what));
        self.order.push_back((now, number, visitor));
        while let Some(&(at, number, visitor)) = self.order.front()
            && (now.since(at) > REMEMBERED || self.order.len() > MOST)
        {
            self.order.pop_front();
            if self.news.get(&visitor).is_some_and(|(newest, _)| *newest == number) {
                self.news.remove(&visitor);
            }
        }
    }

    /// What was said after the event of this number.
    pub(super) fn after(&self, visitor: VisitorId, number: u64) -> Option<T> {
        let (newest, what) = self.news.get(&visitor)?;
        (*newest > number).then_some(*what)
    }

    /// It is over.
    pub(super) fn forget(&mut self, visitor: VisitorId) {
        self.news.remove(&visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISITOR: VisitorId = VisitorId::from_random([1; 12]);

    #[test]
    fn only_an_answer_that_is_older_than_the_turn_is_corrected() {
        let mut turns = Recent::default();
        turns.note(VISITOR, 7, Micros(900), Micros(100));
        assert_eq!(turns.after(VISITOR, 6), Some(Micros(900)));
        assert_eq!(turns.after(VISITOR, 7), None);
        turns.forget(VISITOR);
        assert_eq!(turns.after(VISITOR, 6), None);
    }

    #[test]
    fn turns_of_long_ago_are_not_kept() {
        let mut turns = Recent::default();
        for second in 0..1000_u64 {
            let visitor = VisitorId::from_random([(second % 250) as u8; 12]);
            turns.note(visitor, second, Micros(0), Micros::from_secs(second));
        }
        assert!(turns.news.len() <= 11 && turns.order.len() <= 11);
    }

    #[test]
    fn of_more_news_at_once_than_are_kept_the_oldest_go() {
        let visitor = |number: u64| {
            let mut id = [0; 12];
            id[..8].copy_from_slice(&number.to_be_bytes());
            VisitorId::from_random(id)
        };
        let mut departures = Recent::default();
        let last = MOST as u64 + 1;
        for number in 1..=last {
            departures.note(visitor(number), number, (), Micros(100));
        }
        assert_eq!((departures.news.len(), departures.order.len()), (MOST, MOST));
        assert_eq!((departures.after(visitor(1), 0), departures.after(visitor(last), 0)), (None, Some(())));
    }
}
