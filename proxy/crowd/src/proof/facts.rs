//! Brings what visitors saw onto one clock: the server's.

use std::time::Duration;

use room::time::{Micros, as_micros};

use crate::clock::Span;
use crate::story::{Entry, Part, Story};

/// What is certain about one visitor. All instants are intervals on the server's clock.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Facts {
    pub id: u64,
    /// Which edge stamped the visitor.
    pub edge: usize,
    pub arrival: Option<Span>,
    pub joined: Option<Span>,
    pub stamp: Option<Micros>,
    /// When the turn was given, or the visitor was let in at once.
    pub given: Option<Span>,
    /// The latest instant at which the server said that there was no turn yet.
    pub last_waiting: Option<Micros>,
    /// Joined certainly before the line had moved past the stamp: stands in the ordinary line, not with the returners.
    pub ordinary: bool,
    /// Was away at some time.
    pub absent: bool,
    /// Back from the last absence.
    pub back: Option<Micros>,
    /// Departure from the line for another reason than the turn.
    pub left: Option<Span>,
}

/// How far the server's clock may be ahead of the crowd's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerClock {
    least: i64,
    most: i64,
}

/// Instants on the wire are cut to milliseconds.
const WIRE_STEP: Duration = Duration::from_millis(1);
/// Without any stamp to compare with, the clocks are taken to differ by at most this.
const UNKNOWN_MICROS: i64 = 50_000;

impl ServerClock {
    /// Every stamp was made between the request that asked for it and the answer that brought it.
    pub fn calibrate(samples: impl Iterator<Item = (Span, Micros)>) -> Self {
        let (mut least, mut most): (Vec<_>, Vec<_>) =
            samples.map(|(span, stamp)| (difference(stamp, span.to), difference(stamp, span.from))).unzip();
        least.sort_unstable();
        most.sort_unstable();
        let (Some(&low), Some(&high)) = (least.last(), most.first()) else {
            return Self { least: -UNKNOWN_MICROS, most: UNKNOWN_MICROS };
        };
        if low <= high {
            return Self { least: low, most: high };
        }
        // The edges' clocks differ a little, so no single difference fits: take what spans nearly all of them. A few
        // wild stamps must not widen the intervals until nothing can be proved.
        let near_all = |sorted: &[i64], share: usize| sorted.get((sorted.len() - 1) * share / 20).copied();
        let (low, high) = (near_all(&least, 19).unwrap_or(low), near_all(&most, 1).unwrap_or(high));
        Self { least: low.min(high), most: low.max(high) }
    }

    /// An interval of the crowd's clock, as seen by the server.
    pub fn of(&self, span: Span) -> Span {
        Span::new(shift(span.from, self.least), shift(span.to, self.most))
    }

    /// An instant of the server's clock as the earliest that it can be on the crowd's.
    pub fn earliest_here(&self, instant: Micros) -> Micros {
        shift(instant, -self.most)
    }

    /// How wide an instant becomes.
    pub fn uncertainty(&self) -> Duration {
        Duration::from_micros(self.most.abs_diff(self.least))
    }
}

/// All facts, and the clock they are on.
pub fn establish(stories: &[&Story], claim_window: Option<Duration>) -> (Vec<Facts>, ServerClock) {
    let samples = stories.iter().filter_map(|story| story.arrival.zip(story.first_stamp));
    let clock = ServerClock::calibrate(samples);
    let turns = TurnClock::calibrate(stories, &clock, claim_window);
    let mut all: Vec<Facts> = stories.iter().map(|story| facts(story, &clock, &turns)).collect();
    let front = Front::new(&all);
    for person in &mut all {
        person.ordinary = front.is_ahead(person);
    }
    (all, clock)
}

/// Dates turns by their deadlines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct TurnClock {
    claim_window: Duration,
    /// By how much turns seem to be given after they were seen: the clock of ticks may run ahead of that of stamps,
    /// and a deadline moves when the store's clock stood still.
    ahead: Duration,
}

