//! The two hard limits: entries in any window, and sessions at any instant.

use room::time::Micros;

use super::facts::ServerClock;
use crate::clock::Span;
use crate::rates::Rates;
use crate::story::Story;

/// Windows that certainly held too many entries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OverLimit {
    /// Instants at which such a window ends.
    pub windows: u64,
    pub worst: Option<Span>,
    /// Entries beyond the limit in the worst window.
    pub excess: f64,
}

/// Rounding of sums of rates over years of microseconds.
const EPSILON: f64 = 1e-3;
/// A tick of the waiting room.
const TICK_SECONDS: f64 = 0.1;

/// What a room allows at once when its settings don't say: one second's worth, and always more than a tick's.
pub fn default_burst(per_minute: u64) -> u64 {
    let tick = (per_minute as f64 / 60.0 * TICK_SECONDS).ceil() as u64;
    per_minute.div_ceil(60).max(1 + tick)
}

/// All windows `[s, e]` in which more entries lie, with their whole intervals, than `rate × (e - s) + burst`.
///
/// Only starts and ends of entries matter as `s` and `e`. With `count(s, e)` the entries that lie inside and `R` the
/// integral of the rate, a window is over when `count(s, e) + R(s) > R(e) + burst`. The sweep goes through the ends;
/// a tree holds `count(s, e) + R(s)` for every start and gives the largest.
pub fn over_limit_windows(entries: &[Span], rates: &Rates, burst: u64) -> OverLimit {
    let mut starts: Vec<Micros> = entries.iter().map(|entry| entry.from).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut by_end = entries.to_vec();
    by_end.sort_unstable_by_key(|entry| entry.to);
    let mut tree = MaxTree::new(starts.iter().map(|start| rates.allowed_until(*start)).collect());
    let mut over = OverLimit::default();
    for (index, entry) in by_end.iter().enumerate() {
        tree.raise_up_to(starts.partition_point(|start| *start <= entry.from), 1.0);
        if by_end.get(index + 1).is_some_and(|next| next.to == entry.to) {
            continue;
        }
        let Some((most, start)) = tree.max_up_to(starts.partition_point(|start| *start <= entry.to)) else {
            continue;
        };
        let excess = most - rates.allowed_until(entry.to) - burst as f64;
        if excess > EPSILON {
            over.windows += 1;
            if excess > over.excess {
                over.excess = excess;
                over.worst = starts.get(start).map(|start| Span::new(*start, entry.to));
            }
        }
    }
    over
}

/// A segment tree over numbers: raise a prefix, find the largest of a prefix; both in logarithmic time.
struct MaxTree {
    leaves: usize,
    /// Largest value of the subtree and where, without what its ancestors were raised by.
    best: Vec<(f64, usize)>,
    raised: Vec<f64>,
}

impl MaxTree {
    fn new(values: Vec<f64>) -> Self {
        let leaves = values.len().next_power_of_two();
        let mut best = vec![(f64::NEG_INFINITY, 0); leaves];
        let padded = values.into_iter().enumerate().map(|(at, value)| (value, at));
        best.extend(padded);
        best.resize(2 * leaves, (f64::NEG_INFINITY, 0));
        let mut tree = Self { leaves, best, raised: vec![0.0; 2 * leaves] };
        (1..leaves).rev().for_each(|node| tree.pull(node));
        tree
    }

    fn raise_up_to(&mut self, end: usize, by: f64) {
        self.raise(1, 0, self.leaves, end, by);
    }

    fn raise(&mut self, node: usize, from: usize, to: usize, end: usize, by: f64) {
        if from >= end {
            return;
        }
        if to <= end {
            self.add(node, by);
            return;
        }
        let middle = usize::midpoint(from, to);
        self.raise(2 * node, from, middle, end, by);
        self.raise(2 * node + 1, middle, to, end, by);
        self.pull(node);
    }

    fn max_up_to(&self, end: usize) -> Option<(f64, usize)> {
        self.max(1, 0, self.leaves, end)
    }

    fn max(&self, node: usize, from: usize, to: usize, end: usize) -> Option<(f64, usize)> {
        if from >= end {
            return None;
        }
        if to <= end {
            return self.best.get(node).copied();
        }
        let middle = usize::midpoint(from, to);
        let left = self.max(2 * node, from, middle, end);
        let right = self.max(2 * node + 1, middle, to, end);
        let raised = self.raised.get(node).copied().unwrap_or_default();
        left.into_iter()
            .chain(right)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(value, at)| (value + raised, at))
    }

    fn add(&mut self, node: usize, by: f64) {
        if let (Some(best), Some(raised)) = (self.best.get_mut(node), self.raised.get_mut(node)) {
            best.0 += by;
            *raised += by;
        }
    }

    fn pull(&mut self, node: usize) {
        let of = |node: usize| self.best.get(node).copied().unwrap_or((f64::NEG_INFINITY, 0));
        let (left, right) = (of(2 * node), of(2 * node + 1));
        let higher = if right.0 > left.0 { right } else { left };
        let raised = self.raised.get(node).copied().unwrap_or_default();
        if let Some(best) = self.best.get_mut(node) {
            *best = (higher.0 + raised, higher.1);
        }
    }
}

