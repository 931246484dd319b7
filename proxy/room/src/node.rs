//! What one edge knows of one room: how far it has heard, and what it remembers for a store that may forget.

mod ledger;

use std::sync::Arc;

use crate::ids::{Incarnation, TicketId, VisitorId};
use crate::queue::{Event, Head, Restore, Session, Survey, Witness};
use crate::time::Micros;

use self::ledger::Ledger;
pub use self::ledger::{MAX_RECENT, MAX_REVOKED, MAX_SESSIONS, MAX_SPENT};

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
    pub fn entered(&mut self, visitor: VisitorId, ticket: TicketId, session: Session) {
        self.ledger.spend(ticket, visitor);
        if self.ledger.keep(visitor, ticket, session) {
            let heard = self.told.map_or(Micros::ZERO, |told| told.clock);
            self.ledger.note_recent(visitor, heard);
        }
    }

    /// A session that this edge extended by itself while the store was away: to be reported when it answers again.
    pub fn lent(&mut self, visitor: VisitorId, ticket: TicketId, session: Session) {
        self.entered(visitor, ticket, session);
        self.ledger.lend(visitor);
    }

    /// A ticket that bought its session, lapsed too often, or was given back with its place.
    pub fn spent(&mut self, visitor: VisitorId, ticket: TicketId) {
        self.ledger.spend(ticket, visitor);
        self.ledger.end(visitor, ticket);
    }

    /// A session that was ended before its time: its pass is good for nothing.
    pub fn revoke(&mut self, ticket: TicketId, until: Micros, now: Micros) {
        self.ledger.revoke(ticket, until, now);
    }

    pub fn is_revoked(&self, ticket: TicketId) -> bool {
        self.ledger.is_revoked(ticket)
    }

    /// Everything that a store in a new life has to be told, but for waiters and turns.
    pub fn report(&self, now: Micros) -> Vec<Restore> {
        self.ledger.report(now)
    }

    /// What a store that was away has to be told although it does not look as if it had forgotten anything: the
    /// sessions that were extended by this edge alone, and the newest. Asked once.
    pub fn take_lent(&mut self, now: Micros) -> Vec<Restore> {
        self.ledger.take_lent(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ids::NodeId;
    use crate::queue::{Caller, Now, Queue};
    use crate::rules::Rules;

    const START: Micros = Micros(1_767_225_600_000_000);
    /// A hundred thousand steps that each looked at all others would take minutes.
    const COSTS_LITTLE: Duration = Duration::from_secs(10);

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
        node.entered(visitor, ticket, session);
        let spent = Restore::Spent { visitor, ticket };
        assert_eq!(node.report(Micros::ZERO), [spent, Restore::Session { visitor, ticket, session }]);
        assert_eq!(node.report(START), [spent]);
        node.spent(visitor, ticket);
        assert_eq!(node.report(Micros::ZERO), [spent]);
    }

    /// Distinct for distinct numbers.
    fn id(number: u64) -> [u8; 12] {
        std::array::from_fn(|place| number.to_be_bytes().get(place).copied().unwrap_or_default())
    }

    fn session(ends: Micros) -> Session {
        Session { ends, cap: START + Duration::from_secs(86_400) }
    }

    #[test]
    fn a_pass_from_before_an_extension_does_not_shorten_what_is_reported() {
        let mut node = Node::default();
        let (visitor, ticket) = (VisitorId::from_random(id(1)), TicketId::from_random(id(1)));
        let (short, long) = (session(START), session(START + Duration::from_secs(60)));
        node.lent(visitor, ticket, long);
        node.entered(visitor, ticket, short);
        let told = [Restore::Session { visitor, ticket, session: long }];
        assert_eq!(node.take_lent(START), told);
        assert!(node.report(START).ends_with(&told));
        let next = TicketId::from_random(id(2));
        node.entered(visitor, next, short);
        let told = [Restore::Session { visitor, ticket: next, session: short }];
        assert!(node.report(Micros::ZERO).ends_with(&told), "another session is another session");
    }

    #[test]
    fn the_newest_sessions_are_told_once_after_an_outage_for_a_copy_may_lack_them_unnoticed() {
        let (mut node, mut queue) = (Node::default(), queue(1));
        let ends = |secs| session(START + Duration::from_secs(secs));
        let who = |number| (VisitorId::from_random(id(number)), TicketId::from_random(id(number)));
        let mut hear = |node: &mut Node, secs| {
            let now = Now::at(START + Duration::from_secs(secs));
            node.heard(&queue.admit(&Rules::default(), now, &caller(1, None)));
        };
        let told = |number, secs| {
            let (visitor, ticket) = who(number);
            Restore::Session { visitor, ticket, session: ends(secs) }
        };
        for (number, secs) in [(1, 0), (2, 1), (3, 11)] {
            hear(&mut node, secs);
            node.entered(who(number).0, who(number).1, ends(60));
        }
        // Shown again it is no news; extended it is.
        node.entered(who(1).0, who(1).1, ends(60));
        let lent = node.take_lent(START);
        assert!(!lent.contains(&told(1, 60)) && lent.contains(&told(2, 60)) && lent.contains(&told(3, 60)));
        assert_eq!(node.take_lent(START), []);
        node.entered(who(1).0, who(1).1, ends(90));
        assert_eq!(node.take_lent(START), [told(1, 90)]);
    }

    #[test]
    fn of_too_many_new_sessions_the_newest_are_told() {
        let mut node = Node::default();
        let last = MAX_RECENT as u64 + 10;
        for number in 0..last {
            let (visitor, ticket) = (VisitorId::from_random(id(number)), TicketId::from_random(id(number)));
            node.entered(visitor, ticket, session(START + Duration::from_micros(number)));
        }
        let told = node.take_lent(Micros::ZERO);
        assert_eq!(told.len(), MAX_RECENT);
        let ends = |item: &Restore| matches!(item, Restore::Session { session, .. } if session.ends >= START + Duration::from_micros(10));
        assert!(told.iter().all(ends));
    }

    #[test]
    fn of_too_many_sessions_those_that_end_first_are_forgotten_and_each_costs_little() {
        let (mut node, began) = (Node::default(), Instant::now());
        let last = 2 * MAX_SESSIONS as u64;
        for number in 0..last {
            let (visitor, ticket) = (VisitorId::from_random(id(number)), TicketId::from_random(id(number)));
            node.lent(visitor, ticket, session(START + Duration::from_micros(number)));
        }
        assert!(began.elapsed() < COSTS_LITTLE, "{:?}", began.elapsed());
        let told = node.take_lent(Micros::ZERO);
        assert_eq!(told.len(), MAX_SESSIONS);
        let first = START.0 + last - MAX_SESSIONS as u64;
        assert!(
            told.iter()
                .all(|item| matches!(item, Restore::Session { session, .. } if session.ends.0 >= first))
        );
    }

    #[test]
    fn revocations_are_forgotten_when_their_passes_are_over_and_each_costs_little() {
        let (mut node, began) = (Node::default(), Instant::now());
        let revoke = |node: &mut Node, number: u64, until: Micros, now: Micros| {
            node.revoke(TicketId::from_random(id(number)), until, now);
        };
        let many = MAX_REVOKED as u64 + 10;
        for number in 0..many {
            revoke(&mut node, number, START + Duration::from_micros(number), Micros::ZERO);
        }
        assert!(began.elapsed() < COSTS_LITTLE, "{:?}", began.elapsed());
        assert!(
            !node.is_revoked(TicketId::from_random(id(9))) && node.is_revoked(TicketId::from_random(id(10)))
        );
        let (over, later) = (START + Duration::from_secs(1), START + Duration::from_secs(9));
        for number in many..many + many / 2 {
            revoke(&mut node, number, later, over);
        }
        let told = node.report(over);
        assert_eq!(told.len() as u64, many / 2, "only what is still good for something");
        revoke(&mut node, 0, over, over);
        assert!(!node.is_revoked(TicketId::from_random(id(0))), "its pass is over already");
    }
}
