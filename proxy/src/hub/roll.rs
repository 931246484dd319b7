//! Those who wait at one part, each under a number. What a tick reads of them lies side by side, a cache line each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use room::ids::VisitorId;

use super::waiter::{Person, Spot, Waiter};

/// Whose place in the roll this is. It goes to somebody else once they have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub(super) u32);

#[derive(Debug, Default)]
pub(super) struct Roll {
    numbers: HashMap<VisitorId, Number>,
    spots: Vec<Spot>,
    /// Beside each spot whose it is; `None`: nobody's.
    people: Vec<Option<Person>>,
    free: Vec<Number>,
}

impl Roll {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn has(&self, visitor: VisitorId) -> bool {
        self.numbers.contains_key(&visitor)
    }

    pub(super) fn number(&self, visitor: VisitorId) -> Option<Number> {
        self.numbers.get(&visitor).copied()
    }

    pub(super) fn of(&mut self, visitor: VisitorId) -> Option<Waiter<'_>> {
        self.at(self.number(visitor)?)
    }

    pub(super) fn at(&mut self, number: Number) -> Option<Waiter<'_>> {
        let person = self.people.get_mut(number.index())?.as_mut()?;
        Some(Waiter { spot: self.spots.get_mut(number.index())?, person })
    }

    /// What a tick reads.
    pub(super) fn spot(&mut self, number: Number) -> Option<&mut Spot> {
        self.spots.get_mut(number.index())
    }

    /// Everybody, in the order of numbers: roughly that in which they came.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (Number, Waiter<'_>)> {
        let both = self.spots.iter_mut().zip(&mut self.people).zip(0..);
        both.filter_map(|((spot, person), index)| {
            Some((Number(index), Waiter { spot, person: person.as_mut()? }))
        })
    }

    /// Who is there already, or `newcomer`, whom `note` is told the number of.
    pub(super) fn enter(
        &mut self,
        visitor: VisitorId,
        newcomer: impl FnOnce(Number) -> (Spot, Person),
    ) -> Number {
        let Self { numbers, spots, people, free } = self;
        let vacant = match numbers.entry(visitor) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(vacant) => vacant,
        };
        // A part has fewer waiters than a room may have, which is a number of 32 bits.
        let number = free.pop().unwrap_or(Number(u32::try_from(spots.len()).unwrap_or(u32::MAX)));
        let (spot, person) = newcomer(number);
        if let (Some(old_spot), Some(nobody)) =
            (spots.get_mut(number.index()), people.get_mut(number.index()))
        {
            (*old_spot, *nobody) = (spot, Some(person));
        } else {
            spots.push(spot);
            people.push(Some(person));
        }
        *vacant.insert(number)
    }

    /// Takes somebody out, with what is theirs.
    pub(super) fn remove(&mut self, visitor: VisitorId) -> Option<(Spot, Person)> {
        let number = self.numbers.remove(&visitor)?;
        let spot = std::mem::take(self.spots.get_mut(number.index())?);
        let person = self.people.get_mut(number.index())?.take()?;
        self.free.push(number);
        if self.numbers.is_empty() {
            // A crowd has gone home: so does the memory that it took.
            *self = Self::default();
        }
        Some((spot, person))
    }
}

impl Number {
    fn index(self) -> usize {
        self.0 as usize
    }
}