/// The largest number of turns and sessions that certainly were open at one instant.
pub fn most_active(stories: &[&Story], clock: &ServerClock) -> u64 {
    let mut changes: Vec<(Micros, i64)> = Vec::new();
    for held in stories.iter().flat_map(|story| slots(story, clock)).filter(|held| held.from < held.to) {
        changes.extend([(held.from, 1), (held.to, -1)]);
    }
    // At the same instant ends come before beginnings.
    changes.sort_unstable();
    let mut open = 0_i64;
    let most = changes.iter().map(|(_, change)| {
        open += change;
        open
    });
    most.max().unwrap_or_default().max(0).unsigned_abs()
}

/// When this visitor certainly took up a slot, on the crowd's clock.
fn slots<'a>(story: &'a Story, clock: &'a ServerClock) -> impl Iterator<Item = Span> + 'a {
    let over = |at: Option<Micros>| at.map_or(Micros(u64::MAX), |at| clock.earliest_here(at));
    let turn = story.turn.filter(|_| story.entries.is_empty()).map(move |turn| {
        let left = story.left_line.unwrap_or(Micros(u64::MAX));
        // Without a deadline nothing is certain about its end.
        Span::new(turn.seen, turn.expires.map_or(turn.seen, |at| over(Some(at)).min(left)))
    });
    let sessions = story.entries.iter().enumerate().map(move |(index, entry)| {
        let since =
            story.turn.filter(|_| index == 0).map_or(entry.span.to, |turn| turn.seen.min(entry.span.to));
        let end = entry.ended.unwrap_or(Micros(u64::MAX)).min(over(entry.expires));
        Span::new(since, entry.expires.map_or(entry.ended.unwrap_or(since), |_| end))
    });
    turn.into_iter().chain(sessions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::story::{Entry, Turn};

    fn ms(millis: u64) -> Micros {
        Micros(millis * 1000)
    }

    fn at(millis: u64) -> Span {
        Span::at(ms(millis))
    }

    /// Every window, counted by hand.
    fn by_hand(entries: &[Span], rates: &Rates, burst: u64) -> u64 {
        let is_over = |from: Micros, to: Micros| {
            let inside = entries.iter().filter(|entry| entry.from >= from && entry.to <= to).count();
            inside as f64 - (rates.allowed_until(to) - rates.allowed_until(from)) - burst as f64 > EPSILON
        };
        let mut ends: Vec<_> = entries.iter().map(|entry| entry.to).collect();
        ends.sort_unstable();
        ends.dedup();
        let over =
            |end: &&Micros| entries.iter().any(|entry| entry.from <= **end && is_over(entry.from, **end));
        ends.iter().filter(over).count() as u64
    }

    #[test]
    fn entries_at_the_rate_with_one_burst_are_within_the_limit() {
        let burst = (0..5).map(|_| at(0));
        let steady = (1..200).map(|n| at(n * 1000));
        let entries: Vec<_> = burst.chain(steady).collect();
        assert_eq!(over_limit_windows(&entries, &Rates::constant(60), 5), OverLimit::default());
    }

    #[test]
    fn one_entry_too_many_is_found_with_its_window() {
        let mut entries: Vec<_> = (0..200).map(|n| at(n * 1000)).collect();
        entries.extend([at(100_001), at(100_002)]);
        let over = over_limit_windows(&entries, &Rates::constant(60), 2);
        let worst = over.worst.unwrap();
        assert!(over.windows >= 1 && worst.from <= ms(100_000) && worst.to >= ms(100_002), "{over:?}");
        assert!((over.excess - 1.0).abs() < 0.01, "{over:?}");
    }

    #[test]
    fn an_entry_that_may_lie_outside_is_not_counted() {
        let slow = Span::new(ms(0), ms(60_000));
        let entries = [slow, at(30_000), at(30_001)];
        assert_eq!(over_limit_windows(&entries, &Rates::constant(1), 2).windows, 0);
    }

    #[test]
    fn the_default_burst_is_one_second_and_more_than_a_tick() {
        assert_eq!([1800, 1, 6000].map(default_burst), [30, 2, 100]);
    }

    fn session(from: u64, expires: u64, ended: Option<u64>) -> Story {
        let entry = Entry {
            span: Span::new(ms(from) - std::time::Duration::from_millis(5), ms(from)),
            at_once: true,
            ticket: None,
            expires: Some(ms(expires)),
            ended: ended.map(ms),
        };
        Story { entries: vec![entry], ..Story::default() }
    }

    fn same_clock() -> ServerClock {
        ServerClock::calibrate([(at(0), Micros(0))].into_iter())
    }

    #[test]
    fn sessions_that_certainly_overlap_are_counted() {
        let stories = [session(100, 9000, Some(200)), session(200, 9000, Some(300)), session(150, 180, None)];
        assert_eq!(most_active(&stories.iter().collect::<Vec<_>>(), &same_clock()), 2);
    }

    #[test]
    fn an_open_turn_takes_up_a_slot() {
        let turn = Story { turn: Some(Turn { seen: ms(100), expires: Some(ms(500)) }), ..Story::default() };
        let stories = [turn, session(200, 9000, None)];
        assert_eq!(most_active(&stories.iter().collect::<Vec<_>>(), &same_clock()), 2);
    }

    proptest! {
        #[test]
        fn the_sweep_finds_what_counting_by_hand_finds(
            spans in prop::collection::vec((0_u64..20_000, 0_u64..500), 0..60),
            rate in 1_u64..600,
            burst in 0_u64..6,
        ) {
            let entries: Vec<_> = spans.iter().map(|(from, took)| Span::new(ms(*from), ms(from + took))).collect();
            let rates = Rates::constant(rate);
            prop_assert_eq!(over_limit_windows(&entries, &rates, burst).windows, by_hand(&entries, &rates, burst));
        }
    }
}
