use crate::ids::{NodeId, VisitorId};
use crate::ruler::{Ruler, ranks};
use crate::rules::{Rules, TICKET_LIFE};
use crate::sorted::SortedSet;
use crate::time::Micros;

use super::state::micros;
use super::{
    Caller, Event, MAX_ENDED_A_TICK, MAX_SET_ASIDE, MAX_TURNS_A_TICK, Now, Queue, RETURNS_SHARE, RULER_EVERY,
    SILENT_NODE, SLOT_GRACE, TICK_GAP,
};

impl Queue {
    /// The tick: ends what is over, gives the turns that budget and slots allow, measures the line once a second.
    pub fn admit(&mut self, rules: &Rules, now: Now, caller: &Caller) -> Event {
        self.hear(rules, now, caller);
        self.bridge_gap();
        self.end_sessions();
        let lapsed = self.lapse_turns(rules);
        self.forget();
        let (turns, absent) = if self.gives(caller) { self.give_turns(rules) } else { Default::default() };
        let (measured, alive) = self.measure();
        Event { turns, lapsed, absent, ruler: measured, nodes: alive, ..self.event() }
    }

    /// Nobody could claim while no tick came, and nobody can while the store settles: open turns are extended by as
    /// much. And no edge was silent for as long as none could speak.
    fn bridge_gap(&mut self) {
        let clock = self.clock();
        let gap = clock.since(self.ticked);
        self.ticked = clock;
        let outage = gap > TICK_GAP;
        if outage {
            for heard in self.nodes.values_mut() {
                *heard = clock.min(*heard + gap);
            }
        }
        if (outage || self.settling().is_some()) && !self.turns.is_empty() {
            self.turn_shift += micros(gap);
        }
    }

    pub(super) fn end_sessions(&mut self) {
        let (from, until) = self.ends_held;
        let over = if self.clock() < until { from } else { self.clock() } - SLOT_GRACE;
        for visitor in self.sessions.drain_to(over.0, MAX_ENDED_A_TICK) {
            self.totals.ended += 1;
            // Whoever stands in the line again keeps the record of the new place.
            if !self.waits(&visitor) {
                self.records.remove(&visitor);
            }
        }
    }

    fn lapse_turns(&mut self, rules: &Rules) -> Vec<VisitorId> {
        let over = self.clock().0.saturating_sub(self.turn_shift);
        let lapsed = self.turns.drain_to(over, MAX_ENDED_A_TICK);
        self.head.offer.give_back(lapsed.len() as u64, self.rate());
        self.totals.lapsed += lapsed.len() as u64;
        for visitor in &lapsed {
            let Some(record) = self.records.remove(visitor) else {
                continue;
            };
            let missed = self.missed_count.get(&record.ticket).copied().unwrap_or(0) + 1;
            if missed > rules.missed_turns {
                self.missed.remove(&record.ticket);
                self.missed_count.remove(&record.ticket);
                self.spend(record.ticket);
            } else {
                let until = self.clock() + TICKET_LIFE;
                self.missed.insert(record.ticket, until.0);
                self.missed_count.insert(record.ticket, missed);
            }
        }
        lapsed
    }

    /// Drops what nobody can present any more.
    pub(super) fn forget(&mut self) {
        let clock = self.clock();
        self.spent.drain_to(clock.0, MAX_ENDED_A_TICK);
        self.revoked.drain_to(clock.0, MAX_ENDED_A_TICK);
        for ticket in self.missed.drain_to(clock.0, MAX_ENDED_A_TICK) {
            self.missed_count.remove(&ticket);
        }
    }

    /// The turns given, and the places that were passed over: an edge that still sees such a visitor says so.
    fn give_turns(&mut self, rules: &Rules) -> (Vec<(VisitorId, Micros)>, Vec<VisitorId>) {
        let (clock, rate) = (self.clock(), self.rate());
        let count = self
            .head
            .offer
            .tokens(clock, rate, rules.burst_at(rate))
            .min(self.free_slots())
            .min(rules.max_turns_at(rate).saturating_sub(self.turns.len()))
            .min(MAX_TURNS_A_TICK);
        let (count, passed_over) = self.pass_over_silent(count);
        let deadline = clock + rules.claim_window;
        let mut given = Vec::new();
        while (given.len() as u64) < count
            && let Some(visitor) = self.take_next()
        {
            self.totals.admitted += 1;
            self.turns.insert(visitor, deadline.0 - self.turn_shift);
            given.push((visitor, deadline));
        }
        self.head.offer.take(given.len() as u64, clock, rate);
        (given, passed_over)
    }

