//! The positions shown, against the ranks that follow from everybody's story.

use std::time::Duration;

use room::time::Micros;

use super::facts::Facts;
use crate::clock::Span;
use crate::story::{Sighting, Story};

/// What came of comparing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Positions {
    pub compared: u64,
    /// The largest certain error, as a share of the rank.
    pub error_max: f64,
    /// Positions off by more than promised: 2 %, and nothing within the first 100.
    pub wrong: u64,
    /// Positions that grew on one screen.
    pub grew: u64,
    pub worst: Option<Wrong>,
    /// Whether everybody in the line is known, so that `wrong` counts.
    pub judged: bool,
}

/// A position that cannot be right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wrong {
    pub visitor: u64,
    pub as_of: Micros,
    pub shown: u64,
    /// Where the rank certainly was.
    pub least: u64,
    pub most: u64,
}

/// Promised beyond the first hundred.
const TOLERANCE: f64 = 0.02;
const EXACT_RANKS: u64 = 100;
/// Cutting instants to milliseconds, and clocks of edges that differ a little.
const SLACK: Duration = Duration::from_millis(5);

impl Positions {
    pub fn hold(&self) -> bool {
        self.grew == 0 && (self.wrong == 0 || !self.judged)
    }

    /// `least..=most` is where the rank certainly was.
    fn compare(&mut self, shown: &Shown, least: u64, most: u64) {
        self.compared += 1;
        let (error, rank) = match shown.position {
            above if above > most => (above - most, most),
            // Held down because positions never grow.
            below if below < least && !shown.held => (least - below, least),
            _ => return,
        };
        let share = error as f64 / rank.max(1) as f64;
        self.wrong += u64::from(share > TOLERANCE || rank <= EXACT_RANKS);
        if share > self.error_max {
            self.error_max = share;
            let Shown { visitor, as_of, position, .. } = *shown;
            self.worst = Some(Wrong { visitor, as_of, shown: position, least, most });
        }
    }
}

/// One position to compare.
struct Shown {
    visitor: u64,
    as_of: Micros,
    /// Of the visitor's stamp among all stamps, ascending.
    order: usize,
    position: u64,
    held: bool,
}

/// Somebody joins or leaves the line, certainly or possibly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    at: Micros,
    order: usize,
    certain: bool,
    by: i64,
}

/// Compares every position shown; `stories` and `facts` are of the same people in the same order.
pub fn check(stories: &[&Story], facts: &[Facts]) -> Positions {
    let mut stamps: Vec<Micros> = facts.iter().filter_map(|person| person.stamp).collect();
    stamps.sort_unstable();
    let order = |stamp: Micros| stamps.partition_point(|other| *other < stamp);
    let mut changes: Vec<Change> = facts.iter().flat_map(|person| changes(person, &order)).collect();
    changes.sort_unstable();
    let mut shown: Vec<Shown> =
        stories.iter().zip(facts).flat_map(|(story, facts)| shown(story, facts, &order)).collect();
    shown.sort_unstable_by_key(|shown| shown.as_of);

    let (mut certain, mut possible) = (Counts::new(stamps.len()), Counts::new(stamps.len()));
    let mut changes = changes.into_iter().peekable();
    let grew = stories.iter().map(|story| u64::from(story.position_grew)).sum();
    let mut found = Positions { grew, judged: true, ..Positions::default() };
    for shown in shown {
        while let Some(next) = changes.next_if(|next| next.at <= shown.as_of) {
            let counts = if next.certain { &mut certain } else { &mut possible };
            counts.add(next.order, next.by);
        }
        found.compare(&shown, 1 + certain.before(shown.order), 1 + possible.before(shown.order));
    }
    found
}

fn shown<'a>(
    story: &'a Story,
    facts: &Facts,
    order: &dyn Fn(Micros) -> usize,
) -> impl Iterator<Item = Shown> + use<'a> {
    // Returners have a line of their own.
    let order = facts.stamp.filter(|_| facts.ordinary).map(order);
    story.sightings.iter().filter_map(move |seen| {
        let Sighting { as_of, position, held } = *seen;
        Some(Shown { visitor: story.id, as_of, order: order?, position, held })
    })
}

