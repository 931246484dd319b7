//! What people do, and what becomes of the answers.

use room::queue::{Arrival, Arrived, Claim, Claimed, Leave, Renewal, Renewed, Session};
use room::ruler::Ruler;
use room::time::Micros;

use super::{Deed, MS, SECOND, World};
use crate::journal::{Note, Who};
use crate::person::{Person, State};

/// How long an edge waits for somebody who went offline.
const PRESENCE: u64 = 15 * SECOND;
/// How often a replayer tries again.
const REPLAY: u64 = 10 * SECOND;

impl World {
    pub(super) fn present(&mut self, who: Who) {
        if !self.people[who].online {
            return;
        }
        if self.people[who].state == State::Coming {
            self.first_contact(who);
            return;
        }
        let clock = self.clock();
        let person = &mut self.people[who];
        let arrival = Arrival {
            visitor: person.visitor,
            ticket: person.ticket,
            score: person.stamp,
            confirmed_at: Micros(*person.confirmed_at.get_or_insert(clock)),
            may_enter: true,
            may_wait: true,
            here: true,
        };
        let (doubles, node) = (person.temper.doubles, person.node);
        if doubles {
            let other = self.any_node();
            self.arrive(who, other, arrival);
        }
        self.arrive(who, node, arrival);
        if self.people[who].temper.replays {
            self.plan(self.now + REPLAY, Deed::Present(who));
        }
    }

    /// The stamp is given; the ticket comes back a moment later.
    fn first_contact(&mut self, who: Who) {
        let stamp = self.next_stamp();
        let person = &mut self.people[who];
        person.stamp = stamp;
        person.state = State::InLine;
        let (temper, honest) = (person.temper, person.temper.is_honest());
        self.note(Note::Came { who, honest });
        let back = self.dice.between(0, 1_500) * MS;
        self.plan(self.now + back, Deed::Present(who));
        if let Some((after, _)) = temper.absent {
            self.plan(self.now + back + after * MS, Deed::GoOffline(who));
        }
        if let Some(after) = temper.leaves_after {
            self.plan(self.now + after * MS, Deed::Leave(who));
        }
    }

    fn arrive(&mut self, who: Who, node: usize, arrival: Arrival) {
        let (now, caller) = self.calls(node);
        let answers = self.queue.arrive(&self.rules, now, &caller, &[arrival]);
        match answers[0] {
            Arrived::Session(session) => self.holds(who, session, false),
            Arrived::LetIn(session) => self.holds(who, session, true),
            Arrived::Turn(_) => self.turn_heard(who),
            Arrived::Waiting(place) if place.returning => {
                self.people[who].state = State::Returning;
                self.note(Note::Returning { who });
            }
            Arrived::Waiting(place) => {
                self.people[who].state = State::InLine;
                let score = place.score;
                self.note(Note::InLine { who, score });
            }
            Arrived::Busy | Arrived::Full => self.plan(self.now + SECOND, Deed::Present(who)),
            Arrived::Spent | Arrived::Void => {
                self.people[who].state = State::Done;
                self.note(Note::Refused { who });
            }
        }
    }

    /// A tick named this person.
    pub(super) fn turn(&mut self, who: Who) {
        self.note(Note::Turn { who });
        if self.people[who].online {
            self.turn_heard(who);
        }
    }

    fn turn_heard(&mut self, who: Who) {
        let person = &mut self.people[who];
        let known = std::mem::replace(&mut person.state, State::Turn) == State::Turn;
        if let Some(within) = person.temper.claims_within
            && !known
        {
            let delay = self.dice.between(0, within) * MS;
            self.plan(self.now + delay, Deed::Claim(who));
        }
    }

    pub(super) fn lapsed(&mut self, who: Who) {
        self.note(Note::Lapsed { who });
        let person = &mut self.people[who];
        person.state = State::Returning;
        if person.online && person.temper.comes_back {
            let soon = self.now + self.dice.between(0, 1_000) * MS;
            self.plan(soon, Deed::Present(who));
        }
    }

    pub(super) fn claim(&mut self, who: Who) {
        let person = &self.people[who];
        if !person.online || person.state != State::Turn {
            return;
        }
        let claim = Claim { visitor: person.visitor, ticket: person.ticket };
        let (doubles, node) = (person.temper.doubles, person.node);
        if doubles {
            let other = self.any_node();
            self.claim_at(who, other, claim);
        }
        self.claim_at(who, node, claim);
    }

