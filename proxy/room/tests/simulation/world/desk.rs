//! An edge's side of a browser's request (`proxy/src/desk`): the gate, presenting, claiming, passes.

use room::gate::{Held, Verdict as Gate, decide};
use room::ids::VisitorId;
use room::queue::{Arrival, Arrived, Claim, Claimed, Head, Leave, Renewal, Renewed, Session};
use room::rules::TICKET_LIFE;
use room::time::Micros;
use room::token::{Pass, Ticket};

use super::calls::Then;
use super::people::NOTICED;
use super::ticker::stands;
use super::{Deed, World};
use crate::bite::Flaw;
use crate::edge::{Job, Owes, Screen, Stands, Waiter};
use crate::journal::Note;
use crate::judge::Verdict;
use crate::person::{Reply, Wants};
use crate::store::{Ask, Said};
use crate::time::{At, MS, SECOND};

/// A claim that needs a moment is waited for instead of sent away, up to this long.
const PATIENCE: At = 3 * SECOND;
/// After a knock that found no entry nobody else need knock for this long.
const BUSY: At = 200 * MS;

/// A browser's request, with the cookies that it carries.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) edge: usize,
    pub(crate) boot: u32,
    pub(crate) screen: Screen,
    pub(crate) wants: Wants,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) pass: Option<Pass>,
}

/// A visitor whose request waits for the store.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    screen: Screen,
    wants: Wants,
    ticket: Option<Ticket>,
    pass: Option<Pass>,
    until: Micros,
}

impl World {
    pub(super) fn request(&mut self, request: Request) -> Verdict {
        let Request { edge, boot, screen, wants, ticket, pass } = request;
        if !self.lives(edge, boot) || self.edges[edge].leaving && wants != Wants::Page {
            self.say(screen, Reply::Broken);
            return Ok(());
        }
        let now = self.edges[edge].now(self.now);
        let pass = pass.filter(|pass| pass.expires_at_secs > now.as_secs());
        let visit = Visit { screen, wants, ticket, pass, until: Micros::ZERO };
        match wants {
            Wants::Leave => {
                self.give_back(edge, visit);
                Ok(())
            }
            Wants::Page | Wants::Socket => self.stand(edge, visit),
        }
    }

    fn stand(&mut self, edge: usize, visit: Visit) -> Verdict {
        let from = &self.edges[edge];
        let now = from.now(self.now);
        let held = Held { pass: visit.pass.clone(), ticket: visit.ticket.clone() };
        let door = from.door(self.now);
        match decide(&self.rules, door, held, false, |ticket| from.node.is_revoked(ticket), now) {
            Gate::Forward { pass, renew } => self.forward(edge, visit, pass, renew),
            Gate::Present(ticket) => {
                self.present(edge, visit, ticket, true);
                Ok(())
            }
            Gate::Knock => {
                let ticket = self.fresh_ticket(edge, &visit);
                self.present(edge, visit, ticket, false);
                Ok(())
            }
            Gate::Wait | Gate::Aside | Gate::Glance | Gate::Closed => {
                let ticket = self.fresh_ticket(edge, &visit);
                self.say(visit.screen, Reply::Waits(ticket));
                Ok(())
            }
        }
    }

    /// A visitor who shows a ticket, though it is over, stays the same visitor; whoever shows none is new.
    fn fresh_ticket(&mut self, edge: usize, visit: &Visit) -> Ticket {
        let stamp = self.edges[edge].stamp(self.now);
        let known = visit.ticket.as_ref().map(|ticket| ticket.visitor);
        let visitor = known.unwrap_or_else(|| self.new_visitor(visit.screen.who));
        Ticket {
            room: self.room.clone(),
            visitor,
            id: self.new_ticket(),
            stamp,
            head_start_micros: 0,
            confirmed_at: None,
            confirm_by: stamp + self.rules.confirm_window,
            expires_at_secs: (stamp + TICKET_LIFE).as_secs(),
        }
    }

