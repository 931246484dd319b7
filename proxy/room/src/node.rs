//! What one edge knows of one room: how far it has heard, and what it remembers for a store that may forget.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ids::{Incarnation, TicketId, VisitorId};
use crate::queue::{Event, Head, Restore, Session, Survey, Witness};
use crate::time::Micros;

/// Sessions that one edge remembers of one room.
pub const MAX_SESSIONS: usize = 100_000;
/// Spent tickets of one generation; two generations are remembered.
pub const MAX_SPENT: usize = 100_000;

/// One edge's knowledge of one room.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The newest event or survey that was taken in.
    told: Option<Head>,
    witness: Option<Arc<Witness>>,
    ledger: Ledger,
}

/// What an event or a survey changes for an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Known already.
    Old,
    Next,
    /// Events between these two numbers were missed.
    Gap {
        after: u64,
        before: u64,
    },
    /// Another life of the store: it may know none of our waiters, turns and sessions.
    Anew,
}

impl Node {
    /// What the next call carries.
    pub fn witness(&self) -> Option<Arc<Witness>> {
        self.witness.clone()
    }

    /// The life of the store that was heard last.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.told.map(|head| head.incarnation)
    }

    /// Takes in where the room stood when a call was answered.
    pub fn answered(&mut self, head: Head) {
        if let Some(witness) = &mut self.witness
            && head.step > witness.head.step
        {
            Arc::make_mut(witness).head = head;
        }
    }

    /// Takes in an event, and says what it is to this edge.
    pub fn heard(&mut self, event: &Event) -> Heard {
        let heard = self.compare(event.head, event.head.seq);
        if heard == Heard::Old {
            return heard;
        }
        self.told = Some(event.head);
        for &(ticket, until) in &event.revoked {
            self.revoke(ticket, until, event.head.clock);
        }
        self.learn(event.head, || Witness {
            head: event.head,
            nodes: event.nodes.clone(),
            control: event.control.clone(),
        });
        heard
    }

    /// Takes in a survey: a reading, no event. One with a new number shows that the event of that number was missed.
    pub fn surveyed(&mut self, survey: &Survey) -> Heard {
        let heard = self.compare(survey.head, survey.head.seq + 1);
        if self.told.is_some_and(|told| told.step > survey.head.step) {
            return Heard::Old;
        }
        self.told = Some(survey.head);
        for &(ticket, until) in &survey.revoked {
            self.revoke(ticket, until, survey.head.clock);
        }
        self.answered(survey.head);
        self.learn(survey.head, || Witness {
            head: survey.head,
            nodes: survey.nodes.clone(),
            control: survey.control.clone(),
        });
        heard
    }

    /// `number` is that of the next event to come after what was heard.
    fn compare(&self, head: Head, number: u64) -> Heard {
        let Some(told) = self.told else { return Heard::Next };
        if head.incarnation != told.incarnation {
            // A late word from a former life is told from a new one by its step.
            return if head.step < told.step { Heard::Old } else { Heard::Anew };
        }
        match number {
            number if number <= told.seq => Heard::Old,
            number if number == told.seq + 1 => Heard::Next,
            before => Heard::Gap { after: told.seq, before },
        }
    }

    /// The witness of a former life is kept until a call of ours was answered by the new one: only then does the
    /// store know what we know.
    fn learn(&mut self, head: Head, news: impl FnOnce() -> Witness) {
        let Some(known) = &mut self.witness else {
            self.witness = Some(Arc::new(news()));
            return;
        };
        if known.head.incarnation != head.incarnation {
            return;
        }
        let (known, news) = (Arc::make_mut(known), news());
        if head.step > known.head.step {
            known.head = head;
        }
        known.control = news.control;
        if !news.nodes.is_empty() {
            known.nodes = news.nodes;
        }
    }

    /// A session that this edge saw begin, go on, or come by with its pass.
    pub fn entered(&mut self, visitor: VisitorId, ticket: TicketId, session: Session, now: Micros) {
        self.ledger.spend(ticket, visitor);
        self.ledger.keep(visitor, ticket, session, now);
    }

    /// A session that this edge extended by itself while the store was away: to be reported when it answers again.
    pub fn lent(&mut self, visitor: VisitorId, ticket: TicketId, session: Session, now: Micros) {
        self.entered(visitor, ticket, session, now);
        self.ledger.lent.insert(visitor);
    }

    /// A ticket that bought its session, lapsed too often, or was given back with its place.
    pub fn spent(&mut self, visitor: VisitorId, ticket: TicketId) {
        self.ledger.spend(ticket, visitor);
        if self.ledger.sessions.get(&visitor).is_some_and(|(kept, _)| *kept == ticket) {
            self.ledger.sessions.remove(&visitor);
            self.ledger.lent.remove(&visitor);
        }
    }

    /// A session that was ended before its time: its pass is good for nothing.
    pub fn revoke(&mut self, ticket: TicketId, until: Micros, now: Micros) {
        self.ledger.revoked.retain(|_, until| *until > now);
        self.ledger.revoked.insert(ticket, until);
    }

    pub fn is_revoked(&self, ticket: TicketId) -> bool {
        self.ledger.revoked.contains_key(&ticket)
    }

    /// Everything that a store in a new life has to be told, but for waiters and turns.
    pub fn report(&self, now: Micros) -> Vec<Restore> {
        self.ledger.report(now)
    }

    /// The sessions that were extended by this edge alone; asked once.
    pub fn take_lent(&mut self, now: Micros) -> Vec<Restore> {
        let lent = std::mem::take(&mut self.ledger.lent);
        lent.iter().filter_map(|visitor| self.ledger.session(*visitor, now)).collect()
    }
}