/// When this person certainly stood in the line, and when possibly.
fn changes(person: &Facts, order: &dyn Fn(Micros) -> usize) -> Vec<Change> {
    let (Some(stamp), Some(joined)) = (person.stamp, person.joined) else {
        return Vec::new();
    };
    let never = Span::at(Micros(u64::MAX));
    let given = person.given.unwrap_or(never);
    let left = person.left.unwrap_or(never);
    // Nothing is known of somebody who was neither served nor seen to leave after the last word from the server.
    let silent = if person.given.is_none() { person.last_waiting.unwrap_or(joined.to) } else { given.from };
    let certain = Span::new(joined.to + SLACK, given.from.min(left.from).min(silent) - SLACK);
    let possible = Span::new(joined.from - SLACK, given.to.min(left.to) + SLACK);
    let order = order(stamp);
    let spans = [(true, certain), (false, possible)].into_iter();
    let both = spans.filter(|(sure, span)| span.from < span.to && (!sure || person.ordinary));
    both.flat_map(|(certain, span)| {
        [(span.from, 1), (span.to, -1)].map(|(at, by)| Change { at, order, certain, by })
    })
    .collect()
}

/// How many stand before a place, with people coming and going (a Fenwick tree).
struct Counts(Vec<i64>);

impl Counts {
    fn new(places: usize) -> Self {
        Self(vec![0; places + 1])
    }

    fn add(&mut self, place: usize, change: i64) {
        let mut node = place + 1;
        while let Some(count) = self.0.get_mut(node) {
            *count += change;
            node += node & node.wrapping_neg();
        }
    }

    /// Sum over all places below `place`.
    fn before(&self, place: usize) -> u64 {
        let mut node = place;
        let mut sum = 0;
        while node > 0 {
            sum += self.0.get(node).copied().unwrap_or_default();
            node &= node - 1;
        }
        sum.max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Micros {
        Micros(millis * 1000)
    }

    /// A line of `length` people who came one every 100 ms; nobody is served.
    fn line(length: u64) -> Vec<Facts> {
        let person = |n: u64| Facts {
            id: n,
            stamp: Some(ms(n * 100)),
            joined: Some(Span::new(ms(n * 100 + 1), ms(n * 100 + 10))),
            last_waiting: Some(ms(10_000_000)),
            ordinary: true,
            ..Facts::default()
        };
        (0..length).map(person).collect()
    }

    /// The given positions are shown to the last in line, long after everybody joined.
    fn check_last(facts: &[Facts], positions: &[(u64, bool)]) -> Positions {
        let seen = |(position, held): &(u64, bool)| Sighting {
            as_of: ms(1_000_000),
            position: *position,
            held: *held,
        };
        let mut stories: Vec<Story> =
            facts.iter().map(|person| Story { id: person.id, ..Story::default() }).collect();
        stories.last_mut().unwrap().sightings = positions.iter().map(seen).collect();
        check(&stories.iter().collect::<Vec<_>>(), facts)
    }

    #[test]
    fn the_exact_rank_is_right_and_its_neighbour_is_not() {
        assert_eq!(
            check_last(&line(50), &[(50, false)]),
            Positions { compared: 1, judged: true, ..Positions::default() }
        );
        for wrong in [49, 51] {
            let found = check_last(&line(50), &[(wrong, false)]);
            assert_eq!((found.wrong, found.error_max), (1, 0.02), "{wrong}");
        }
    }

    #[test]
    fn beyond_the_first_hundred_two_percent_are_allowed() {
        assert_eq!(check_last(&line(500), &[(510, false), (490, false)]).wrong, 0);
        assert_eq!(check_last(&line(500), &[(511, false), (489, false)]).wrong, 2);
    }

    #[test]
    fn a_position_that_is_held_down_may_be_lower_but_not_higher() {
        assert_eq!(check_last(&line(50), &[(40, true)]).wrong, 0);
        assert_eq!(check_last(&line(50), &[(60, true)]).wrong, 1);
    }

    #[test]
    fn those_who_are_coming_or_going_widen_the_rank() {
        let mut facts = line(50);
        facts[10].left = Some(Span::new(ms(900_000), Micros(u64::MAX)));
        facts[11].given = Some(Span::new(ms(999_000), ms(1_001_000)));
        assert_eq!(check_last(&facts, &[(50, false), (49, false), (48, false)]).wrong, 0);
        assert_eq!(check_last(&facts, &[(51, false), (47, false)]).wrong, 2);
    }

    #[test]
    fn returners_may_or_may_not_be_counted() {
        let mut facts = line(50);
        facts[10].ordinary = false;
        assert_eq!(check_last(&facts, &[(50, false), (49, false)]).wrong, 0);
        assert_eq!(check_last(&facts, &[(48, false)]).wrong, 1);
    }

    #[test]
    fn a_growing_position_breaks_the_promise_whatever_the_ranks() {
        let story = Story { position_grew: 1, ..Story::default() };
        assert!(!check(&[&story], &[Facts::default()]).hold());
    }
}
