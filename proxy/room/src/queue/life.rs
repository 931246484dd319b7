//! The lives of a store. One that lost data, all of it or the newest, begins another life from what its callers
//! know; what only the edges remember comes back by their reports, and no turn is given before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::budget::Budget;
use crate::ids::{Incarnation, NodeId, TicketId, VisitorId};
use crate::rules::Rules;
use crate::time::Micros;

use super::state::Record;
use super::{Caller, Head, MAX_NODES, Now, Queue, SETTLE, SLOT_GRACE, Session, Witness};

/// What one edge remembers of a room, told to a store that may have forgotten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub items: Vec<Restore>,
    /// The life to which this edge has now told everything, its waiters too.
    pub complete: Option<Incarnation>,
}

/// Something that an edge remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// A session, as its pass has it.
    Session { visitor: VisitorId, ticket: TicketId, session: Session },
    /// A turn that a visitor was told of, and that is still open.
    Turn { visitor: VisitorId, ticket: TicketId },
    /// A ticket that bought its session, or was given back.
    Spent { visitor: VisitorId, ticket: TicketId },
    /// A session that was ended before its time, until when its pass could be shown.
    Revoked { ticket: TicketId, until: Micros },
}

/// What this life of the store goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// The life before; `None` for one that began without a witness.
    former: Option<Incarnation>,
    /// No turns before this instant, and nobody is let in.
    settling_until: Micros,
    /// The edges that lived in the former life, and whether they have reported.
    roll: BTreeMap<NodeId, bool>,
    /// Slots in use in the former life, and how many of them are accounted for, until their passes have all expired.
    expected: u64,
    found: u64,
    expected_until: Micros,
}

impl Life {
    pub(super) fn blank(settling_until: Micros) -> Self {
        Self {
            former: None,
            settling_until,
            roll: BTreeMap::new(),
            expected: 0,
            found: 0,
            expected_until: Micros::ZERO,
        }
    }

    /// A slot of the former life is accounted for.
    pub(super) fn found(&mut self) {
        self.found += 1;
    }

    /// Nobody could report while the store was away: settling takes as much longer.
    pub(super) fn outlast(&mut self, before: Micros, outage: Duration) {
        if self.settling_until > before {
            self.settling_until = self.settling_until + outage;
        }
    }

    /// Who speaks first after an outage knows nothing of this life: the store may be an older copy, and others have to
    /// say so.
    pub(super) fn doubt(&mut self, until: Micros) {
        self.settling_until = self.settling_until.max(until);
    }

    fn call_roll(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            if self.roll.len() < MAX_NODES {
                self.roll.entry(node).or_insert(false);
            }
        }
    }
}

impl Queue {
    /// Begins another life if the store knows less than it once told this caller, and lets the callers of the first
    /// moments add what they know.
    pub(super) fn compare(&mut self, rules: &Rules, caller: &Caller, witness: &Witness) {
        let told = witness.head;
        if self.settling().is_some() && self.life.former == Some(told.incarnation) {
            self.absorb(rules, caller, witness);
        } else if self.has_forgotten(told) {
            self.begin_life(rules, caller, witness);
        }
    }

    /// Others may have brought the step further since; the number of the newest event shows it then, or the front,
    /// which moves for nobody while the store settles.
    fn has_forgotten(&self, told: Head) -> bool {
        let same = told.incarnation == self.head.incarnation;
        told.step > self.head.step
            || (same && (told.seq > self.head.seq || told.front > self.head.front))
            || (!same && self.life.former.is_none())
    }

    /// The clock, the front, the numbers and the operator's control go on from what the caller knows, the budgets
    /// start empty, and the room settles first.
    fn begin_life(&mut self, rules: &Rules, caller: &Caller, witness: &Witness) {
        let is_copy = witness.head.incarnation == self.head.incarnation;
        self.head.incarnation = caller.fresh;
        // What another life has registered from passes is of a former one; whom it let in itself is not.
        self.life = Life { found: self.life.found, ..Life::blank(Micros::ZERO) };
        self.life.former = Some(witness.head.incarnation);
        self.absorb(rules, caller, witness);
        if is_copy {
            self.life.found = self.still_good();
        }
        let clock = self.clock();
        self.life.settling_until = clock + SETTLE;
        self.life.expected_until = clock + longest_pass(rules);
    }

    /// Turns and sessions that are not over. Those that are may have made room, in what an older copy does not know,
    /// for others.
    fn still_good(&self) -> u64 {
        let clock = self.clock().0;
        let turns = self.turns.count_after(clock.saturating_sub(self.turn_shift));
        turns + self.sessions.count_after(clock)
    }

