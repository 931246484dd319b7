//! A part of those who wait: every visitor belongs to one, and the parts know nothing of each other.

use std::collections::{HashMap, HashSet};
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
use super::sheet::Sheet;
use super::waiter::{AWAY_AT_LEAST, Waiter, soon};
use super::{NORMAL, Said, Swept, View};

/// A turn is remembered this long after its deadline, for the visitor who asks late.
const AFTER_TURN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Part {
    pub(super) waiters: HashMap<VisitorId, Box<Waiter>>,
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
    ready: Vec<VisitorId>,
    pub(super) pulse: Pulse,
    pub(super) buffer: FrameBuffer,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            waiters: HashMap::new(),
            turns: Recent::default(),
            departures: Recent::default(),
            unheard: HashSet::new(),
            updates: Calendar::default(),
            absences: Calendar::default(),
            ready: Vec::new(),
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
        let waiter = self.admit(arrival, stamp, who, now);
        waiter.arrival = arrival;
        (waiter.seen, waiter.presented) = (now, now);
        let is_news = waiter.who != who && waiter.has_screens();
        waiter.who = who;
        if is_news {
            waiter.tell_anyway();
            self.note_update(arrival.visitor, now);
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
        if let Some(waiter) = self.waiters.get_mut(&arrival.visitor) {
            waiter.seen = now;
        } else {
            let who = Who::InLine { score: arrival.score, stamp, returning: false };
            self.admit(arrival, stamp, who, now).presented = Micros::ZERO;
        }
        self.unheard.insert(arrival.visitor);
    }

    fn admit(&mut self, arrival: Arrival, stamp: Micros, who: Who, now: Micros) -> &mut Waiter {
        self.waiters.entry(arrival.visitor).or_insert_with(|| {
            let mut waiter = Box::new(Waiter::new(arrival, stamp, who, now));
            waiter.absence_noted = self.absences.note(arrival.visitor, now + AWAY_AT_LEAST, now);
            waiter
        })
    }

    fn note_update(&mut self, visitor: VisitorId, now: Micros) {
        if let Some(waiter) = self.waiters.get_mut(&visitor) {
            waiter.update_noted = self.updates.note(visitor, waiter.look_at(now), now);
        }
    }

    /// Opens a screen of a visitor who was noted, and sends the first standing.
    pub(super) fn attach(&mut self, visitor: VisitorId, mailbox: &Arc<Mailbox>, view: View<'_>) -> bool {
        let Some(waiter) = self.waiters.get_mut(&visitor) else { return false };
        if let Some(replaced) = waiter.open(Arc::clone(mailbox)) {
            replaced.close(close::REPLACED);
        }
        self.pulse.join(mailbox);
        waiter.post_to(mailbox, &mut self.buffer, view);
        waiter.update_noted = self.updates.note(visitor, waiter.look_at(view.now), view.now);
        true
    }

    /// Tells every screen of a visitor at once.
    pub(super) fn post(&mut self, visitor: VisitorId, view: View<'_>) {
        if let Some(waiter) = self.waiters.get_mut(&visitor)
            && waiter.has_screens()
        {
            waiter.post(&mut self.buffer, view);
            waiter.update_noted = self.updates.note(visitor, waiter.look_at(view.now), view.now);
        }
    }

    /// Takes in where a visitor stands, and tells it if that is news.
    pub(super) fn restate(&mut self, visitor: VisitorId, said: Said<'_>, view: View<'_>) {
        let Some(waiter) = self.waiters.get(&visitor) else { return };
        let who = self.stands(&waiter.arrival, waiter.stamp, said);
        self.note_heard(visitor, said.number);
        if let Some(waiter) = self.waiters.get_mut(&visitor)
            && let Some(who) = who.filter(|who| *who != waiter.who)
        {
            waiter.who = who;
            self.post(visitor, view);
        }
    }

    /// Ends a visitor's wait: every screen is told, nothing is kept.
    pub(super) fn forget(&mut self, visitor: VisitorId, who: Who, view: View<'_>) {
        self.turns.forget(visitor);
        self.unheard.remove(&visitor);
        if let Some(waiter) = self.waiters.remove(&visitor) {
            waiter.end(view.tell(who, &mut Shown::default()), NORMAL, &mut self.buffer);
        }
    }

    /// The line was measured: those whose time has come are to be looked at.
    pub(super) fn begin_round(&mut self, now: Micros) {
        let mut due = self.updates.take(soon(now));
        self.ready.append(&mut due);
    }

    /// Everybody with a screen is to be told, whatever the time.
    pub(super) fn tell_all(&mut self) {
        let watching = self.waiters.iter_mut().filter(|(_, waiter)| waiter.has_screens());
        self.ready = watching
            .map(|(visitor, waiter)| {
                waiter.tell_anyway();
                *visitor
            })
            .collect();
    }

    /// Tells at most so many of those whose time has come; whether there are more.
    pub(super) fn tell_some(&mut self, most: usize, view: View<'_>) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let (sheet, mut told) = (Sheet::of(view), 0);
        while told < most
            && let Some(visitor) = self.ready.pop()
        {
            told += usize::from(self.tell_if_due(visitor, &sheet, view));
        }
        if self.ready.is_empty() {
            self.ready = Vec::new();
        }
        !self.ready.is_empty()
    }

    fn tell_if_due(&mut self, visitor: VisitorId, sheet: &Sheet, view: View<'_>) -> bool {
        let Some(waiter) = self.waiters.get_mut(&visitor).filter(|waiter| waiter.has_screens()) else {
            return false;
        };
        let is_told_anyway = waiter.is_due_anyway();
        if !is_told_anyway && Calendar::is_superseded(waiter.update_noted, soon(view.now)) {
            return false;
        }
        let is_due = is_told_anyway || waiter.is_due(view);
        if is_due && Sheet::is_for(waiter.who) {
            waiter.post_by(sheet, &mut self.buffer, view);
        } else if is_due {
            waiter.post(&mut self.buffer, view);
        }
        if matches!(waiter.who, Who::InLine { .. }) {
            waiter.update_noted = self.updates.note(visitor, waiter.look_at(view.now), view.now);
        }
        is_due
    }

    /// Takes out those who are away. Whoever is here and behind the front without a turn is doubtful.
    pub(super) fn sweep(&mut self, now: Micros, front: u64, swept: &mut Swept) {
        for visitor in self.absences.take(now) {
            let Some(waiter) = self.waiters.get_mut(&visitor) else { continue };
            if Calendar::is_superseded(waiter.absence_noted, now) {
                continue;
            }
            let look_again = match waiter.who {
                Who::Turn { deadline } => deadline + AFTER_TURN,
                _ if waiter.has_screens() => now + AWAY_AT_LEAST,
                _ => waiter.away_at(),
            };
            if look_again > now {
                waiter.absence_noted = self.absences.note(visitor, look_again, now);
                if is_doubtful(waiter, front) {
                    swept.doubtful.push(waiter.arrival);
                }
                continue;
            }
            // A turn that is over was claimed at another edge.
            let is_away = !matches!(waiter.who, Who::Turn { .. });
            waiter.screens().for_each(|screen| screen.close(NORMAL));
            self.waiters.remove(&visitor);
            self.unheard.remove(&visitor);
            if is_away {
                swept.away.push(visitor);
            }
        }
    }

    /// What an answer of the store makes of a visitor, if they still wait. A turn given since wins, and so does one
    /// that a store forgot.
    pub(super) fn stands(&self, arrival: &Arrival, stamp: Micros, said: Said<'_>) -> Option<Who> {
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

    fn forgotten_turn(&self, arrival: &Arrival) -> Option<Micros> {
        let waiter = self.waiters.get(&arrival.visitor)?;
        match waiter.who {
            Who::Turn { deadline } if waiter.arrival.ticket == arrival.ticket => Some(deadline),
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
fn is_doubtful(waiter: &Waiter, front: u64) -> bool {
    waiter.has_screens()
        && matches!(waiter.who, Who::InLine { score, returning, .. } if returning || score <= front)
}
