use crate::ids::{TicketId, VisitorId};
use crate::rules::Rules;
use crate::time::Micros;

use super::{Caller, Event, LEAVE_GRACE, Now, Queue};

/// A visitor who goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// The visitor is away: the place is taken out of the line if this caller still looks after it. The ticket
    /// stays good.
    Absent(VisitorId),
    /// The visitor, the origin or the operator ends place, turn or session. The ticket is spent.
    Ended(VisitorId, Option<TicketId>),
}

impl Queue {
    /// Gives back places, turns and sessions. An event names the sessions that ended before their time, so that
    /// every edge stops honouring their passes.
    pub fn leave(&mut self, rules: &Rules, now: Now, caller: &Caller, leaves: &[Leave]) -> Option<Event> {
        self.hear(now, caller);
        let revoked: Vec<(TicketId, Micros)> = leaves
            .iter()
            .filter_map(|leave| match *leave {
                Leave::Absent(visitor) => {
                    self.absent(caller, visitor);
                    None
                }
                Leave::Ended(visitor, ticket) => self.end(rules, visitor, ticket),
            })
            .collect();
        (!revoked.is_empty()).then(|| Event {
            revoked,
            ..self.event()
        })
    }

    fn absent(&mut self, caller: &Caller, visitor: VisitorId) {
        let is_mine = self
            .records
            .get(&visitor)
            .is_some_and(|record| record.node == caller.node);
        if is_mine && (self.line.remove(&visitor) || self.returns.remove(&visitor)) {
            self.totals.abandoned += 1;
            self.records.remove(&visitor);
        }
    }

    fn end(
        &mut self,
        rules: &Rules,
        visitor: VisitorId,
        ticket: Option<TicketId>,
    ) -> Option<(TicketId, Micros)> {
        let clock = self.clock();
        let record = self.records.get(&visitor).copied();
        for ticket in ticket.into_iter().chain(record.map(|record| record.ticket)) {
            self.spend(ticket, rules);
        }
        if self.line.remove(&visitor) || self.returns.remove(&visitor) || self.turns.remove(&visitor) {
            self.totals.abandoned += 1;
            self.records.remove(&visitor);
        }
        let session = self.session_of(&visitor)?;
        // The slot is free once every edge has heard of it: the score is the end of the pass, freed a grace later.
        let freed = (clock + LEAVE_GRACE) - super::SLOT_GRACE;
        self.sessions.insert(visitor, freed.0);
        let bought_by = record?.ticket;
        self.revoked.insert(bought_by, session.cap.0);
        Some((bought_by, session.cap))
    }
}