/// What one edge remembers of sessions and tickets. Bounded: the oldest tickets are forgotten first.
#[derive(Debug, Clone, Default)]
struct Ledger {
    sessions: HashMap<VisitorId, (TicketId, Session)>,
    lent: HashSet<VisitorId>,
    spent: HashMap<TicketId, VisitorId>,
    spent_before: HashMap<TicketId, VisitorId>,
    revoked: HashMap<TicketId, Micros>,
}

impl Ledger {
    fn keep(&mut self, visitor: VisitorId, ticket: TicketId, session: Session, now: Micros) {
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&visitor) {
            self.sessions.retain(|_, (_, session)| session.ends > now);
            self.lent.retain(|visitor| self.sessions.contains_key(visitor));
        }
        if self.sessions.len() < MAX_SESSIONS || self.sessions.contains_key(&visitor) {
            self.sessions.insert(visitor, (ticket, session));
        }
    }

    fn spend(&mut self, ticket: TicketId, visitor: VisitorId) {
        if self.spent.len() >= MAX_SPENT {
            self.spent_before = std::mem::take(&mut self.spent);
        }
        self.spent.insert(ticket, visitor);
    }

    fn session(&self, visitor: VisitorId, now: Micros) -> Option<Restore> {
        let &(ticket, session) = self.sessions.get(&visitor)?;
        (session.ends > now).then_some(Restore::Session { visitor, ticket, session })
    }

    /// Ended sessions and spent tickets first: what follows can then not bring them back.
    fn report(&self, now: Micros) -> Vec<Restore> {
        let revoked = self.revoked.iter().filter(|(_, until)| **until > now);
        let revoked = revoked.map(|(&ticket, &until)| Restore::Revoked { ticket, until });
        let spent = self.spent.iter().chain(&self.spent_before);
        let spent = spent.map(|(&ticket, &visitor)| Restore::Spent { visitor, ticket });
        let sessions = self.sessions.keys().filter_map(|&visitor| self.session(visitor, now));
        revoked.chain(spent).chain(sessions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::queue::{Caller, Now, Queue};
    use crate::rules::Rules;

    const START: Micros = Micros(1_767_225_600_000_000);

    fn caller(fresh: u8, witness: Option<Arc<Witness>>) -> Caller {
        let (node, fresh) = (NodeId::from_random([1; 12]), Incarnation::from_random([fresh; 12]));
        Caller { node, fresh, witness, hold: false, alone: true }
    }

    fn ticks(queue: &mut Queue, count: usize) -> Vec<Event> {
        (0..count).map(|_| queue.admit(&Rules::default(), Now::at(START), &caller(1, None))).collect()
    }

    fn queue(life: u8) -> Queue {
        Queue::open(&Rules::default(), Now::at(START), &caller(life, None))
    }

    #[test]
    fn events_are_taken_in_once_and_a_missing_one_is_noticed() {
        let (mut node, mut queue) = (Node::default(), queue(1));
        let events = ticks(&mut queue, 4);
        assert_eq!(node.heard(&events[0]), Heard::Next);
        assert_eq!(node.heard(&events[0]), Heard::Old);
        assert_eq!(node.heard(&events[2]), Heard::Gap { after: 1, before: 3 });
        assert_eq!(node.heard(&events[3]), Heard::Next);
        let survey = queue.survey(&Rules::default(), Now::at(START), &caller(1, None), false);
        assert_eq!(node.surveyed(&survey), Heard::Next);
    }

    #[test]
    fn what_a_node_knew_of_a_former_life_is_kept_until_the_new_one_has_answered_it() {
        let (mut node, rules) = (Node::default(), Rules::default());
        let last = ticks(&mut queue(1), 3).pop().unwrap();
        node.heard(&last);
        // Another edge, which knew less, began the new life.
        let mut anew = queue(2);
        let first = ticks(&mut anew, 5).pop().unwrap();
        assert_eq!(node.heard(&first), Heard::Anew);
        assert_eq!(node.witness().unwrap().head.incarnation, last.head.incarnation);
        let survey = anew.survey(&rules, Now::at(START), &caller(3, node.witness()), false);
        node.surveyed(&survey);
        assert_eq!(node.witness().unwrap().head.incarnation, survey.head.incarnation);
    }

    #[test]
    fn an_ended_session_is_reported_as_a_spent_ticket_only() {
        let mut node = Node::default();
        let id = [7; 12];
        let (visitor, ticket) = (VisitorId::from_random(id), TicketId::from_random(id));
        let session = Session { ends: START, cap: START };
        node.entered(visitor, ticket, session, Micros::ZERO);
        let spent = Restore::Spent { visitor, ticket };
        assert_eq!(node.report(Micros::ZERO), [spent, Restore::Session { visitor, ticket, session }]);
        assert_eq!(node.report(START), [spent]);
        node.spent(visitor, ticket);
        assert_eq!(node.report(Micros::ZERO), [spent]);
    }
}