    /// Sets aside places at the front whose edge is silent: their visitors hold their tickets and come back. Says
    /// how many turns may be given: when more are silent than one tick may set aside, only as many as are present
    /// in front of the rest. And names who was passed over.
    fn pass_over_silent(&mut self, wanted: u64) -> (u64, Vec<VisitorId>) {
        let alive = self.clock() - SILENT_NODE;
        self.nodes.retain(|_, heard| *heard >= alive);
        let (present, mut silent) = self.look_along(&self.line, wanted);
        let count = if silent.len() == MAX_SET_ASIDE { present } else { wanted };
        silent.extend(self.look_along(&self.returns, count).1);
        self.totals.set_aside += silent.len() as u64;
        for visitor in &silent {
            let _ = self.line.remove(visitor) || self.returns.remove(visitor);
            self.records.remove(visitor);
        }
        (count, silent)
    }

    /// How many of the first are present, up to `wanted`, and who between them is not.
    fn look_along(&self, places: &SortedSet<VisitorId>, wanted: u64) -> (u64, Vec<VisitorId>) {
        let (mut present, mut silent) = (0, Vec::new());
        for (_, visitor) in places.iter() {
            if present == wanted || silent.len() == MAX_SET_ASIDE {
                break;
            }
            match self.records.get(&visitor) {
                Some(record) if self.nodes.contains_key(&record.node) => present += 1,
                _ => silent.push(visitor),
            }
        }
        (present, silent)
    }

    /// The next to get a turn: the first of the line, but each fourth time the first of the returns.
    fn take_next(&mut self) -> Option<VisitorId> {
        let from_returns = self.line.is_empty() || self.totals.admitted % RETURNS_SHARE == RETURNS_SHARE - 1;
        if from_returns && let Some((_, visitor)) = self.returns.first() {
            self.returns.remove(&visitor);
            return Some(visitor);
        }
        let (score, visitor) = self.line.first()?;
        self.line.remove(&visitor);
        self.head.front = self.head.front.max(score);
        Some(visitor)
    }

    /// Once a second: the line, and the edges that are alive.
    fn measure(&mut self) -> (Option<Ruler>, Vec<NodeId>) {
        if self.clock().since(self.measured) < RULER_EVERY {
            return (None, Vec::new());
        }
        self.measured = self.clock();
        let waiting = self.line.len();
        let ruler = (waiting > 0).then(|| Ruler::of(waiting, self.line.scores_at(ranks(waiting))));
        (ruler, self.nodes_alive())
    }

    fn waits(&self, visitor: &VisitorId) -> bool {
        self.line.contains(visitor) || self.returns.contains(visitor) || self.turns.contains(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::ids::{Incarnation, NodeId, TicketId, VisitorId};
    use crate::queue::{Arrival, Arrived, Caller, Event, Now, Queue};
    use crate::rules::{Draft, Rules};
    use crate::time::Micros;

    const START: Micros = Micros(1_767_225_600_000_000);

    fn caller() -> Caller {
        Caller {
            node: NodeId::from_random([1; 12]),
            fresh: Incarnation::from_random([2; 12]),
            witness: None,
            hold: false,
            alone: true,
        }
    }

    fn arrival(visitor: u8) -> Arrival {
        Arrival {
            visitor: VisitorId::from_random([visitor; 12]),
            ticket: TicketId::from_random([visitor; 12]),
            score: START.0 + u64::from(visitor),
            confirmed_at: START,
            may_enter: false,
            may_wait: true,
            here: true,
        }
    }

    #[test]
    fn who_comes_back_between_the_deadline_and_the_tick_still_has_the_turn() {
        let rules = Rules::new(Draft { claim_window: Duration::from_secs(1), ..Draft::default() }).unwrap();
        let mut queue = Queue::open(&rules, Now::at(START), &caller());
        queue.arrive(&rules, Now::at(START), &caller(), &[arrival(1)]);
        assert_eq!(queue.admit(&rules, Now::at(START), &caller()).turns.len(), 1);
        // Else the turn would last as much longer as no tick came.
        queue.admit(&rules, Now::at(START + Duration::from_millis(500)), &caller());
        let late = Now::at(START + Duration::from_millis(1001));
        let back = queue.arrive(&rules, late, &caller(), &[arrival(1)]);
        assert!(matches!(back[..], [Arrived::Turn(_)]));
        let event = queue.admit(&rules, late, &caller());
        assert_eq!((event.lapsed.len(), event.turns.len()), (1, 0));
        let back = queue.arrive(&rules, late, &caller(), &[arrival(1)]);
        assert!(matches!(back[..], [Arrived::Waiting(place)] if place.new && place.returning));
    }

    #[test]
    fn an_event_reads_back_from_its_json() {
        let rules = Rules::default();
        let mut queue = Queue::open(&rules, Now::at(START), &caller());
        queue.arrive(&rules, Now::at(START), &caller(), &[arrival(1), arrival(2)]);
        let event = queue.admit(&rules, Now::at(START), &caller());
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
