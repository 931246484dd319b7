//! The way from an edge to the store and back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use room::queue::{
    Arrived, Caller, Change, Claimed, Control, Event, Head, Leave, Now, Restore, SETTLE_BLANK, Witness,
};

use super::desk::Visit;
use super::{Deed, Errand, World};
use crate::bite::Flaw;
use crate::edge::Owes;
use crate::journal::{Note, Who};
use crate::judge::Verdict;
use crate::store::{Ask, Said};
use crate::time::{At, MS, SECOND};

/// An edge waits so long for an answer.
const DEADLINE: At = 250 * MS;
/// Other calls of an edge overlap with one by no more than this.
const OVERLAP: Duration = Duration::from_secs(1);
/// An edge that did not call for so long presents its people again: less than the queue's patience with it.
const SILENCE: At = 5 * SECOND;

/// A call under way.
pub(crate) struct Trip {
    pub(crate) edge: usize,
    boot: u32,
    sent: At,
    /// The breaker did not even let it go.
    refused: bool,
    then: Then,
}

/// What the answer is for.
#[derive(Clone)]
pub(crate) enum Then {
    /// The ticker's current job.
    Job,
    Visit(Box<Visit>),
    /// The operator asks again until somebody answers.
    Operator(Box<Change>),
    Nothing,
}

impl World {
    /// Calls the store.
    pub(super) fn call(&mut self, edge: usize, ask: Ask, then: Then) {
        let fresh = self.new_life();
        let at = self.now;
        let boot = self.edges[edge].boot;
        self.planned += 1;
        let number = self.planned;
        let asks_anew = matches!(ask, Ask::Survey { whole: true });
        let from = &mut self.edges[edge];
        let refused = !from.breaker.admits(at);
        self.trips.insert(number, Trip { edge, boot, sent: at, refused, then });
        let from = &self.edges[edge];
        if refused {
            self.plan(at, Deed::Fail(number));
            return;
        }
        let at_most = from.last_call.map_or(Duration::MAX, |last| {
            Duration::from_micros(from.clock.monotonic(at) - from.clock.monotonic(last)) + OVERLAP
        });
        let witness = if asks_anew { None } else { self.witness_of(edge) };
        let from = &self.edges[edge];
        let caller = Caller { node: from.id, fresh, witness, hold: false, alone: false };
        let ask = Rc::new(self.spoilt(ask));
        let errand = Errand { edge, caller, at_most, ask };
        if self.is_lost(edge) {
            self.plan(at + DEADLINE, Deed::Fail(number));
        } else {
            let delay = self.delay();
            self.plan(at + delay, Deed::CarryOut(number, errand));
        }
    }

    /// What a call carries of what its edge knows.
    fn witness_of(&self, edge: usize) -> Option<Arc<Witness>> {
        let witness = self.edges[edge].node.witness()?;
        match self.flaw {
            Some(Flaw::WitnessUnsent) => None,
            Some(Flaw::ControlUnwitnessed) => {
                let control = Control { version: 0, ..witness.control.clone() };
                Some(Arc::new(Witness { control, ..Witness::clone(&witness) }))
            }
            _ => Some(witness),
        }
    }

    fn delay(&mut self) -> At {
        let (least, most) = self.net.delay;
        self.dice.between(least, most)
    }

    /// Whether a message between an edge and the store gets lost.
    fn is_lost(&mut self, edge: usize) -> bool {
        let lossy = self.dice.per_mille(self.net.loss);
        if lossy {
            self.judge.edges[edge].dumb = self.judge.now.lived;
        }
        lossy || self.net.cut_until > self.now || self.edges[edge].cut_until > self.now
    }

    /// The call reaches the store; whether or not anybody still waits for the answer, it is carried out: unless another
    /// store has taken over since it was sent.
    pub(super) fn carry_out(&mut self, number: u64, errand: Errand) -> Verdict {
        if let Some(trip) = self.trips.get(&number).filter(|trip| trip.sent < self.replaced) {
            self.plan(trip.sent + DEADLINE, Deed::Fail(number));
            return Ok(());
        }
        if self.net.paused {
            self.net.backlog.push((number, errand));
            if let Some(trip) = self.trips.get(&number) {
                self.plan(trip.sent + DEADLINE, Deed::Fail(number));
            }
            return Ok(());
        }
        let Errand { edge, caller, at_most, ask } = errand;
        let now = Now { time: self.store.wall(self.now), at_most };
        let gap = self.now - std::mem::replace(&mut self.called, self.now);
        if gap > 2 * SECOND {
            (self.judge.back, self.judge.first_turn) = (Some(self.now), None);
        }
        self.judge.lived(gap.min(2 * SECOND));
        let before = self.store.queue.as_ref().map(room::queue::Queue::head);
        let (said, event) = if self.repeats_a_change(&ask) {
            (Said::Tuned, None)
        } else {
            self.store.carry_out(&self.store_rules, now, &caller, &ask)
        };
        if self.has(Flaw::PlaceDropped) && self.planned.is_multiple_of(16) {
            self.drop_place(now, &caller, &ask);
        }
        if matches!(said, Said::Full) {
            self.judge.refuses_all();
        }
        self.look_at(before, gap);
        self.check()?;
        self.look_into(edge, &ask, &said)?;
        if let Some(event) = event {
            self.publish(&event)?;
        }
        let Some(trip) = self.trips.get(&number) else { return Ok(()) };
        let (sent, boot) = (trip.sent, trip.boot);
        let back = self.now + self.delay();
        if back > sent + DEADLINE || self.is_lost(edge) {
            self.plan(sent + DEADLINE, Deed::Fail(number));
        } else {
            if self.edges[edge].boot == boot {
                self.judge.edges[edge].spoke = self.judge.now.lived;
            }
            self.plan(back, Deed::Answer { trip: number, said, told: self.now });
        }
        Ok(())
    }