    fn present(&mut self, edge: usize, visit: Visit, ticket: Ticket, may_wait: bool) {
        if visit.wants == Wants::Page && self.edges[edge].hub.has_turn(ticket.visitor) {
            // No other call is needed: a store that is full takes claims only.
            let until = self.edges[edge].now(self.now) + std::time::Duration::from_micros(PATIENCE);
            return self.claim(edge, Visit { ticket: Some(ticket), ..visit }, until);
        }
        let now = self.edges[edge].now(self.now);
        let ticket = if may_wait { ticket.clone().confirmed(now.max(ticket.stamp)) } else { ticket };
        let arrival = Arrival {
            visitor: ticket.visitor,
            ticket: ticket.id,
            score: ticket.stamp.0,
            confirmed_at: ticket.confirmed_at.unwrap_or(now),
            may_enter: visit.wants == Wants::Page,
            may_wait,
            here: true,
        };
        let visit = Visit { ticket: Some(ticket), ..visit };
        self.call(edge, Ask::Arrive(vec![arrival]), Then::Visit(Box::new(visit)));
    }

    fn forward(&mut self, edge: usize, visit: Visit, pass: Pass, renew: bool) -> Verdict {
        let from = &self.edges[edge];
        // Granted by another life of the store, or extended by an edge alone.
        let strange = pass.granted_secs.is_some()
            || from.node.incarnation().is_some_and(|life| life != pass.incarnation);
        if self.has(Flaw::PassesRefused) && self.dice.per_mille(50) {
            let who = visit.screen.who;
            return self.note(Note::Refused { who, edge });
        }
        if renew || strange {
            let (visitor, ticket, session) = (pass.visitor, pass.ticket, session_of(&pass));
            let visit = Visit { pass: Some(pass), ..visit };
            let renewal = Renewal { visitor, ticket, session };
            self.call(edge, Ask::Renew(renewal), Then::Visit(Box::new(visit)));
            return Ok(());
        }
        self.enter(edge, visit.screen, pass)
    }

    /// Forwards with a pass, and remembers the session; one that an edge extended alone is to be reported by whoever
    /// sees it.
    fn enter(&mut self, edge: usize, screen: Screen, pass: Pass) -> Verdict {
        let from = &mut self.edges[edge];
        let (session, lent) = (session_of(&pass), pass.granted_secs.is_some());
        if lent {
            from.node.lent(pass.visitor, pass.ticket, session);
        } else {
            from.node.entered(pass.visitor, pass.ticket, session);
        }
        let who = screen.who;
        self.note(Note::Holds { who, edge, ticket: pass.ticket, session, lent })?;
        self.say(screen, Reply::In(pass));
        Ok(())
    }

    fn mint(&mut self, edge: usize, screen: Screen, ticket: &Ticket, session: Session) -> Verdict {
        let pass = self.pass(edge, ticket.visitor, ticket.id, session);
        self.forget(edge, ticket.visitor, &Reply::Expired);
        self.enter(edge, screen, pass)
    }

    fn pass(&self, edge: usize, visitor: VisitorId, ticket: room::ids::TicketId, session: Session) -> Pass {
        Pass {
            room: self.room.clone(),
            visitor,
            ticket,
            expires_at_secs: session.ends.as_secs(),
            hard_cap_secs: session.cap.as_secs(),
            incarnation: self.edges[edge].incarnation(),
            granted_secs: None,
        }
    }

    pub(super) fn visit_answered(&mut self, edge: usize, visit: Visit, said: Said, told: At) -> Verdict {
        match said {
            Said::Arrived(arrived, head) => self.arrived(edge, visit, arrived[0], head, told),
            Said::Claimed(claimed, _) => self.claimed(edge, visit, claimed),
            Said::Renewed(renewed, _) => self.renewed(edge, visit, renewed),
            Said::Done(_) => {
                let by_pass = visit.pass.map(|pass| (pass.visitor, pass.ticket));
                let by_ticket = visit.ticket.map(|ticket| (ticket.visitor, ticket.id));
                for (visitor, ticket) in by_pass.into_iter().chain(by_ticket) {
                    self.edges[edge].node.spent(visitor, ticket);
                    self.forget(edge, visitor, &Reply::Expired);
                }
                Ok(())
            }
            Said::Full => {
                let who = visit.screen.who;
                if self.people[who].tabs.iter().all(|tab| !tab.open) {
                    self.judge.refused(who);
                }
                self.visit_failed(edge, visit)
            }
            _ => self.visit_failed(edge, visit),
        }
    }

