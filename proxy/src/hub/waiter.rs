//! One who waits, and what their screens are told.

use std::sync::Arc;
use std::time::Duration;

use room::estimate::EXACT_PLACES;
use room::queue::Arrival;
use room::time::Micros;
use room::wire::{ServerMessage, Standing, State};

use crate::mailbox::Mailbox;
use crate::metrics::WsType;
use crate::socket::frames::{FrameBuffer, Opcode};
use crate::standing::{Facts, Shown, Who, compose, facts};

use super::View;
use super::sheet::{Sheet, json};

/// How far the line is measured apart. An update that would be due before half of it is over comes now.
const ROUND: Duration = Duration::from_secs(1);
/// Nobody is away before this, however often they look.
pub(super) const AWAY_AT_LEAST: Duration = Duration::from_secs(15);
/// More than this many screens of one ticket: the oldest is told that another took over.
const MAX_SCREENS: usize = 3;

#[derive(Debug)]
pub(super) struct Waiter {
    /// What is presented again when the store forgot.
    pub(super) arrival: Arrival,
    pub(super) stamp: Micros,
    pub(super) who: Who,
    shown: Shown,
    /// When to tell the place again.
    due: Micros,
    /// Of the entries in the calendars those that count.
    pub(super) update_noted: Micros,
    pub(super) absence_noted: Micros,
    /// When the visitor last asked, or closed a socket.
    pub(super) seen: Micros,
    /// When the visitor's ticket was last presented by this edge.
    pub(super) presented: Micros,
    next_update_secs: u32,
    /// The first wait that was shown, in seconds, and when.
    promised: Option<(Micros, u64)>,
    screens: Screens,
}

/// The open screens, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Screens([Option<Arc<Mailbox>>; MAX_SCREENS]);

impl Waiter {
    pub(super) fn new(arrival: Arrival, stamp: Micros, who: Who, now: Micros) -> Self {
        Self {
            arrival,
            stamp,
            who,
            shown: Shown::default(),
            due: now,
            update_noted: Micros::ZERO,
            absence_noted: Micros::ZERO,
            seen: now,
            presented: now,
            next_update_secs: 0,
            promised: None,
            screens: Screens::default(),
        }
    }

    /// The ticket, as this edge presents it by itself.
    pub(super) fn remembered(&self) -> Arrival {
        Arrival { here: self.has_screens(), ..self.arrival }
    }

    pub(super) fn screens(&self) -> impl Iterator<Item = &Mailbox> {
        self.screens.0.iter().flatten().map(Arc::as_ref)
    }

    pub(super) fn has_screens(&self) -> bool {
        self.screens().next().is_some()
    }

    /// Opens a screen; the one that has to go for it.
    pub(super) fn open(&mut self, screen: Arc<Mailbox>) -> Option<Arc<Mailbox>> {
        let Screens(screens) = &mut self.screens;
        if let Some(free) = screens.iter_mut().find(|place| place.is_none()) {
            *free = Some(screen);
            return None;
        }
        screens.rotate_left(1);
        screens.last_mut()?.replace(screen)
    }

    pub(super) fn close(&mut self, screen: &Arc<Mailbox>) {
        let Screens(screens) = &mut self.screens;
        let open = std::mem::take(screens).into_iter().flatten();
        let mut left = open.filter(|open| !Arc::ptr_eq(open, screen));
        *screens = std::array::from_fn(|_| left.next());
    }

    /// Whether to be told when the line was measured now: it is time, or the place is one of the first and moved.
    pub(super) fn is_due(&self, view: View<'_>) -> bool {
        let Who::InLine { score, .. } = self.who else { return false };
        let moved = || {
            let ruler = view.known.and_then(|known| known.ruler.as_ref());
            let place = ruler.map(|ruler| ruler.place(score));
            self.shown.least.zip(place).is_some_and(|(least, place)| place < least)
        };
        self.due <= soon(view.now) || (self.is_at_front() && moved())
    }

    /// Asks to be told whatever comes.
    pub(super) fn is_due_anyway(&self) -> bool {
        self.due == Micros::ZERO
    }

