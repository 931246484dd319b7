//! A part of those who wait: every visitor belongs to one, and the parts know nothing of each other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use room::ids::VisitorId;
use room::queue::{Arrival, Arrived, Place};
use room::time::Micros;
use room::wire::close;

use crate::mailbox::Mailbox;
use crate::socket::frames::FrameBuffer;
use crate::socket::now_secs;
use crate::standing::{Shown, Who};

use super::calendar::Calendar;
use super::pulse::Pulse;
use super::recent::Recent;
use super::roll::{Number, Roll};
use super::sheet::Sheet;
use super::waiter::{AWAY_AT_LEAST, Person, Spot, Waiter, soon};
use super::{NORMAL, Said, Swept, View};

/// A turn is remembered this long after its deadline, for the visitor who asks late.
const AFTER_TURN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Part {
    pub(super) roll: Roll,
    /// Turns heard of lately, with their deadlines.
    pub(super) turns: Recent<Micros>,
    /// Who was taken for absent lately.
    pub(super) departures: Recent<()>,
    /// Whom the store has not heard of since: it was away when they came, or its answer is from before it took them for
    /// absent.
    pub(super) unheard: HashSet<VisitorId>,
    /// When to look whether somebody with a screen is to be told the place again.
    updates: Calendar,
    /// When to look whether somebody is away. Every waiter has an entry.
    absences: Calendar,
    /// Whose time has come, and who were not looked at yet.
    ready: Vec<Number>,
    /// Of those the ones who are being told.
    called: Vec<Number>,
    pub(super) pulse: Pulse,
    pub(super) buffer: FrameBuffer,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            roll: Roll::default(),
            turns: Recent::default(),
            departures: Recent::default(),
            unheard: HashSet::new(),
            updates: Calendar::default(),
            absences: Calendar::default(),
            ready: Vec::new(),
            called: Vec::new(),
            pulse: Pulse::new(now_secs()),
            buffer: FrameBuffer::default(),
        }
    }
}

impl Part {
    pub(super) fn keep(&mut self, arrival: Arrival, stamp: Micros, said: Said<'_>, now: Micros) {
        let Some(who) = self.stands(&arrival, stamp, said) else {
            self.unheard.remove(&arrival.visitor);
            return;
        };
        self.note_heard(arrival.visitor, said.number);
        let number = self.admit(arrival, stamp, who, now);
        let Some(Waiter { spot, person }) = self.roll.at(number) else { return };
        (person.arrival, person.seen, person.presented) = (arrival, now, now);
        let is_news = spot.who != who && spot.has_screens();
        spot.who = who;
        if is_news {
            spot.tell_anyway();
            self.note_update(number, now);
        }
    }

    /// The store has heard of a visitor, at the event of this number. If the place was given up since, the answer says
    /// nothing any more: the ticket is presented again.
    fn note_heard(&mut self, visitor: VisitorId, number: u64) {
        if self.departures.after(visitor, number).is_some() {
            self.unheard.insert(visitor);
        } else {
            self.unheard.remove(&visitor);
        }
    }

    /// Keeps a visitor of whom the store could not be told, or notes that one who is here was seen.
    pub(super) fn keep_unheard(&mut self, arrival: Arrival, stamp: Micros, now: Micros) {
        if let Some(waiter) = self.roll.of(arrival.visitor) {
            waiter.person.seen = now;
        } else {
            let who = Who::InLine { score: arrival.score, stamp, returning: false };
            let number = self.admit(arrival, stamp, who, now);
            if let Some(waiter) = self.roll.at(number) {
                waiter.person.presented = Micros::ZERO;
            }
        }
        self.unheard.insert(arrival.visitor);
    }

    fn admit(&mut self, arrival: Arrival, stamp: Micros, who: Who, now: Micros) -> Number {
        let Self { roll, absences, .. } = self;
        roll.enter(arrival.visitor, |number| {
            let mut person = Person::new(arrival, stamp, now);
            person.absence_noted = absences.note(number, now + AWAY_AT_LEAST, now);
            (Spot::new(who, now), person)
        })
    }

