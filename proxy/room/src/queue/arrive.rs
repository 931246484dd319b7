use crate::rules::Rules;
use crate::time::Micros;

use super::state::{Record, to_whole_second};
use super::{Arrival, Arrived, Caller, MUTE_NODE, Now, Place, Queue, Session, Turn};

impl Queue {
    /// Presents tickets: join, refresh, another tab, another edge, return and recovery are this one call. Whoever
    /// has a session or a turn is told so; whoever has a place keeps it at its own score, whatever the ticket says.
    pub fn arrive(&mut self, rules: &Rules, now: Now, caller: &Caller, arrivals: &[Arrival]) -> Vec<Arrived> {
        self.hear(rules, now, caller);
        // No tick comes while nobody waits.
        self.end_sessions();
        self.forget();
        arrivals.iter().map(|arrival| self.arrive_one(rules, caller, arrival)).collect()
    }

    fn arrive_one(&mut self, rules: &Rules, caller: &Caller, arrival: &Arrival) -> Arrived {
        let Arrival { visitor, ticket, .. } = *arrival;
        if let Some(standing) = self.standing(arrival) {
            return self.look_after(rules, caller, arrival, standing);
        }
        if self.spent.contains(&ticket) {
            return Arrived::Spent;
        }
        if self.is_void(rules, arrival) {
            return Arrived::Void;
        }
        if arrival.may_enter && self.can_let_in(rules, caller) {
            return Arrived::LetIn(self.let_in(rules, caller, arrival));
        }
        if !arrival.may_wait {
            return Arrived::Busy;
        }
        if self.line.len() + self.returns.len() >= u64::from(rules.max_waiting) {
            return Arrived::Full;
        }
        self.records.insert(visitor, Record { node: caller.node, ticket, cap: Micros::ZERO });
        let returning = arrival.score <= self.head.front;
        let set = if returning { &mut self.returns } else { &mut self.line };
        set.insert(visitor, arrival.score);
        Arrived::Waiting(Place { score: arrival.score, returning, new: true })
    }

    /// What the visitor already is, if anything.
    fn standing(&self, arrival: &Arrival) -> Option<Arrived> {
        let visitor = &arrival.visitor;
        if let Some(session) = self.session_of(visitor) {
            return Some(Arrived::Session(session));
        }
        if let Some(deadline) = self.turn_of(visitor) {
            return Some(Arrived::Turn(Turn { deadline }));
        }
        let place = |returning| move |score| Arrived::Waiting(Place { score, returning, new: false });
        self.line.score(visitor).map(place(false)).or_else(|| self.returns.score(visitor).map(place(true)))
    }

    /// The caller looks after the visitor from now on; one that only remembers them does so where no other edge is
    /// left to. At an edge that fell silent the visitor could neither hear of a turn nor claim it: at the next one
    /// there is a whole `claim_window` for it.
    fn look_after(
        &mut self,
        rules: &Rules,
        caller: &Caller,
        arrival: &Arrival,
        standing: Arrived,
    ) -> Arrived {
        let (clock, ticked) = (self.clock(), self.ticked);
        let Some(record) = self.records.get_mut(&arrival.visitor).filter(|record| record.node != caller.node)
        else {
            return standing;
        };
        let heard = self.nodes.get(&record.node);
        let is_mute = heard.is_none_or(|heard| ticked.since(*heard) > MUTE_NODE);
        if !is_mute && !arrival.here {
            return standing;
        }
        record.node = caller.node;
        match standing {
            Arrived::Turn(turn) if is_mute => {
                let deadline = turn.deadline.max(clock + rules.claim_window);
                self.turns.insert(arrival.visitor, deadline.0 - self.turn_shift);
                Arrived::Turn(Turn { deadline })
            }
            standing => standing,
        }
    }

    /// A place that the front passed, and a ticket that was confirmed, both longer ago than a return may take.
    fn is_void(&self, rules: &Rules, arrival: &Arrival) -> bool {
        let passed = Micros(self.head.front) > Micros(arrival.score) + rules.return_window;
        passed && self.clock() > arrival.confirmed_at + rules.return_window
    }

    fn can_let_in(&self, rules: &Rules, caller: &Caller) -> bool {
        let (clock, rate) = (self.clock(), self.rate());
        let burst = rules.burst_at(rate);
        self.gives(caller)
            && self.line.is_empty()
            && self.returns.is_empty()
            && self.free_slots() > 0
            && self.head.entry.tokens(clock, rate, burst) > 0
            && self.head.offer.tokens(clock, rate, burst) > 0
    }

    /// A session at once. Until its pass comes back it lasts only `confirm_window`: a client that drops cookies
    /// must not hold a slot.
    fn let_in(&mut self, rules: &Rules, caller: &Caller, arrival: &Arrival) -> Session {
        let (clock, rate) = (self.clock(), self.rate());
        self.head.entry.take(1, clock, rate);
        self.head.offer.take(1, clock, rate);
        self.totals.admitted += 1;
        self.totals.entered += 1;
        self.spend(arrival.ticket);
        let ends = to_whole_second(clock + rules.confirm_window.min(rules.session_duration));
        let cap = self.cap_from(rules);
        self.sessions.insert(arrival.visitor, ends.0);
        let record = Record { node: caller.node, ticket: arrival.ticket, cap };
        self.records.insert(arrival.visitor, record);
        Session { ends, cap }
    }
}
