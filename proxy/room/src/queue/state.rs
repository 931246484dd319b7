use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::budget::Budget;
use crate::ids::{NodeId, TicketId, VisitorId};
use crate::rules::{Rules, TICKET_LIFE};
use crate::sorted::SortedSet;
use crate::time::{Micros, as_micros};

use super::life::Life;
use super::{
    Caller, Change, Control, Counts, Event, FileValues, Head, MAX_NODES, Mode, Now, OUTAGE, Pause,
    REPORT_WITHIN, SETTLE_BLANK, SILENT_NODE, Survey, VersionConflict,
};

/// One room's queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub(super) head: Head,
    /// What this life of the store goes on from.
    pub(super) life: Life,
    /// The wall clock at the last call: the logical clock moves by the differences.
    pub(super) seen: Micros,
    /// When the last tick was, by the logical clock.
    pub(super) ticked: Micros,
    pub(super) measured: Micros,
    /// Sessions that ended after `.0` keep their slots until `.1`: edges may have extended them while the store was
    /// away. Until then not every edge has spoken.
    pub(super) ends_held: (Micros, Micros),
    /// Deadlines in `turns` are relative to this: adding to it extends all of them.
    pub(super) turn_shift: u64,
    pub(super) control: Control,
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
    /// An empty room, to be used through its operations: the first one hears the caller's witness.
    pub fn open(rules: &Rules, now: Now, caller: &Caller) -> Self {
        let clock = first_clock(now, caller);
        let settles = if caller.alone { Duration::ZERO } else { SETTLE_BLANK };
        Self {
            head: Head {
                incarnation: caller.fresh,
                seq: 0,
                step: 0,
                clock,
                front: 0,
                taken: 0,
                entry: Budget::default(),
                offer: Budget::default(),
            },
            life: Life::blank(clock + settles),
            seen: now.time,
            ticked: clock,
            measured: Micros::ZERO,
            ends_held: (Micros::ZERO, Micros::ZERO),
            turn_shift: 0,
            control: Control::of(rules),
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
        Head { taken: self.taken(), ..self.head }
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

    /// The room at one glance; the `whole` of it for who knows nothing yet. Also tells that the node is alive.
    pub fn survey(&mut self, rules: &Rules, now: Now, caller: &Caller, whole: bool) -> Survey {
        self.hear(rules, now, caller);
        Survey {
            head: self.head(),
            counts: self.counts(),
            control: self.control.clone(),
            revoked: if whole { self.all_revoked() } else { Vec::new() },
            settling_until: self.settling(),
            nodes: self.nodes_alive(),
        }
    }

    fn all_revoked(&self) -> Vec<(TicketId, Micros)> {
        self.revoked.iter().map(|(until, ticket)| (ticket, Micros(until))).collect()
    }

    /// Changes the room as the operator asks; an event tells every edge. No event when nothing changes.
    pub fn tune(
        &mut self,
        rules: &Rules,
        now: Now,
        caller: &Caller,
        change: &Change,
    ) -> Result<Option<Event>, VersionConflict> {
        self.hear(rules, now, caller);
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
            self.head.entry.retune(self.head.clock, old, new);
            self.head.offer.retune(self.head.clock, old, new);
        }
        self.control = next;
        Ok(Some(self.event()))
    }

    /// Brings the clock forward, notes that the node lives, and finds out whether the store forgot what it told it.
    pub(super) fn hear(&mut self, rules: &Rules, now: Now, caller: &Caller) {
        let moved = now.time.since(self.seen).min(now.at_most);
        let before = self.head.clock;
        self.head.clock = before + moved;
        // A clock that stepped back is followed from where it is now.
        self.seen = now.time;
        if moved > OUTAGE {
            // A second outage before the reports of the first are in keeps what the first kept.
            let from = if before < self.ends_held.1 { self.ends_held.0 } else { before };
            self.ends_held = (from, self.head.clock + REPORT_WITHIN);
            self.life.outlast(before, moved);
            if !caller.alone && !self.is_known_to(caller) {
                self.life.doubt(self.head.clock + SETTLE_BLANK);
            }
        }
        if let Some(witness) = &caller.witness {
            self.compare(rules, caller, witness);
        }
        self.head.step += 1;
        let clock = self.head.clock;
        self.nodes.insert(caller.node, clock);
    }

    /// Whether the caller was told anything by this life. Whoever was not cannot say whether this is an older copy.
    fn is_known_to(&self, caller: &Caller) -> bool {
        caller.witness.as_ref().is_some_and(|witness| witness.head.incarnation == self.head.incarnation)
    }

    /// The edges that were heard lately, or are still waited for, by name: those that another life would wait for.
    pub(super) fn nodes_alive(&self) -> Vec<NodeId> {
        let alive = self.clock() - SILENT_NODE;
        let heard = self.nodes.iter().filter(|(_, heard)| **heard >= alive).map(|(&node, _)| node);
        let nodes: BTreeSet<NodeId> = heard.chain(self.awaited()).collect();
        nodes.into_iter().take(MAX_NODES).collect()
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

    pub(super) fn free_slots(&self) -> u64 {
        u64::from(self.control.total_active_users).saturating_sub(self.taken())
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
            head: self.head(),
            counts: self.counts(),
            control: self.control.clone(),
            turns: Vec::new(),
            lapsed: Vec::new(),
            revoked: Vec::new(),
            absent: Vec::new(),
            ruler: None,
            settling_until: self.settling(),
            nodes: Vec::new(),
        }
    }
}

impl Control {
    /// What the file says, before any operator.
    fn of(rules: &Rules) -> Self {
        let file = FileValues {
            new_users_per_minute: rules.new_users_per_minute,
            total_active_users: rules.total_active_users,
        };
        Self {
            version: 1,
            new_users_per_minute: file.new_users_per_minute,
            total_active_users: file.total_active_users,
            paused: None,
            message: None,
            mode: Mode::Open,
            file,
        }
    }

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

/// A room that begins anew goes on from the clock that its caller was told, and no further than the caller lived: the
/// server may be another, with another wall clock.
fn first_clock(now: Now, caller: &Caller) -> Micros {
    caller.witness.as_ref().map_or(now.time, |witness| {
        let told = witness.head.clock;
        now.time.clamp(told, told + now.at_most)
    })
}

/// The next whole second: passes carry seconds.
pub(super) fn to_whole_second(instant: Micros) -> Micros {
    Micros(instant.0.div_ceil(1_000_000) * 1_000_000)
}

pub(super) fn micros(span: Duration) -> u64 {
    as_micros(span)
}