    fn arrived(&mut self, edge: usize, visit: Visit, arrived: Arrived, head: Head, told: At) -> Verdict {
        let Some(ticket) = visit.ticket.clone() else { return Ok(()) };
        let (who, screen) = (visit.screen.who, visit.screen);
        match arrived {
            Arrived::LetIn(session) | Arrived::Session(session) => self.mint(edge, screen, &ticket, session),
            Arrived::Turn(_) if visit.wants == Wants::Page => {
                let until = self.edges[edge].now(self.now) + std::time::Duration::from_micros(PATIENCE);
                self.claim(edge, visit, until);
                Ok(())
            }
            Arrived::Waiting(_) | Arrived::Turn(_) => self.keep(edge, &visit, &ticket, arrived, head, told),
            Arrived::Busy => {
                let now = self.edges[edge].now(self.now);
                self.edges[edge].busy_until = Micros(now.0 + BUSY);
                self.say(screen, Reply::Waits(ticket));
                Ok(())
            }
            Arrived::Full => self.visit_failed(edge, visit),
            Arrived::Spent | Arrived::Void => {
                self.forget(edge, ticket.visitor, &Reply::Refused);
                self.say(screen, Reply::Refused);
                self.note(Note::Refused { who, edge })
            }
        }
    }

    /// Keeps somebody who waits here; a socket is attached.
    fn keep(
        &mut self,
        edge: usize,
        visit: &Visit,
        ticket: &Ticket,
        arrived: Arrived,
        head: Head,
        told: At,
    ) -> Verdict {
        let (at, visitor) = (self.now, ticket.visitor);
        let Some(said) = stands(arrived) else { return Ok(()) };
        let from = &mut self.edges[edge];
        // Another life of the store, which has not heard yet of the turns that were told here.
        let untold = from.owes == Owes::All || from.node.incarnation() != Some(head.incarnation);
        let hub = &mut from.hub;
        let corrected = match hub.waiters.get(&visitor) {
            Some(Waiter { stands: turn @ Stands::Turn { .. }, .. }) if untold => *turn,
            _ => hub.corrected(visitor, said, head.seq, at),
        };
        let arrival = Arrival {
            visitor,
            ticket: ticket.id,
            score: ticket.stamp.0,
            confirmed_at: ticket.confirmed_at.unwrap_or(ticket.stamp),
            may_enter: false,
            may_wait: true,
            here: true,
        };
        // As one who stands nowhere yet, so that a turn is told to this screen.
        let nowhere = Stands::InLine { score: 0, returning: false };
        let waiter = hub.waiters.entry(visitor).or_insert_with(|| Waiter {
            arrival,
            stands: nowhere,
            seen: at,
            screens: Vec::new(),
        });
        // The place is the store's, whatever the ticket says.
        let score = if let Stands::InLine { score, .. } = corrected { score } else { arrival.score };
        waiter.arrival = Arrival { score, ..arrival };
        waiter.seen = at;
        if visit.wants == Wants::Socket {
            let newer = |open: &Screen| open.tab == visit.screen.tab && open.page > visit.screen.page;
            if waiter.screens.iter().any(newer) {
                return Ok(());
            }
            waiter.stands = nowhere;
            waiter.screens.retain(|open| (open.who, open.tab) != (visit.screen.who, visit.screen.tab));
            waiter.screens.push(visit.screen);
            self.say(visit.screen, Reply::Attached(ticket.clone()));
            if self.people[visit.screen.who].tabs[visit.screen.tab].page != visit.screen.page {
                // The browser went elsewhere before there was an answer.
                let (boot, screen) = (self.edges[edge].boot, visit.screen);
                self.plan(at + NOTICED, Deed::Detach { edge, boot, visitor, screen });
            }
        } else {
            self.say(visit.screen, Reply::Waits(ticket.clone()));
        }
        self.wake(edge);
        if self.edges[edge].hub.was_given_up(visitor, head.seq) {
            // Taken for absent in the moment of coming back: the news were here before the answer.
            self.edges[edge].ticker.jobs.push_back(Job::Present(vec![Arrival { score, ..arrival }]));
            self.go_on(edge)?;
        }
        self.stood(edge, visitor, corrected, told, true)
    }

