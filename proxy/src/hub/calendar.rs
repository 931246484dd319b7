//! Whose time comes when: taking those costs nothing for all the others. Pure: time is an argument.

use room::time::Micros;

use super::roll::Number;

const SLOT_MICROS: u64 = 250_000;
/// 64 s: a little more than the longest time between two updates. What is later is looked at after these.
const SLOTS: u64 = 256;

/// A ring of slots of a quarter of a second. An entry stands for "look then". Nothing is ever searched for or taken
/// out: whose plans change gets another entry, and the one before is [superseded](Calendar::is_superseded). A number
/// that goes to somebody else keeps its entries: they are looked at once too often.
#[derive(Debug)]
pub(super) struct Calendar {
    slots: Box<[Vec<Number>]>,
    /// The first slot that was not taken.
    next: u64,
    entries: usize,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next: 0, entries: 0 }
    }
}

impl Calendar {
    /// To look at `at`, or somewhat before: when is returned, and to be remembered beside the visitor.
    pub(super) fn note(&mut self, number: Number, at: Micros, now: Micros) -> Micros {
        if self.entries == 0 {
            self.next = slot(now);
        }
        let slot = slot(at).clamp(self.next, self.next + SLOTS - 1);
        if let Some(entries) = self.slots.get_mut((slot % SLOTS) as usize) {
            entries.push(number);
            self.entries += 1;
        }
        Micros(slot * SLOT_MICROS)
    }

    /// Whether an entry that was taken does not count, because there is a later one: of `noted`. A time beyond the ring
    /// is from before the clock was set back.
    pub(super) fn is_superseded(noted: Micros, until: Micros) -> bool {
        let last = slot(until);
        (last + 1..=last + SLOTS).contains(&slot(noted))
    }

    /// Everybody up to `until`, and with a clock that was set back by far, everybody, behind those `taken` has.
    pub(super) fn take(&mut self, until: Micros, taken: &mut Vec<Number>) {
        let (last, before) = (slot(until), taken.len());
        let was_set_back = last + SLOTS < self.next;
        let end = if was_set_back { self.next + SLOTS } else { (last + 1).min(self.next + SLOTS) };
        for slot in self.next..end {
            if let Some(entries) = self.slots.get_mut((slot % SLOTS) as usize) {
                taken.append(&mut std::mem::take(entries));
            }
        }
        self.entries -= taken.len() - before;
        self.next = if was_set_back { last + 1 } else { self.next.max(last + 1) };
    }
}

fn slot(instant: Micros) -> u64 {
    instant.0 / SLOT_MICROS
}

#[cfg(test)]
impl Calendar {
    pub(super) fn len(&self) -> usize {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Micros = Micros(1_767_225_600_000_000);

    fn take(calendar: &mut Calendar, millis: u64) -> Vec<Number> {
        let mut taken = Vec::new();
        calendar.take(at(millis), &mut taken);
        taken
    }

    fn at(millis: u64) -> Micros {
        Micros(START.0 + millis * 1000)
    }

    #[test]
    fn each_is_taken_when_its_time_has_come_and_once() {
        let mut calendar = Calendar::default();
        for (number, millis) in [(1, 0), (2, 1000), (3, 60_000)] {
            calendar.note(Number(number), at(millis), START);
        }
        assert_eq!(take(&mut calendar, 999), [Number(1)]);
        assert_eq!(take(&mut calendar, 1000), [Number(2)]);
        assert_eq!(take(&mut calendar, 59_000), []);
        assert_eq!(take(&mut calendar, 60_000), [Number(3)]);
        assert_eq!(take(&mut calendar, 1_000_000), []);
    }

    #[test]
    fn what_is_overdue_or_further_than_the_ring_is_looked_at_early_rather_than_never() {
        let mut calendar = Calendar::default();
        calendar.note(Number(1), at(0), at(5000));
        calendar.note(Number(2), at(1_000_000), at(5000));
        assert_eq!(take(&mut calendar, 5000), [Number(1)]);
        assert_eq!(take(&mut calendar, 70_000), [Number(2)]);
    }

    #[test]
    fn a_clock_that_leaps_loses_nobody() {
        let mut calendar = Calendar::default();
        calendar.note(Number(1), at(1000), START);
        assert_eq!(take(&mut calendar, 100_000_000), [Number(1)], "forward");
        calendar.note(Number(2), at(100_001_000), at(100_000_000));
        assert_eq!(take(&mut calendar, 0), [Number(2)], "back");
        calendar.note(Number(3), at(1000), at(0));
        assert_eq!(take(&mut calendar, 1000), [Number(3)]);
    }

    proptest! {
        #[test]
        fn nobody_is_taken_more_than_a_slot_early_or_ever_late(
            waits in prop::collection::vec(0_u64..60_000, 1..200),
            steps in prop::collection::vec(1_u64..3_000, 1..100),
        ) {
            let mut calendar = Calendar::default();
            let mut left: Vec<u64> = waits.clone();
            for (number, &wait) in waits.iter().enumerate() {
                calendar.note(Number(number as u32), at(wait), START);
            }
            let mut now = 0;
            for step in steps {
                now += step;
                for taken in take(&mut calendar, now) {
                    let wait = waits[taken.0 as usize];
                    prop_assert!(wait < now + SLOT_MICROS / 1000);
                    left.remove(left.iter().position(|&left| left == wait).unwrap());
                }
                prop_assert!(left.iter().all(|&left| left > now));
            }
        }
    }
}