    fn claim_at(&mut self, who: Who, node: usize, claim: Claim) {
        let (now, caller) = self.calls(node);
        let answers = self.queue.claim(&self.rules, now, &caller, &[claim]);
        match answers[0] {
            Claimed::Session(session) => self.holds(who, session, false),
            Claimed::NotYet { retry_at } => {
                let wait = retry_at.since(self.queue.head().clock).as_micros() as u64;
                let jitter = self.dice.between(0, 100) * MS;
                self.plan(self.now + wait + jitter, Deed::Claim(who));
            }
            Claimed::Gone => self.plan(self.now + 100 * MS, Deed::Present(who)),
        }
    }

    fn holds(&mut self, who: Who, session: Session, at_once: bool) {
        let stay = self.people[who].temper.stays;
        let person: &mut Person = &mut self.people[who];
        person.state = State::Inside;
        let ticket = person.ticket;
        let known = person.pass.replace(session);
        if known.is_some_and(|known| known.cap == session.cap) {
            self.note(Note::Holds { who, ticket, session });
            return;
        }
        person.stay_ends = self.now + stay.unwrap_or(0) * MS;
        self.note(Note::Entered { who, ticket, session, at_once });
        if stay.is_some() {
            self.plan(self.now + SECOND, Deed::Use(who));
        }
    }

    /// Uses the session each second until the stay is over.
    pub(super) fn use_pass(&mut self, who: Who) {
        let person = &self.people[who];
        let (Some(session), true) = (person.pass, person.online) else {
            return;
        };
        if person.state != State::Inside {
            return;
        }
        if self.now >= person.stay_ends {
            if person.temper.releases {
                self.leave(who);
            }
            return;
        }
        let (visitor, ticket, node) = (person.visitor, person.ticket, person.node);
        let renewal = Renewal { visitor, ticket, session };
        let (now, caller) = self.calls(node);
        match self.queue.renew(&self.rules, now, &caller, &[renewal])[0] {
            Renewed::Session(session) => {
                self.holds(who, session, false);
                self.plan(self.now + SECOND, Deed::Use(who));
            }
            Renewed::Ended => self.people[who].state = State::Done,
        }
    }

    pub(super) fn leave(&mut self, who: Who) {
        let person = &mut self.people[who];
        let left_late = person.temper.leaves_after.is_some() && person.state == State::Inside;
        if person.state == State::Done || (left_late && self.now < person.stay_ends) {
            return;
        }
        person.state = State::Done;
        let leave = Leave::Ended(person.visitor, Some(person.ticket));
        let (now, caller) = self.any_call();
        self.queue.leave(&self.rules, now, &caller, &[leave]);
        self.note(Note::Left { who });
    }

    pub(super) fn go_offline(&mut self, who: Who) {
        let person = &mut self.people[who];
        let Some((_, span)) = person.temper.absent else {
            return;
        };
        if !person.online || matches!(person.state, State::Inside | State::Done) {
            return;
        }
        person.online = false;
        let node = person.node;
        self.note(Note::Offline { who });
        self.plan(self.now + PRESENCE, Deed::NoticeAbsence(who, node));
        self.plan(self.now + span * MS, Deed::ComeBack(who));
    }

    pub(super) fn notice_absence(&mut self, who: Who, node: usize) {
        let person = &self.people[who];
        if person.online || !self.nodes[node].alive {
            return;
        }
        let leave = Leave::Absent(person.visitor);
        let (now, caller) = self.calls(node);
        self.queue.leave(&self.rules, now, &caller, &[leave]);
        self.note(Note::PlaceGone { who });
    }

    pub(super) fn come_back(&mut self, who: Who) {
        if self.people[who].online || self.people[who].state == State::Done {
            return;
        }
        let node = self.any_node();
        let person = &mut self.people[who];
        person.online = true;
        person.node = node;
        // Another page: it starts with what it is told now.
        person.shown = None;
        match person.state {
            State::Inside => self.use_pass(who),
            State::Turn => {
                person.state = State::InLine;
                self.present(who);
            }
            _ => self.present(who),
        }
    }

    /// Every edge places its own waiters.
    pub(super) fn show(&mut self, ruler: &Ruler) {
        self.note(Note::Measured);
        let settled = self.clock().saturating_sub(self.rules.settle_window.as_micros() as u64);
        for who in 0..self.people.len() {
            let person = &mut self.people[who];
            let waits = person.online && person.state == State::InLine && person.confirmed_at.is_some();
            if !waits || person.stamp > settled {
                continue;
            }
            let place = ruler.place(person.stamp);
            let position = person.shown.map_or(place, |shown| shown.min(place));
            person.shown = Some(position);
            self.note(Note::Shown { who, place, position });
        }
    }
}