/// A turn is heard of within this time by somebody at least, but clocks may differ: settings are in whole seconds.
const WINDOW_SLACK: Duration = Duration::from_millis(200);

impl TurnClock {
    fn calibrate(stories: &[&Story], clock: &ServerClock, told: Option<Duration>) -> Self {
        let turns = stories.iter().filter_map(|story| story.turn);
        let left = turns.filter_map(|turn| Some(turn.expires?.since(clock.of(Span::at(turn.seen)).to)));
        let Some(longest) = left.max() else {
            return Self { claim_window: told.unwrap_or_default(), ..Self::default() };
        };
        let seconds = as_micros(longest.saturating_sub(WINDOW_SLACK)).div_ceil(1_000_000);
        let claim_window = told.unwrap_or(Duration::from_secs(seconds));
        Self { claim_window, ahead: longest.saturating_sub(claim_window) }
    }

    fn given(&self, expires: Micros) -> Span {
        let given = expires - self.claim_window;
        Span::new(given - self.ahead, given + WIRE_STEP)
    }
}

fn facts(story: &Story, clock: &ServerClock, turns: &TurnClock) -> Facts {
    Facts {
        id: story.id,
        edge: story.edge,
        arrival: story.arrival.or(story.entries.first().map(|entry| entry.span)).map(|span| clock.of(span)),
        joined: story.joined.map(|span| clock.of(span)),
        stamp: story.place.map(|place| place.stamp),
        given: given(story, clock, turns),
        last_waiting: story.last_waiting,
        absent: !story.absences.is_empty() || story.part == Part::Bot && story.joined.is_some(),
        back: story.absences.iter().map(|away| clock.of(*away).to).max(),
        left: left(story, clock),
        ordinary: false,
    }
}

fn given(story: &Story, clock: &ServerClock, turns: &TurnClock) -> Option<Span> {
    let entry = story.entries.first();
    let Some(turn) = story.turn else {
        return entry.map(|entry| unseen_turn(story, entry, clock));
    };
    let seen = clock.of(Span::at(turn.seen)).to;
    let earliest = story.joined.map_or(Micros::ZERO, |joined| clock.of(joined).from);
    Some(turn.expires.map_or(Span::new(earliest, seen), |expires| turns.given(expires)))
}

/// Somebody whose request was let in without a turn being announced.
fn unseen_turn(story: &Story, entry: &Entry, clock: &ServerClock) -> Span {
    let span = clock.of(entry.span);
    let Some(joined) = story.joined else { return span };
    // What is said to somebody new may still be as of a moment before.
    let earliest = clock.of(joined).from.max(story.last_waiting.unwrap_or_default());
    Span::new(earliest.min(span.from), span.to)
}

/// From the first moment a departure may have counted; it may also never have.
fn left(story: &Story, clock: &ServerClock) -> Option<Span> {
    let away = story.absences.iter().map(|away| away.from).min();
    let from = story.left_line.into_iter().chain(away).min()?;
    Some(Span::new(clock.of(Span::at(from)).from, Micros(u64::MAX)))
}

/// How far the line may have moved by any instant. Whoever joins behind it is a returner with a line of its own.
struct Front {
    /// Sorted by instant; the stamp is the latest up to then.
    moves: Vec<(Micros, Micros)>,
}

impl Front {
    fn new(facts: &[Facts]) -> Self {
        let stamp = |person: &Facts| person.stamp.or(person.arrival.map(|arrival| arrival.to));
        let mut moves: Vec<_> =
            facts.iter().filter_map(|person| Some((person.given?.from, stamp(person)?))).collect();
        moves.sort_unstable();
        let mut furthest = Micros::ZERO;
        for (_, stamp) in &mut moves {
            furthest = furthest.max(*stamp);
            *stamp = furthest;
        }
        Self { moves }
    }

