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
    /// every edge stops honouring their passes, and those who are taken for absent, so that an edge that still sees
    /// them can say so.
    pub fn leave(&mut self, rules: &Rules, now: Now, caller: &Caller, leaves: &[Leave]) -> Option<Event> {
        self.hear(rules, now, caller);
        let (mut revoked, mut absent) = (Vec::new(), Vec::new());
        for leave in leaves {
            match *leave {
                Leave::Absent(visitor) if self.give_up(caller, visitor) => absent.push(visitor),
                Leave::Absent(_) => {}
                Leave::Ended(visitor, ticket) => revoked.extend(self.end(visitor, ticket)),
            }
        }
        let news = !revoked.is_empty() || !absent.is_empty();
        news.then(|| Event { revoked, absent, ..self.event() })
    }

    fn give_up(&mut self, caller: &Caller, visitor: VisitorId) -> bool {
        let is_mine = self.records.get(&visitor).is_some_and(|record| record.node == caller.node);
        let given_up = is_mine && (self.line.remove(&visitor) || self.returns.remove(&visitor));
        if given_up {
            self.totals.abandoned += 1;
            self.records.remove(&visitor);
        }
        given_up
    }

    fn end(&mut self, visitor: VisitorId, ticket: Option<TicketId>) -> Vec<(TicketId, Micros)> {
        let clock = self.clock();
        let kept = self.records.get(&visitor).map(|record| record.ticket);
        // Whoever came with another ticket while the session went on holds a pass that names that one.
        let shown = ticket.filter(|&ticket| kept != Some(ticket));
        let tickets: Vec<TicketId> = kept.into_iter().chain(shown).collect();
        for &ticket in &tickets {
            self.spend(ticket);
        }
        if self.withdraw(visitor) {
            self.totals.abandoned += 1;
            self.records.remove(&visitor);
        }
        let Some(session) = self.session_of(&visitor) else {
            return Vec::new();
        };
        // The slot is free once every edge has heard of it: the score is the end of the pass, freed a grace later.
        let freed = (clock + LEAVE_GRACE) - super::SLOT_GRACE;
        self.sessions.insert(visitor, freed.0);
        for &ticket in &tickets {
            self.revoked.insert(ticket, session.cap.0);
        }
        tickets.into_iter().map(|ticket| (ticket, session.cap)).collect()
    }

    /// Takes the visitor out of the line, the returns or the turns; a turn given back can be given again.
    pub(super) fn withdraw(&mut self, visitor: VisitorId) -> bool {
        let turn = self.turns.remove(&visitor);
        if turn {
            self.head.offer.give_back(1, self.rate());
        }
        turn || self.line.remove(&visitor) || self.returns.remove(&visitor)
    }
}
