//! Turns whose deadline was moved look younger than they are to who hears of them late: those that were open while no
//! tick came, those of which a store that forgot was told, and those whose edge has gone: the next one gives whoever
//! comes back there a whole `claim_window`.

use std::time::Duration;

use crowd::clock::Span;
use crowd::proof::facts::{Facts, ServerClock};
use crowd::story::Story;
use room::queue::TICK_GAP;
use room::time::Micros;

/// The last turn that a store was told of, before the first that it gives.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// With the first word after a socket was lost.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// Widens when turns were given to what is certain. `facts` are those of `stories`, in their order; `losses` are when
/// a store gathered what it had forgotten: a turn of which it was told has a whole `claim_window` from then.
pub(super) fn widen(stories: &[&Story], facts: &mut [Facts], clock: ServerClock, losses: &[Span]) {
    let gaps = gaps(facts);
    let gathering: Vec<Span> = losses.iter().map(|loss| clock.of(*loss)).collect();
    let may_be_told =
        |at: Micros| gathering.iter().any(|span| span.from <= at && at <= span.to + TOLD_WITHIN);
    for (story, person) in stories.iter().zip(facts) {
        let (Some(turn), Some(given)) = (story.turn, person.given) else { continue };
        let seen = clock.of(Span::at(turn.seen)).to;
        let moved: Duration = gaps
            .iter()
            .filter(|gap| gap.to >= given.to && gap.to <= seen)
            .map(|gap| gap.to.since(gap.from))
            .sum();
        let waited = person.last_waiting.unwrap_or_default();
        let is_moved = may_be_told(given.to) || came_with_return(story, turn.seen);
        let from = if is_moved { Micros::ZERO } else { given.from - moved };
        person.given = Some(Span::new(from.max(waited).min(given.from), given.to));
    }
}

/// Whether the turn was waiting when the visitor came back, perhaps from an edge that is gone.
fn came_with_return(story: &Story, seen: Micros) -> bool {
    story.breaks.iter().filter_map(|lost| lost.back).any(|back| seen.since(back) < FIRST_WORD && seen >= back)
}

/// Stretches in which nobody got a turn.
fn gaps(facts: &[Facts]) -> Vec<Span> {
    let mut given: Vec<Micros> = facts.iter().filter_map(|person| Some(person.given?.to)).collect();
    given.sort_unstable();
    let pairs = given.iter().zip(given.iter().skip(1));
    pairs.filter(|(from, to)| to.since(**from) > TICK_GAP).map(|(from, to)| Span::new(*from, *to)).collect()
}

#[cfg(test)]
mod tests {
    use crowd::proof::order;
    use crowd::story::{Break, Turn};

    use super::*;

    fn ms(millis: u64) -> Micros {
        Micros(millis * 1000)
    }

    /// Came at `came`, was last told to wait at `waited`, heard at `seen` of a turn that seems to be of `given`.
    fn person(id: u64, came: u64, waited: u64, given: u64, seen: u64) -> (Story, Facts) {
        let turn = Turn { seen: ms(seen), expires: Some(ms(given + 20_000)) };
        let facts = Facts {
            id,
            arrival: Some(Span::at(ms(came))),
            joined: Some(Span::at(ms(came + 10))),
            given: Some(Span::at(ms(given))),
            last_waiting: Some(ms(waited)),
            ordinary: true,
            ..Facts::default()
        };
        (Story { id, turn: Some(turn), ..Story::default() }, facts)
    }

    /// The same, whose socket was lost for two seconds until the turn was heard of.
    fn returner(id: u64, came: u64, waited: u64, given: u64, seen: u64) -> (Story, Facts) {
        let (mut story, facts) = person(id, came, waited, given, seen);
        let back = ms(seen - 1);
        story.breaks = vec![Break { lost: ms(seen - 2001), tried: Some(ms(seen - 5)), back: Some(back) }];
        (story, facts)
    }

    fn inversions(people: Vec<(Story, Facts)>) -> Vec<(u64, u64)> {
        inversions_with(people, &[])
    }

    fn inversions_with(people: Vec<(Story, Facts)>, losses: &[Span]) -> Vec<(u64, u64)> {
        let (stories, mut facts): (Vec<Story>, Vec<Facts>) = people.into_iter().unzip();
        let stories: Vec<&Story> = stories.iter().collect();
        // Stamps that are exact: both clocks are one.
        let exact = [(Span::at(ms(1)), ms(1))];
        widen(&stories, &mut facts, ServerClock::calibrate(exact.into_iter()), losses);
        order::inversions(&facts)
    }

    #[test]
    fn a_turn_heard_of_late_may_be_of_the_last_tick_before_the_pause() {
        let early = person(1, 0, 2000, 5500, 8000);
        let late = person(2, 100, 2000, 3000, 3100);
        assert_eq!(inversions(vec![early, late]), []);
    }

    #[test]
    fn whoever_was_told_to_wait_after_the_pause_began_was_overtaken() {
        let early = person(1, 0, 3500, 5500, 8000);
        let late = person(2, 100, 2000, 3000, 3100);
        assert_eq!(inversions(vec![early, late]), [(1, 2)]);
    }

    #[test]
    fn without_a_pause_a_turn_is_of_its_own_tick() {
        let steady =
            (0..40).map(|tick| person(100 + tick, 500 + tick, 2000, 2000 + tick * 100, 2050 + tick * 100));
        let early = person(1, 0, 2000, 5500, 8000);
        let late = person(2, 100, 2000, 3000, 3100);
        assert!(inversions(steady.chain([early, late]).collect()).iter().any(|(late, _)| *late == 1));
    }

    #[test]
    fn a_turn_that_waits_for_who_comes_back_may_be_of_any_moment_since_they_were_told_to_wait() {
        let late = || person(2, 100, 2000, 3000, 3020);
        assert_eq!(inversions(vec![person(1, 0, 2000, 3600, 3610), late()]), [(1, 2)]);
        assert_eq!(inversions(vec![returner(1, 0, 2000, 3600, 3610), late()]), []);
        assert_eq!(inversions(vec![returner(1, 0, 3100, 3600, 3610), late()]), [(1, 2)]);
    }

    #[test]
    fn a_turn_of_which_a_store_that_forgot_was_told_may_be_of_before() {
        let people = || vec![person(1, 0, 2000, 3100, 3200), person(2, 100, 2000, 3000, 3020)];
        assert_eq!(inversions(people()), [(1, 2)]);
        assert_eq!(inversions_with(people(), &[Span::new(ms(3050), ms(3150))]), []);
        let waits_on = vec![person(1, 0, 3070, 3100, 3200), person(2, 100, 2000, 3000, 3020)];
        assert_eq!(inversions_with(waits_on, &[Span::new(ms(3050), ms(3150))]), [(1, 2)]);
    }
}
