use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::budget::Budget;
use crate::ids::{NodeId, TicketId, VisitorId};
use crate::rules::{Rules, TICKET_LIFE};
use crate::sorted::SortedSet;
use crate::time::{Micros, as_micros};

use super::{
    Caller, Change, Control, Counts, Event, FileValues, Head, Mode, Now, Pause, SETTLE, Survey,
    VersionConflict,
};

/// One room's queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub(super) head: Head,
    /// The wall clock at the last call: the logical clock moves by the differences.
    pub(super) seen: Micros,
    /// When the last tick was, by the logical clock.
    pub(super) ticked: Micros,
    pub(super) measured: Micros,
    pub(super) settling_until: Micros,
    /// Deadlines in `turns` are relative to this: adding to it extends all of them.
    pub(super) turn_shift: u64,
    pub(super) control: Control,
    pub(super) entry: Budget,
    pub(super) offer: Budget,
    pub(super) line: SortedSet<VisitorId>,
    pub(super) returns: SortedSet<VisitorId>,
    pub(super) turns: SortedSet<VisitorId>,
    /// By the end of the pass; the slot is free [`super::SLOT_GRACE`] later.
    pub(super) sessions: SortedSet<VisitorId>,
    pub(super) spent: SortedSet<TicketId>,
    pub(super) revoked: SortedSet<TicketId>,
    /// Lapsed turns by ticket, forgotten at the score.
    pub(super) missed: SortedSet<TicketId>,
    pub(super) missed_count: HashMap<TicketId, u8>,
    pub(super) records: HashMap<VisitorId, Record>,
    pub(super) nodes: BTreeMap<NodeId, Micros>,
    pub(super) totals: Counts,
}

/// What is kept beside a visitor's score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// The edge that last saw the visitor.
    pub node: NodeId,
    pub ticket: TicketId,
    /// Of a session.
    pub cap: Micros,
}

impl Queue {
    /// An empty room. A caller who remembers another life of it shows that the store lost its data: the clock and
    /// the front go on from there, the budgets start empty, and the room settles first.
    pub fn open(rules: &Rules, now: Now, caller: &Caller) -> Self {
        let file = FileValues {
            new_users_per_minute: rules.new_users_per_minute,
            total_active_users: rules.total_active_users,
        };
        let control = Control {
            version: 1,
            new_users_per_minute: file.new_users_per_minute,
            total_active_users: file.total_active_users,
            paused: None,
            message: None,
            mode: Mode::Open,
            file,
        };
        let clock = caller.witness.map_or(now.time, |known| known.clock.max(now.time));
        let rate = control.new_users_per_minute;
        let budget = match caller.witness {
            Some(_) => Budget::empty(clock, rate, rules.burst_at(rate)),
            None => Budget::default(),
        };
        Self {
            head: Head {
                incarnation: caller.fresh,
                seq: caller.witness.map_or(0, |known| known.seq),
                clock,
                front: caller.witness.map_or(0, |known| known.front),
            },
            seen: now.time,
            ticked: clock,
            measured: Micros::ZERO,
            settling_until: caller.witness.map_or(Micros::ZERO, |_| clock + SETTLE),
            turn_shift: 0,
            control,
            entry: budget,
            offer: budget,
            line: SortedSet::default(),
            returns: SortedSet::default(),
            turns: SortedSet::default(),
            sessions: SortedSet::default(),
            spent: SortedSet::default(),
            revoked: SortedSet::default(),
            missed: SortedSet::default(),
            missed_count: HashMap::new(),
            records: HashMap::new(),
            nodes: BTreeMap::new(),
            totals: Counts::default(),
        }
    }