    fn note_update(&mut self, number: Number, now: Micros) {
        if let Some(Waiter { spot, .. }) = self.roll.at(number) {
            spot.update_noted = self.updates.note(number, spot.look_at(now), now);
        }
    }

    /// Opens a screen of a visitor who was noted, and sends the first standing.
    pub(super) fn attach(&mut self, visitor: VisitorId, mailbox: &Arc<Mailbox>, view: View<'_>) -> bool {
        let Some(number) = self.roll.number(visitor) else { return false };
        let Some(mut waiter) = self.roll.at(number) else { return false };
        if let Some(replaced) = waiter.open(Arc::clone(mailbox)) {
            replaced.close(close::REPLACED);
        }
        self.pulse.join(mailbox);
        waiter.post_to(mailbox, &mut self.buffer, view);
        self.note_update(number, view.now);
        true
    }

    /// Tells every screen of a visitor at once.
    pub(super) fn post(&mut self, visitor: VisitorId, view: View<'_>) {
        let Some(number) = self.roll.number(visitor) else { return };
        if let Some(mut waiter) = self.roll.at(number)
            && waiter.has_screens()
        {
            waiter.post(&mut self.buffer, view);
            self.note_update(number, view.now);
        }
    }

    /// Takes in where a visitor stands, and tells it if that is news.
    pub(super) fn restate(&mut self, visitor: VisitorId, said: Said<'_>, view: View<'_>) {
        let Some(waiter) = self.roll.of(visitor) else { return };
        let (arrival, stamp) = (waiter.person.arrival, waiter.person.stamp);
        let who = self.stands(&arrival, stamp, said);
        self.note_heard(visitor, said.number);
        if let Some(waiter) = self.roll.of(visitor)
            && let Some(who) = who.filter(|who| *who != waiter.spot.who)
        {
            waiter.spot.who = who;
            self.post(visitor, view);
        }
    }

    /// Ends a visitor's wait: every screen is told, nothing is kept.
    pub(super) fn forget(&mut self, visitor: VisitorId, who: Who, view: View<'_>) {
        self.turns.forget(visitor);
        self.unheard.remove(&visitor);
        if let Some((mut spot, mut person)) = self.roll.remove(visitor) {
            let waiter = Waiter { spot: &mut spot, person: &mut person };
            waiter.end(view.tell(who, &mut Shown::default()), NORMAL, &mut self.buffer);
        }
    }

    /// The line was measured: those whose time has come are to be looked at.
    pub(super) fn begin_round(&mut self, now: Micros) {
        self.updates.take(soon(now), &mut self.ready);
    }

    /// Everybody with a screen is to be told, whatever the time.
    pub(super) fn tell_all(&mut self) {
        let watching = self.roll.all().filter(|(_, waiter)| waiter.has_screens());
        self.ready = watching
            .map(|(number, waiter)| {
                waiter.spot.tell_anyway();
                number
            })
            .collect();
    }

    /// Tells at most so many of those whose time has come; whether there are more.
    pub(super) fn tell_some(&mut self, most: usize, view: View<'_>) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let mut called = std::mem::take(&mut self.called);
        while called.len() < most
            && let Some(number) = self.ready.pop()
        {
            called.extend(self.call(number, view));
        }
        let sheet = Arc::new(Sheet::of(view));
        called.drain(..).for_each(|number| self.tell(number, &sheet, view));
        self.called = called;
        if self.ready.is_empty() {
            self.ready = Vec::new();
        }
        !self.ready.is_empty()
    }