    pub(super) fn tell_anyway(&mut self) {
        self.due = Micros::ZERO;
    }

    /// When to ask [`Self::is_due`] again.
    pub(super) fn look_at(&self, now: Micros) -> Micros {
        if self.is_at_front() && !self.is_due_anyway() { now + ROUND } else { self.due }
    }

    /// Each change is told here; the first has none left to come.
    fn is_at_front(&self) -> bool {
        self.shown.least.is_some_and(|least| 1 < least && least <= EXACT_PLACES)
    }

    /// When the visitor, not being seen until then, is away.
    pub(super) fn away_at(&self) -> Micros {
        self.seen + AWAY_AT_LEAST.max(2 * Duration::from_secs(self.next_update_secs.into()))
    }

    pub(super) fn standing(&mut self, view: View<'_>) -> Standing {
        let facts = self.facts(view);
        compose(&view, self.who, facts)
    }

    fn facts(&mut self, view: View<'_>) -> Facts {
        let facts = facts(&view, self.who, &mut self.shown);
        self.next_update_secs = facts.next_update_seconds;
        if let (None, Some(estimate)) = (self.promised, facts.estimate) {
            self.promised = Some((view.now, estimate.p50_seconds));
        }
        facts
    }

    /// Real wait over the first that was shown.
    pub(super) fn estimate_error(&self, now: Micros) -> Option<f64> {
        let (told_at, wait_secs) = self.promised?;
        (wait_secs > 0).then(|| now.since(told_at).as_secs_f64() / wait_secs as f64)
    }

    /// Tells every screen where the visitor stands.
    pub(super) fn post(&mut self, buffer: &mut FrameBuffer, view: View<'_>) {
        let facts = self.facts_told(view);
        let told = Told::new(compose(&view, self.who, facts), buffer);
        self.screens().for_each(|screen| told.post(screen));
    }

    /// The same by a sheet, which is for this waiter.
    pub(super) fn post_by(&mut self, sheet: &Sheet, buffer: &mut FrameBuffer, view: View<'_>) {
        let facts = self.facts_told(view);
        let frame = buffer.build(Opcode::Text, |bytes| sheet.fill(&facts, bytes));
        self.screens().for_each(|screen| screen.update(frame));
    }

    /// Tells one screen.
    pub(super) fn post_to(&mut self, screen: &Mailbox, buffer: &mut FrameBuffer, view: View<'_>) {
        let facts = self.facts_told(view);
        Told::new(compose(&view, self.who, facts), buffer).post(screen);
    }

    fn facts_told(&mut self, view: View<'_>) -> Facts {
        let facts = self.facts(view);
        self.due = view.now + Duration::from_secs(facts.next_update_seconds.into());
        facts
    }

    /// Tells every screen something for the last time, and closes it.
    pub(super) fn end(&self, last: Standing, code: u16, buffer: &mut FrameBuffer) {
        let told = Told::new(last, buffer);
        for screen in self.screens() {
            told.post(screen);
            screen.close(code);
        }
    }
}

/// Until when a time counts as come: the line is measured again a round later.
pub(super) fn soon(now: Micros) -> Micros {
    now + ROUND / 2
}

/// A message, encoded once for all screens of a visitor.
struct Told<'a> {
    is_turn: bool,
    frame: &'a [u8],
}

impl<'a> Told<'a> {
    fn new(standing: Standing, buffer: &'a mut FrameBuffer) -> Self {
        let is_turn = standing.state == State::Turn;
        let standing = Box::new(standing);
        let message = if is_turn { ServerMessage::Turn(standing) } else { ServerMessage::Update(standing) };
        Self { is_turn, frame: encode(&message, buffer) }
    }

    fn post(&self, screen: &Mailbox) {
        if self.is_turn {
            screen.urgent(WsType::Turn, self.frame);
        } else {
            screen.update(self.frame);
        }
    }
}

pub(crate) fn encode<'a>(message: &ServerMessage, buffer: &'a mut FrameBuffer) -> &'a [u8] {
    buffer.build(Opcode::Text, |bytes| json(bytes, message))
}