    /// Takes the maximum of what the room and a caller know.
    fn absorb(&mut self, rules: &Rules, caller: &Caller, witness: &Witness) {
        let told = witness.head;
        self.head.seq = self.head.seq.max(told.seq);
        self.head.step = self.head.step.max(told.step);
        self.head.clock = self.head.clock.max(told.clock);
        self.head.front = self.head.front.max(told.front);
        if witness.control.version > self.control.version {
            self.control = witness.control.clone();
        }
        let (clock, rate) = (self.clock(), self.rate());
        let empty = Budget::empty(clock, rate, rules.burst_at(rate));
        self.head.entry = self.head.entry.max(told.entry).max(empty);
        self.head.offer = self.head.offer.max(told.offer).max(empty);
        self.life.expected = self.life.expected.max(told.taken);
        self.life.call_roll(witness.nodes.iter().copied().chain([caller.node]));
        self.set_back();
    }

    /// Who stands in front of the front had a turn, or lost it, in what the store forgot.
    fn set_back(&mut self) {
        while let Some((score, visitor)) = self.line.first()
            && score <= self.head.front
        {
            self.line.remove(&visitor);
            self.returns.insert(visitor, score);
        }
    }

    /// Takes in what an edge remembers. The room is settled when every edge of the former life has told all.
    pub fn restore(&mut self, rules: &Rules, now: Now, caller: &Caller, report: &Report) {
        self.hear(rules, now, caller);
        for item in &report.items {
            self.restore_one(rules, caller, item);
        }
        if report.complete == Some(self.head.incarnation)
            && let Some(reported) = self.life.roll.get_mut(&caller.node)
        {
            *reported = true;
            if self.life.roll.values().all(|reported| *reported) {
                // After an outage the reports may be those of a copy, which somebody has still to find out.
                let soonest = self.clock().max(self.ends_held.1);
                self.life.settling_until = self.life.settling_until.min(soonest);
            }
        }
    }

    fn restore_one(&mut self, rules: &Rules, caller: &Caller, item: &Restore) {
        match *item {
            Restore::Session { visitor, ticket, session } if !self.is_over(ticket, session.ends) => {
                let known = self.session_of(&visitor).map_or(session.ends, |known| known.ends);
                let session = Session { ends: session.ends.max(known), ..session };
                self.register(caller, visitor, ticket, session);
            }
            Restore::Session { .. } => {}
            Restore::Turn { visitor, ticket } => self.restore_turn(rules, caller, visitor, ticket),
            Restore::Spent { visitor, ticket } => self.restore_spent(visitor, ticket),
            Restore::Revoked { ticket, until } => self.revoked.insert(ticket, until.0),
        }
    }

    /// A turn once told is kept, with a whole `claim_window`: but only by a store that is settling, and knows nothing
    /// newer of the visitor.
    fn restore_turn(&mut self, rules: &Rules, caller: &Caller, visitor: VisitorId, ticket: TicketId) {
        let is_old = self.settling().is_none()
            || self.spent.contains(&ticket)
            || self.sessions.contains(&visitor)
            || self.turns.contains(&visitor);
        if is_old {
            return;
        }
        self.withdraw(visitor);
        let deadline = self.clock() + rules.claim_window;
        self.turns.insert(visitor, deadline.0 - self.turn_shift);
        self.records.insert(visitor, Record { node: caller.node, ticket, cap: Micros::ZERO });
        self.life.found();
    }

    /// The place that this ticket still has is one that the store forgot to take.
    fn restore_spent(&mut self, visitor: VisitorId, ticket: TicketId) {
        self.spend(ticket);
        let stands = self.records.get(&visitor).is_some_and(|record| record.ticket == ticket);
        let had_turn = self.turns.contains(&visitor);
        if stands && self.withdraw(visitor) {
            if had_turn {
                self.life.found = self.life.found.saturating_sub(1);
            }
            if !self.sessions.contains(&visitor) {
                self.records.remove(&visitor);
            }
        }
    }

    pub(super) fn settling(&self) -> Option<Micros> {
        let until = self.life.settling_until;
        (until > self.clock()).then_some(until)
    }

    /// The edges that have not told this life everything, while it waits for them.
    pub(super) fn awaited(&self) -> impl Iterator<Item = NodeId> {
        let waits = self.settling().is_some();
        self.life.roll.iter().filter(move |(_, reported)| waits && !**reported).map(|(&node, _)| node)
    }

    /// Slots in use, with those of the former life that nobody has accounted for yet.
    pub(super) fn taken(&self) -> u64 {
        let Life { expected, found, expected_until, .. } = self.life;
        let unknown = if self.clock() < expected_until { expected.saturating_sub(found) } else { 0 };
        self.turns.len() + self.sessions.len() + unknown
    }
}

/// A pass that was made before now is over after this.
fn longest_pass(rules: &Rules) -> Duration {
    rules.session_duration.max(rules.confirm_window) + SLOT_GRACE
}