    pub(super) fn claim(&mut self, edge: usize, visit: Visit, until: Micros) {
        let Some(ticket) = &visit.ticket else { return };
        let claim = Claim { visitor: ticket.visitor, ticket: ticket.id };
        let visit = Visit { until, ..visit };
        self.call(edge, Ask::Claim(claim), Then::Visit(Box::new(visit)));
    }

    fn claimed(&mut self, edge: usize, visit: Visit, claimed: Claimed) -> Verdict {
        let Some(ticket) = visit.ticket.clone() else { return Ok(()) };
        let now = self.edges[edge].now(self.now);
        match claimed {
            Claimed::Session(session) => self.mint(edge, visit.screen, &ticket, session),
            Claimed::NotYet { retry_at } => {
                let wait = (retry_at.since(now).as_micros() as At).max(MS);
                if retry_at <= visit.until {
                    let (boot, until) = (self.edges[edge].boot, visit.until);
                    self.plan(self.now + wait, Deed::ClaimAgain { edge, boot, visit, until });
                } else {
                    self.say(visit.screen, Reply::Soon(wait));
                }
                Ok(())
            }
            Claimed::Gone => {
                self.say(visit.screen, Reply::Expired);
                Ok(())
            }
        }
    }

    fn renewed(&mut self, edge: usize, visit: Visit, renewed: Renewed) -> Verdict {
        let Some(pass) = visit.pass.clone() else { return Ok(()) };
        match renewed {
            Renewed::Session(session) => {
                let pass = self.pass(edge, pass.visitor, pass.ticket, session);
                self.enter(edge, visit.screen, pass)
            }
            // The session is over: the visitor stands before the gate like anybody else.
            Renewed::Ended => self.stand(edge, Visit { pass: None, ..visit }),
        }
    }

    pub(super) fn visit_failed(&mut self, edge: usize, visit: Visit) -> Verdict {
        let now = self.edges[edge].now(self.now);
        if visit.wants == Wants::Leave {
            self.say(visit.screen, Reply::Broken);
            return Ok(());
        }
        if let Some(pass) = visit.pass {
            let granted = Micros::from_secs(pass.granted_secs.unwrap_or(pass.expires_at_secs));
            return match session_of(&pass).extended_alone(granted, &self.rules, now) {
                Some(longer) => {
                    let secs = Some(granted.as_secs());
                    let pass = Pass { expires_at_secs: longer.ends.as_secs(), granted_secs: secs, ..pass };
                    self.enter(edge, visit.screen, pass)
                }
                None => self.enter(edge, visit.screen, pass),
            };
        }
        let Some(ticket) = visit.ticket else { return Ok(()) };
        let has_turn = visit.wants == Wants::Socket && self.edges[edge].hub.has_turn(ticket.visitor);
        let ticket = ticket.deferred(now, self.rules.confirm_window);
        self.say(visit.screen, if has_turn { Reply::Turn } else { Reply::Waits(ticket) });
        Ok(())
    }

    /// Place, turn or session is given back.
    fn give_back(&mut self, edge: usize, visit: Visit) {
        let by_pass = visit.pass.as_ref().map(|pass| (pass.visitor, pass.ticket));
        let by_ticket = visit.ticket.as_ref().map(|ticket| (ticket.visitor, ticket.id));
        let Some((visitor, ticket)) = by_pass.or(by_ticket) else { return };
        let ask = Ask::Leave(vec![Leave::Ended(visitor, Some(ticket))]);
        self.call(edge, ask, Then::Visit(Box::new(visit)));
    }

    /// Something goes to a browser.
    pub(super) fn say(&mut self, screen: Screen, reply: Reply) {
        if self.has(Flaw::TurnsUntold) && matches!(reply, Reply::Turn) && self.dice.per_mille(500) {
            return;
        }
        let delay = self.dice.between(MS, 60 * MS);
        self.plan(self.now + delay, Deed::Reply { screen, reply });
    }
}

fn session_of(pass: &Pass) -> Session {
    Session { ends: Micros::from_secs(pass.expires_at_secs), cap: Micros::from_secs(pass.hard_cap_secs) }
}