    /// Whether the person joined certainly ahead of the front.
    fn is_ahead(&self, person: &Facts) -> bool {
        let (Some(stamp), Some(joined)) = (person.stamp, person.joined) else {
            return false;
        };
        let before = self.moves.partition_point(|(instant, _)| *instant <= joined.to);
        let front = before.checked_sub(1).and_then(|last| self.moves.get(last));
        front.is_none_or(|(_, front)| *front < stamp)
    }
}

fn difference(a: Micros, b: Micros) -> i64 {
    i64::try_from(i128::from(a.0) - i128::from(b.0)).unwrap_or(i64::MAX)
}

fn shift(instant: Micros, by: i64) -> Micros {
    Micros(instant.0.saturating_add_signed(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_bound_the_difference_of_the_clocks() {
        let sample = |from: u64, to: u64, stamp: u64| (Span::new(Micros(from), Micros(to)), Micros(stamp));
        // The server is 1,000 ahead: stamped at 150 and 205 of our clock.
        let clock = ServerClock::calibrate([sample(100, 200, 1150), sample(200, 300, 1205)].into_iter());
        assert_eq!(clock, ServerClock { least: 950, most: 1005 });
        assert_eq!(clock.of(Span::at(Micros(10))), Span::new(Micros(960), Micros(1015)));
        assert_eq!(clock.uncertainty(), Duration::from_micros(55));
    }

    #[test]
    fn edges_whose_clocks_differ_widen_the_bounds() {
        let sample = |stamp: u64| (Span::new(Micros(10_000), Micros(10_010)), Micros(stamp));
        let clock = ServerClock::calibrate([sample(10_000), sample(12_000)].into_iter());
        let span = clock.of(Span::at(Micros(20_000)));
        assert!(span.from <= Micros(20_000) && span.to >= Micros(20_000), "{span:?}");
    }

    fn turn(seen: u64, expires: u64) -> Story {
        Story {
            turn: Some(crate::story::Turn { seen: Micros(seen), expires: Some(Micros(expires)) }),
            arrival: Some(Span::at(Micros(5))),
            first_stamp: Some(Micros(5)),
            ..Story::default()
        }
    }

    fn turn_clock(stories: &[Story], told: Option<Duration>) -> TurnClock {
        let samples = stories.iter().filter_map(|story| story.arrival.zip(story.first_stamp));
        TurnClock::calibrate(&stories.iter().collect::<Vec<_>>(), &ServerClock::calibrate(samples), told)
    }

    #[test]
    fn the_claim_window_is_inferred_from_the_turn_heard_soonest() {
        let stories = [turn(10_000_000, 39_990_000), turn(10_000_000, 39_100_000)];
        let clock = turn_clock(&stories, None);
        assert_eq!(clock, TurnClock { claim_window: Duration::from_secs(30), ahead: Duration::ZERO });
    }

    #[test]
    fn ticks_that_run_ahead_of_the_stamps_widen_the_moment_of_a_turn() {
        let stories = [turn(10_000_000, 20_010_000)];
        for told in [None, Some(Duration::from_secs(10))] {
            let clock = turn_clock(&stories, told);
            assert_eq!((clock.claim_window.as_secs(), clock.ahead.as_millis()), (10, 10), "{told:?}");
            assert_eq!(clock.given(Micros(20_010_000)).from, Micros(10_000_000));
        }
    }

    #[test]
    fn whoever_joins_behind_the_front_is_no_longer_in_the_ordinary_line() {
        let ms = |millis: u64| Micros(millis * 1000);
        let person = |came: u64, joined: u64, given: Option<u64>| Facts {
            stamp: Some(ms(came)),
            joined: Some(Span::at(ms(joined))),
            given: given.map(|given| Span::at(ms(given))),
            ..Facts::default()
        };
        let front = Front::new(&[person(100, 110, Some(500)), person(200, 210, Some(400))]);
        assert!(front.is_ahead(&person(150, 399, None)), "the line had not moved yet");
        assert!(!front.is_ahead(&person(150, 400, None)), "the second one was served first");
        assert!(front.is_ahead(&person(201, 600, None)));
    }
}