    pub fn head(&self) -> Head {
        self.head
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    pub fn counts(&self) -> Counts {
        Counts {
            waiting: self.line.len(),
            returning: self.returns.len(),
            turns: self.turns.len(),
            active: self.sessions.len(),
            ..self.totals
        }
    }

    /// The room at one glance. Also tells that the node is alive.
    pub fn survey(&mut self, now: Now, caller: &Caller) -> Survey {
        self.hear(now, caller);
        Survey {
            head: self.head,
            counts: self.counts(),
            control: self.control.clone(),
            revoked: if caller.witness.is_none() { self.all_revoked() } else { Vec::new() },
            settling_until: self.settling(),
        }
    }

    fn all_revoked(&self) -> Vec<(TicketId, Micros)> {
        self.revoked.iter().map(|(until, ticket)| (ticket, Micros(until))).collect()
    }

    /// Changes the room as the operator asks; an event tells every edge. No event when nothing changes.
    pub fn tune(
        &mut self,
        now: Now,
        caller: &Caller,
        change: &Change,
    ) -> Result<Option<Event>, VersionConflict> {
        self.hear(now, caller);
        if change.if_version.is_some_and(|version| version != self.control.version) {
            return Err(VersionConflict { current: self.control.version });
        }
        let mut next = self.control.apply(change, self.head.clock);
        if next == self.control {
            return Ok(None);
        }
        next.version += 1;
        let (old, new) = (self.control.new_users_per_minute, next.new_users_per_minute);
        if old != new {
            self.entry.retune(self.head.clock, old, new);
            self.offer.retune(self.head.clock, old, new);
        }
        self.control = next;
        Ok(Some(self.event()))
    }

    /// Brings the clock forward and notes that the node lives.
    pub(super) fn hear(&mut self, now: Now, caller: &Caller) {
        let moved = now.time.since(self.seen).min(now.at_most);
        self.head.clock = self.head.clock + moved;
        // A clock that stepped back is followed from where it is now.
        self.seen = now.time;
        self.nodes.insert(caller.node, self.head.clock);
    }

    pub(super) fn clock(&self) -> Micros {
        self.head.clock
    }

    /// Whether the room gives turns and lets people in.
    pub(super) fn gives(&self, caller: &Caller) -> bool {
        !caller.hold
            && self.control.paused.is_none()
            && self.control.mode == Mode::Open
            && self.settling().is_none()
    }

    pub(super) fn settling(&self) -> Option<Micros> {
        (self.settling_until > self.clock()).then_some(self.settling_until)
    }

    pub(super) fn free_slots(&self) -> u64 {
        u64::from(self.control.total_active_users).saturating_sub(self.turns.len() + self.sessions.len())
    }

    pub(super) fn rate(&self) -> u32 {
        self.control.new_users_per_minute
    }

    pub(super) fn spend(&mut self, ticket: TicketId) {
        let until = self.clock() + TICKET_LIFE;
        self.spent.insert(ticket, until.0);
    }

    /// The next event, numbered.
    pub(super) fn event(&mut self) -> Event {
        self.head.seq += 1;
        Event {
            head: self.head,
            counts: self.counts(),
            control: self.control.clone(),
            turns: Vec::new(),
            lapsed: Vec::new(),
            revoked: Vec::new(),
            absent: Vec::new(),
            ruler: None,
            settling_until: self.settling(),
        }
    }
}

impl Control {
    /// These settings with a change applied at `now`. The version stays.
    #[must_use]
    pub fn apply(&self, change: &Change, now: Micros) -> Self {
        let mut next = self.clone();
        if let Some(file) = change.file {
            if file.new_users_per_minute != self.file.new_users_per_minute {
                next.new_users_per_minute = file.new_users_per_minute;
            }
            if file.total_active_users != self.file.total_active_users {
                next.total_active_users = file.total_active_users;
            }
            next.file = file;
        }
        // Budgets divide by the rate; who wants nobody admitted pauses the room.
        next.new_users_per_minute = change.new_users_per_minute.unwrap_or(next.new_users_per_minute).max(1);
        next.total_active_users = change.total_active_users.unwrap_or(next.total_active_users);
        next.mode = change.mode.unwrap_or(next.mode);
        if let Some(message) = &change.message {
            next.message.clone_from(message);
        }
        if let Some(paused) = &change.paused {
            // A pause that goes on keeps its beginning.
            let since = self.paused.as_ref().map_or(now, |pause| pause.since);
            next.paused = paused.as_ref().map(|request| Pause { since, reason: request.reason.clone() });
        }
        next
    }
}

/// The next whole second: passes carry seconds.
pub(super) fn to_whole_second(instant: Micros) -> Micros {
    Micros(instant.0.div_ceil(1_000_000) * 1_000_000)
}

pub(super) fn micros(span: Duration) -> u64 {
    as_micros(span)
}
