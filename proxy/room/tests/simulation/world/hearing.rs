//! What an edge hears of the store, and what it makes of those who wait there (`proxy/src/{hall/hearing,hub}.rs`).

use std::rc::Rc;

use room::ids::VisitorId;
use room::node::Heard;
use room::queue::{Arrival, Arrived, Event};

use super::World;
use super::ticker::stands;
use crate::edge::{Job, Known, Owes, Stands};
use crate::journal::Note;
use crate::judge::Verdict;
use crate::person::Reply;
use crate::time::At;

impl World {
    /// An event of the store: heard in order, after what is being done.
    pub(super) fn hear(&mut self, edge: usize, event: Rc<Event>) -> Verdict {
        self.edges[edge].ticker.inbox.push_back(event);
        self.go_on(edge)
    }

    pub(super) fn take_in(&mut self, edge: usize, event: &Event) -> Verdict {
        let from = &mut self.edges[edge];
        let heard = from.node.heard(event);
        if heard == Heard::Old {
            return Ok(());
        }
        from.known = Some(Known {
            counts: event.counts,
            control: event.control.clone(),
            settling_until: event.settling_until,
        });
        self.heard_control(edge)?;
        self.hear_named(edge, event)?;
        match heard {
            Heard::Anew => self.owe(edge, Owes::All),
            Heard::Gap { after, before } => {
                self.read_back(edge, after, before);
            }
            Heard::Old | Heard::Next => {}
        }
        if event.is_tick() && self.edges[edge].ticker.current.is_none() {
            self.put_off(edge);
        }
        Ok(())
    }

    /// Tells everybody whom an event names.
    pub(super) fn hear_named(&mut self, edge: usize, event: &Event) -> Verdict {
        let at = self.now;
        let clock = event.head.clock;
        for &(ticket, until) in &event.revoked {
            self.edges[edge].node.revoke(ticket, until, clock);
        }
        for &(visitor, deadline) in &event.turns {
            self.edges[edge].hub.note_turn(visitor, event.head.seq, deadline, at);
            if self.edges[edge].hub.waiters.contains_key(&visitor) {
                self.settle_stand(edge, visitor, Stands::Turn { deadline })?;
            }
        }
        for visitor in &event.lapsed {
            self.forget(edge, *visitor, &Reply::Expired);
        }
        self.edges[edge].hub.note_absent(&event.absent, event.head.seq, at);
        let here = self.edges[edge].hub.seen_here(&event.absent, at);
        if !here.is_empty() && !self.edges[edge].leaving {
            self.edges[edge].ticker.jobs.push_back(Job::Present(here));
        }
        Ok(())
    }

    /// Where somebody stands whose ticket the edge presented by itself.
    pub(super) fn restate(
        &mut self,
        edge: usize,
        arrival: &Arrival,
        arrived: Arrived,
        seq: u64,
        told: At,
    ) -> Verdict {
        let visitor = arrival.visitor;
        if !self.edges[edge].hub.waiters.contains_key(&visitor) {
            return Ok(());
        }
        match arrived {
            Arrived::Session(session) | Arrived::LetIn(session) => {
                let who = self.who(&visitor);
                self.forget(edge, visitor, &Reply::Expired);
                // An answer that was lost: this edge is the only one that knows.
                self.edges[edge].node.entered(visitor, arrival.ticket, session);
                self.note(Note::Holds { who, edge, ticket: arrival.ticket, session, lent: false })
            }
            Arrived::Spent | Arrived::Void => {
                let who = self.who(&visitor);
                self.forget(edge, visitor, &Reply::Refused);
                self.note(Note::Refused { who, edge })
            }
            Arrived::Full | Arrived::Busy => Ok(()),
            Arrived::Waiting(_) | Arrived::Turn(_) => {
                let Some(stands) = stands(arrived) else { return Ok(()) };
                let stands = self.edges[edge].hub.corrected(visitor, stands, seq, self.now);
                self.stood(edge, visitor, stands, told, arrival.here)
            }
        }
    }

    /// Notes where the store says that somebody stands.
    pub(super) fn stood(
        &mut self,
        edge: usize,
        visitor: VisitorId,
        stands: Stands,
        told: At,
        here: bool,
    ) -> Verdict {
        if let Stands::InLine { score, returning } = stands {
            let who = self.who(&visitor);
            self.note(Note::Stands { who, edge, score, returning, told, here })?;
        }
        self.settle_stand(edge, visitor, stands)
    }

    /// Takes in where a waiter stands, and pushes a turn to the screens.
    fn settle_stand(&mut self, edge: usize, visitor: VisitorId, stands: Stands) -> Verdict {
        let who = self.who(&visitor);
        let Some(waiter) = self.edges[edge].hub.waiters.get_mut(&visitor) else { return Ok(()) };
        let news = waiter.stands != stands;
        waiter.stands = stands;
        let screens = waiter.screens.clone();
        if let Stands::Turn { deadline } = stands
            && news
            && !screens.is_empty()
        {
            self.note(Note::Told { who, edge, deadline })?;
            for screen in screens {
                self.say(screen, Reply::Turn);
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, edge: usize, visitor: VisitorId, reply: &Reply) {
        if let Some(waiter) = self.edges[edge].hub.forget(visitor) {
            for screen in waiter.screens {
                self.say(screen, reply.clone());
            }
        }
    }
}