    /// Notes the operator's change. Asked again and carried out before, it is refused: the operator names the version
    /// that was read.
    fn repeats_a_change(&mut self, ask: &Ask) -> bool {
        let Ask::Tune(Change { message: Some(Some(message)), .. }) = ask else { return false };
        if self.store.full {
            return false;
        }
        let number = self.changes.len() as u64 + 1;
        let repeats = self.changes.contains_key(message);
        self.changes.entry(message.clone()).or_insert(number);
        repeats
    }

    /// The how-manieth change that was carried out left this.
    pub(super) fn number_of_change(&self, control: &Control) -> u64 {
        control.message.as_ref().and_then(|message| self.changes.get(message)).copied().unwrap_or(0)
    }

    fn check(&mut self) -> Verdict {
        let Some(queue) = &self.store.queue else { return Ok(()) };
        if self.planned.is_multiple_of(8)
            && let Err(what) = queue.check()
        {
            return crate::judge::breach("the queue is in order", &[], what);
        }
        let kept = queue.kept();
        // A record and a spent, revoked or lapsed ticket of everything that was ever handed out.
        if kept > 4 * self.ids as usize {
            return crate::judge::breach("memory is bounded", &[], format!("{kept} things are kept"));
        }
        Ok(())
    }

    /// A store that loses a place which it just told.
    fn drop_place(&mut self, now: Now, caller: &Caller, ask: &Ask) {
        if let (Ask::Arrive(arrivals), Some(queue)) = (ask, &mut self.store.queue)
            && let [arrival] = arrivals[..]
        {
            queue.leave(&self.rules, now, caller, &[Leave::Absent(arrival.visitor)]);
        }
    }

    /// How far the queue's clock went beyond true time: only a leap of the wall clock may do that.
    fn look_at(&mut self, before: Option<Head>, gap: At) {
        let Some(after) = self.store.queue.as_ref().map(room::queue::Queue::head) else { return };
        if let Some(before) = before {
            let moved = after.clock.0.saturating_sub(before.clock.0);
            let ahead = moved.saturating_sub(gap);
            if ahead > 0 && self.net_leapt() {
                self.judge.ran_ahead(ahead);
            }
        }
        self.judge.now.clock = after.clock;
    }

