//! Order by arrival among those who stood in the ordinary line.

use std::collections::BTreeMap;
use std::time::Duration;

use room::time::Micros;

use super::facts::Facts;

/// Edges' clocks may differ by this much; arrivals closer together have no certain order.
const EDGES_APART: Duration = Duration::from_millis(2);

/// How many visitors' order could be judged: they stood in the ordinary line for all of their wait.
pub fn compared(facts: &[Facts]) -> u64 {
    facts.iter().filter_map(Victim::of).filter(|victim| victim.joined < victim.given).count() as u64
}

/// Who was certainly overtaken, and by whom: `(overtaken, overtaker)`, one pair a victim.
pub fn inversions(facts: &[Facts]) -> Vec<(u64, u64)> {
    let mut overtakers: Vec<Overtaker> = facts.iter().filter_map(Overtaker::of).collect();
    let mut victims: Vec<Victim> = facts.iter().filter_map(Victim::of).collect();
    overtakers.sort_unstable_by_key(|overtaker| overtaker.came);
    victims.sort_unstable_by_key(|victim| victim.came);
    // From the last victim to the first: `later` grows to all who certainly came after the victim, by turn.
    let mut later: BTreeMap<(Micros, u64), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for victim in victims.iter().rev() {
        while let Some(overtaker) = overtakers.pop_if(|overtaker| overtaker.came > victim.came + EDGES_APART)
        {
            later.insert((overtaker.given_by, overtaker.id), overtaker.given_from.0);
        }
        if victim.given <= victim.joined {
            continue;
        }
        let mut while_waiting = later.range((victim.joined, 0)..(victim.given, 0));
        let overtaker = while_waiting.find(|(_, from)| **from >= victim.joined.0);
        found.extend(overtaker.map(|((_, id), _)| (victim.id, *id)));
    }
    found
}

/// Came certainly not before `came`, had the turn certainly by `given_by`.
struct Overtaker {
    id: u64,
    came: Micros,
    given_from: Micros,
    given_by: Micros,
}

/// Came certainly by `came`, stood in the line from `joined`, had no turn before `given`.
struct Victim {
    id: u64,
    came: Micros,
    joined: Micros,
    given: Micros,
}

impl Overtaker {
    fn of(person: &Facts) -> Option<Self> {
        let ordinary = person.joined.is_none() || person.ordinary;
        if person.absent || !ordinary {
            return None;
        }
        let given = person.given?;
        Some(Self { id: person.id, came: person.arrival?.from, given_from: given.from, given_by: given.to })
    }
}

impl Victim {
    fn of(person: &Facts) -> Option<Self> {
        if person.absent || !person.ordinary {
            return None;
        }
        let waited_until = person.last_waiting.unwrap_or_default();
        let given = match (person.given, person.left) {
            (Some(given), _) => given.from,
            (None, Some(left)) => waited_until.min(left.from),
            (None, None) => waited_until,
        };
        Some(Self { id: person.id, came: person.arrival?.to, joined: person.joined?.to, given })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Span;

    fn ms(millis: u64) -> Micros {
        Micros(millis * 1000)
    }

    /// Came at `came`, joined 10 ms later, got the turn at `given`.
    fn person(id: u64, came: u64, given: u64) -> Facts {
        Facts {
            id,
            arrival: Some(Span::new(ms(came), ms(came + 5))),
            joined: Some(Span::new(ms(came + 6), ms(came + 10))),
            stamp: Some(ms(came + 2)),
            given: Some(Span::at(ms(given))),
            last_waiting: Some(ms(given - 1)),
            ordinary: true,
            ..Facts::default()
        }
    }

    #[test]
    fn a_line_served_in_order_has_no_inversions() {
        let line: Vec<_> = (0..100).map(|n| person(n, n * 20, 10_000 + n / 10 * 100)).collect();
        assert_eq!(inversions(&line), []);
    }

    #[test]
    fn an_overtaken_visitor_is_found() {
        let line = [person(1, 0, 900), person(2, 100, 500), person(3, 200, 950)];
        assert_eq!(inversions(&line), [(1, 2)]);
    }

    #[test]
    fn somebody_never_served_while_later_ones_are_is_overtaken() {
        let waiting = Facts { given: None, last_waiting: Some(ms(5000)), ..person(1, 0, 9999) };
        assert_eq!(inversions(&[waiting, person(2, 100, 600)]), [(1, 2)]);
    }

    #[test]
    fn let_in_at_once_before_those_who_wait_is_an_inversion() {
        let at_once = Facts {
            joined: None,
            ordinary: false,
            given: Some(Span::new(ms(300), ms(310))),
            ..person(2, 300, 300)
        };
        assert_eq!(inversions(&[person(1, 0, 900), at_once]), [(1, 2)]);
    }

    #[test]
    fn overlapping_arrivals_have_no_order() {
        assert_eq!(inversions(&[person(1, 0, 900), person(2, 4, 500)]), []);
        assert_eq!(
            inversions(&[person(1, 0, 900), person(2, 6, 500)]),
            [],
            "within what edges' clocks differ"
        );
    }

    #[test]
    fn the_same_tick_is_no_inversion() {
        assert_eq!(inversions(&[person(1, 0, 500), person(2, 100, 500)]), []);
    }

    #[test]
    fn whoever_was_away_or_stands_with_the_returners_is_not_compared() {
        let away = Facts { absent: true, ..person(1, 0, 900) };
        assert_eq!(inversions(&[away, person(2, 100, 500)]), []);
        let returner = Facts { ordinary: false, ..person(1, 0, 900) };
        assert_eq!(inversions(&[returner, person(2, 100, 500)]), []);
    }
}
