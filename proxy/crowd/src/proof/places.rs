//! No confirmed place is ever lost.

use std::time::Duration;

use room::time::Micros;

use super::facts::Facts;
use crate::story::{End, Loss, Story};

/// Somebody back from an absence gets a turn with the share kept for returners; this long it may take.
const RETURN_SLACK: Duration = Duration::from_secs(30);
/// Somebody who never left is passed over for this long by nobody.
const SLACK: Duration = Duration::from_secs(5);

/// Who lost a place, and how.
pub fn lost(stories: &[&Story], facts: &[Facts]) -> Vec<(u64, &'static str)> {
    let passed_over = never_served(facts);
    let told = |(story, facts): (&&Story, &Facts)| {
        let first = story.losses.iter().find(|loss| counts(story, **loss)).map(|loss| word(*loss));
        let missed =
            passed_over.contains(&facts.id).then_some("never served, though others later in line were");
        Some((story.id, first.or(missed)?))
    };
    stories.iter().zip(facts).filter_map(told).collect()
}

/// Only a place that was confirmed can be lost, and only by somebody who did not give it up.
fn counts(story: &Story, loss: Loss) -> bool {
    let given_up = matches!(story.end, End::Left | End::NoShow);
    story.joined.is_some() && (!given_up || loss == Loss::Restamped)
}

const fn word(loss: Loss) -> &'static str {
    match loss {
        Loss::ToldExpired => "told that it expired",
        Loss::ToldClosed => "told that the room is closed",
        Loss::TicketRefused => "the confirmed ticket was refused",
        Loss::Restamped => "the stamp became later",
        Loss::TurnRefused => "the turn was refused before its time was over",
    }
}

/// Present to the end without a turn, while somebody who came later had one long before.
fn never_served(facts: &[Facts]) -> std::collections::HashSet<u64> {
    let mut served: Vec<(Micros, Micros)> =
        facts.iter().filter_map(|person| Some((person.arrival?.from, person.given?.to))).collect();
    served.sort_unstable();
    let waits = |person: &&Facts| person.given.is_none() && person.joined.is_some();
    let passed_over = |person: &&Facts| passed_over(person, &served).unwrap_or(false);
    facts.iter().filter(waits).filter(passed_over).map(|person| person.id).collect()
}

/// `served` holds when others came and when they had their turn, sorted.
fn passed_over(person: &Facts, served: &[(Micros, Micros)]) -> Option<bool> {
    let (came, joined, waited_until) = (person.arrival?.to, person.joined?.to, person.last_waiting?);
    let slack = if person.absent { RETURN_SLACK } else { SLACK };
    let since = person.back.unwrap_or(joined).max(joined);
    let later = served.get(served.partition_point(|(from, _)| *from <= came)..)?;
    Some(later.iter().any(|(_, given)| *given >= since && *given + slack <= waited_until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Span;

    fn secs(secs: u64) -> Span {
        Span::at(Micros::from_secs(secs))
    }

    fn joined() -> Story {
        Story { joined: Some(secs(1)), ..Story::default() }
    }

    fn lost_by(story: &Story) -> Vec<(u64, &'static str)> {
        lost(&[story], &[Facts { id: story.id, ..Facts::default() }])
    }

    #[test]
    fn being_told_that_it_is_over_is_a_lost_place() {
        for loss in
            [Loss::ToldExpired, Loss::ToldClosed, Loss::TicketRefused, Loss::Restamped, Loss::TurnRefused]
        {
            let story = Story { losses: vec![loss], ..joined() };
            assert_eq!(lost_by(&story), [(0, word(loss))]);
        }
        assert_eq!(lost_by(&joined()), []);
    }

    #[test]
    fn whoever_gave_the_place_up_or_never_had_it_lost_nothing() {
        let no_show = Story { losses: vec![Loss::ToldExpired], end: End::NoShow, ..joined() };
        let outside = Story { losses: vec![Loss::ToldClosed], joined: None, ..joined() };
        assert_eq!((lost_by(&no_show), lost_by(&outside)), (vec![], vec![]));
    }

    fn waiting(until: u64) -> Facts {
        Facts {
            id: 1,
            arrival: Some(secs(1)),
            joined: Some(secs(2)),
            last_waiting: Some(secs(until).to),
            ..Facts::default()
        }
    }

    fn served(came: u64, given: u64) -> Facts {
        Facts {
            id: 2,
            arrival: Some(secs(came)),
            joined: Some(secs(came)),
            given: Some(secs(given)),
            ..Facts::default()
        }
    }

    #[test]
    fn being_passed_over_for_long_is_a_lost_place() {
        assert!(never_served(&[waiting(60), served(5, 20)]).contains(&1));
        assert!(never_served(&[waiting(22), served(5, 20)]).is_empty(), "not yet");
        assert!(never_served(&[waiting(60), served(0, 20)]).is_empty(), "earlier in line");
    }

    #[test]
    fn a_returner_has_more_patience() {
        let back = |until| Facts { absent: true, back: Some(secs(10).to), ..waiting(until) };
        assert!(never_served(&[back(40), served(5, 20)]).is_empty());
        assert!(never_served(&[back(60), served(5, 20)]).contains(&1));
        assert!(never_served(&[back(60), served(5, 9)]).is_empty(), "served while away");
    }
}