    /// What the store sold.
    fn look_into(&mut self, edge: usize, ask: &Ask, said: &Said) -> Verdict {
        match (ask, said) {
            (Ask::Arrive(arrivals), Said::Arrived(arrived, _)) => {
                for (arrival, arrived) in arrivals.iter().zip(arrived) {
                    if let Arrived::LetIn(session) = arrived {
                        let who = self.who(&arrival.visitor);
                        let (ticket, session) = (arrival.ticket, *session);
                        self.note(Note::Sold { who, ticket, edge, session, at_once: true })?;
                    }
                }
                Ok(())
            }
            (Ask::Claim(claim), Said::Claimed(Claimed::Session(session), _)) => {
                let who = self.who(&claim.visitor);
                if self.sold.insert((who, session.cap.0)) {
                    let (ticket, session) = (claim.ticket, *session);
                    self.note(Note::Sold { who, ticket, edge, session, at_once: false })?;
                }
                Ok(())
            }
            (Ask::Leave(leaves), Said::Done(_)) => {
                for leave in leaves {
                    if let Leave::Ended(visitor, _) = leave {
                        let who = self.who(visitor);
                        self.note(Note::Left { who })?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self, event: &Rc<Event>) -> Verdict {
        if self.life != Some(event.head.incarnation) {
            self.life = Some(event.head.incarnation);
            let settles = event.settling_until.map(|until| until.since(event.head.clock));
            let blank = settles.is_none_or(|span| span <= SETTLE_BLANK);
            self.note(Note::Life { life: event.head.incarnation, blank })?;
        }
        let settled = event.settling_until.is_none() && !self.judge.is_in_doubt();
        if settled && !std::mem::replace(&mut self.judge.settled, settled) {
            self.judge.line.firm();
        }
        let serial = self.number_of_change(&event.control);
        let limits = (event.control.new_users_per_minute, event.control.total_active_users, serial);
        if limits != self.limits && event.settling_until.is_none() {
            self.limits = limits;
            self.note(Note::Limits { rate: limits.0, active: limits.1, serial })?;
        }
        let people = |visitors: &[room::ids::VisitorId]| -> Vec<Who> {
            visitors.iter().map(|visitor| self.who(visitor)).collect()
        };
        let (lapsed, absent) = (people(&event.lapsed), people(&event.absent));
        let given: Vec<_> = event.turns.iter().map(|(visitor, until)| (self.who(visitor), *until)).collect();
        for who in lapsed {
            self.note(Note::Lapsed { who })?;
        }
        if !given.is_empty() {
            self.judge.first_turn.get_or_insert(self.now);
        }
        for (who, deadline) in given {
            self.note(Note::Given { who, deadline })?;
        }
        for who in absent {
            self.note(Note::Absent { who })?;
        }
        if let Some(ruler) = &event.ruler
            && (event.settling_until.is_none() && !self.judge.is_in_doubt() || self.has(Flaw::GatheringShown))
        {
            self.judge.measured(ruler)?;
        }
        for edge in 0..self.edges.len() {
            self.send_event(edge, event);
        }
        Ok(())
    }

    fn send_event(&mut self, edge: usize, event: &Rc<Event>) {
        if !self.edges[edge].up || self.is_lost(edge) {
            return;
        }
        let boot = self.edges[edge].boot;
        let late = if self.net.late > 0 { self.dice.between(0, self.net.late) } else { 0 };
        let at = self.now + self.delay() + late;
        self.plan(at, Deed::Hear { edge, boot, event: Rc::clone(event) });
        if self.net.late > 0 && self.dice.per_mille(100) {
            self.plan(at + 10 * MS, Deed::Hear { edge, boot, event: Rc::clone(event) });
        }
    }

    pub(super) fn answer(&mut self, number: u64, said: Said, told: At) -> Verdict {
        let Some(Trip { edge, boot, sent, then, .. }) = self.trips.remove(&number) else { return Ok(()) };
        if !self.lives(edge, boot) {
            return Ok(());
        }
        let (now, from) = (self.now, &mut self.edges[edge]);
        from.breaker.answered();
        let silent = from.last_call.replace(sent).map_or(0, |last| now - last);
        if silent > SILENCE {
            // While this edge was not heard, its places may have been passed over.
            from.owes = from.owes.max(Owes::Lent);
        }
        if let Some(head) = head_of(&said) {
            from.clock.calibrate(head.clock, sent, now);
            from.node.answered(head);
        }
        if self.edges[edge].lost && self.edges[edge].ticker.due > now + MS {
            // Any answer ends the ticker's pause.
            self.set_due(edge, now + MS);
        }
        match then {
            Then::Job => self.job_done(edge, said, told),
            Then::Visit(visit) => self.visit_answered(edge, *visit, said, told),
            Then::Operator(change) => {
                if matches!(said, Said::Full) {
                    self.plan(now + SECOND, Deed::Operate(change));
                }
                Ok(())
            }
            Then::Nothing => Ok(()),
        }
    }

    pub(super) fn fail(&mut self, number: u64) -> Verdict {
        let Some(Trip { edge, boot, refused, then, .. }) = self.trips.remove(&number) else { return Ok(()) };
        if !self.lives(edge, boot) {
            return Ok(());
        }
        let now = self.now;
        if !refused {
            self.edges[edge].breaker.failed(now);
        }
        match then {
            Then::Job => {
                self.job_failed(edge);
                self.go_on(edge)
            }
            Then::Visit(visit) => self.visit_failed(edge, *visit),
            Then::Operator(change) => {
                self.plan(now + SECOND, Deed::Operate(change));
                Ok(())
            }
            Then::Nothing => Ok(()),
        }
    }

    /// A call as a flawed edge would make it.
    fn spoilt(&self, ask: Ask) -> Ask {
        let Ask::Restore(mut report) = ask else { return ask };
        let forgets = |flaw| self.has(flaw);
        report.items.retain(|item| match item {
            Restore::Session { .. } => !forgets(Flaw::SessionsUnreported),
            Restore::Spent { .. } => !forgets(Flaw::SpentUnreported),
            Restore::Turn { .. } => !forgets(Flaw::TurnsUnreported),
            Restore::Revoked { .. } => true,
        });
        Ask::Restore(report)
    }
}

fn head_of(said: &Said) -> Option<Head> {
    match said {
        Said::Arrived(_, head) | Said::Claimed(_, head) | Said::Done(head) | Said::Renewed(_, head) => {
            Some(*head)
        }
        Said::Event(event) => Some(event.head),
        Said::Survey(survey) => Some(survey.head),
        Said::Tuned | Said::Missed(_) | Said::Full => None,
    }
}