    /// Looks at somebody whose time has come: to be told now, or to be looked at later. Apart from the telling, so that
    /// the processor fetches the next spots while one is awaited.
    fn call(&mut self, number: Number, view: View<'_>) -> Option<Number> {
        let spot = self.roll.spot(number).filter(|spot| spot.has_screens() && !spot.is_called)?;
        let is_told_anyway = spot.is_due_anyway();
        if !is_told_anyway && Calendar::is_superseded(spot.update_noted, soon(view.now)) {
            return None;
        }
        if is_told_anyway || spot.is_due(view) {
            spot.is_called = true;
            return Some(number);
        }
        if matches!(spot.who, Who::InLine { .. }) {
            spot.update_noted = self.updates.note(number, spot.look_at(view.now), view.now);
        }
        None
    }

    fn tell(&mut self, number: Number, sheet: &Arc<Sheet>, view: View<'_>) {
        let Some(mut waiter) = self.roll.at(number) else { return };
        waiter.spot.is_called = false;
        if Sheet::is_for(waiter.spot.who) {
            waiter.post_by(sheet, &mut self.buffer, view);
        } else {
            waiter.post(&mut self.buffer, view);
        }
        if matches!(waiter.spot.who, Who::InLine { .. }) {
            waiter.spot.update_noted = self.updates.note(number, waiter.spot.look_at(view.now), view.now);
        }
    }

    /// Takes out those who are away. Whoever is here and behind the front without a turn is doubtful.
    pub(super) fn sweep(&mut self, now: Micros, front: u64, swept: &mut Swept) {
        let mut taken = Vec::new();
        self.absences.take(now, &mut taken);
        for number in taken {
            let Some(waiter) = self.roll.at(number) else { continue };
            if Calendar::is_superseded(waiter.person.absence_noted, now) {
                continue;
            }
            let look_again = match waiter.spot.who {
                Who::Turn { deadline } => deadline + AFTER_TURN,
                _ if waiter.has_screens() => now + AWAY_AT_LEAST,
                _ => waiter.away_at(),
            };
            if look_again > now {
                waiter.person.absence_noted = self.absences.note(number, look_again, now);
                if is_doubtful(waiter.spot, front) {
                    swept.doubtful.push(waiter.remembered());
                }
                continue;
            }
            // A turn that is over was claimed at another edge.
            let is_away = !matches!(waiter.spot.who, Who::Turn { .. });
            waiter.screens().for_each(|screen| screen.close(NORMAL));
            let visitor = waiter.person.arrival.visitor;
            self.roll.remove(visitor);
            self.unheard.remove(&visitor);
            if is_away {
                swept.away.push(visitor);
            }
        }
    }

    /// What an answer of the store makes of a visitor, if they still wait. A turn given since wins, and so does one
    /// that a store forgot.
    pub(super) fn stands(&mut self, arrival: &Arrival, stamp: Micros, said: Said<'_>) -> Option<Who> {
        match *said.arrived {
            Arrived::Waiting(Place { score, returning, .. }) => {
                let kept = self.forgotten_turn(arrival).filter(|_| !said.knows_all);
                Some(match kept.or_else(|| self.turns.after(arrival.visitor, said.number)) {
                    Some(deadline) => Who::Turn { deadline },
                    None => Who::InLine { score, stamp, returning },
                })
            }
            Arrived::Turn(turn) => Some(Who::Turn { deadline: turn.deadline }),
            _ => None,
        }
    }

    fn forgotten_turn(&mut self, arrival: &Arrival) -> Option<Micros> {
        let waiter = self.roll.of(arrival.visitor)?;
        match waiter.spot.who {
            Who::Turn { deadline } if waiter.person.arrival.ticket == arrival.ticket => Some(deadline),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Part {
    /// In both calendars.
    pub(super) fn entries(&self) -> usize {
        self.updates.len() + self.absences.len()
    }
}

/// Somebody who shows a place that the line has passed, or one beside the line: another edge may have seen the end of
/// it, and nobody tells this one.
fn is_doubtful(spot: &Spot, front: u64) -> bool {
    spot.has_screens()
        && matches!(spot.who, Who::InLine { score, returning, .. } if returning || score <= front)
}
