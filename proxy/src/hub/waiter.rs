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
use super::sheet::{Sheet, Update, json};

/// How far the line is measured apart. An update that would be due before half of it is over comes now.
const ROUND: Duration = Duration::from_secs(1);
/// Nobody is away before this, however often they look.
pub(super) const AWAY_AT_LEAST: Duration = Duration::from_secs(15);
/// More than this many screens of one ticket: the oldest is told that another took over.
const MAX_SCREENS: usize = 3;

/// Both halves of one who waits.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    pub(super) spot: &'a mut Spot,
    pub(super) person: &'a mut Person,
}

/// What each tick reads of one who is due, and writes: a cache line, so that whoever is due costs one miss.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Spot {
    pub(super) who: Who,
    /// When to tell the place again.
    due: Micros,
    /// Of the entries in the calendar of updates the one that counts.
    pub(super) update_noted: Micros,
    /// The oldest of the open screens; the others are the [`Person`]'s.
    screen: Option<Arc<Mailbox>>,
    shown: Shown,
    next_update_secs: u32,
    has_more_screens: bool,
    is_promised: bool,
    /// Is about to be told.
    pub(super) is_called: bool,
}

const _: () = assert!(size_of::<Spot>() == 64, "a spot is a cache line");

/// The rest.
#[derive(Debug)]
pub(super) struct Person {
    /// What is presented again when the store forgot.
    pub(super) arrival: Arrival,
    pub(super) stamp: Micros,
    /// Of the entries in the calendar of absences the one that counts.
    pub(super) absence_noted: Micros,
    /// When the visitor last asked, or closed a socket.
    pub(super) seen: Micros,
    /// When the visitor's ticket was last presented by this edge.
    pub(super) presented: Micros,
    /// The first wait that was shown, in seconds, and when.
    promised: Option<(Micros, u64)>,
    /// The open screens but for the oldest, by age.
    more_screens: [Option<Arc<Mailbox>>; MAX_SCREENS - 1],
}

impl Default for Spot {
    fn default() -> Self {
        Self::new(Who::Expired, Micros::ZERO)
    }
}

impl Person {
    pub(super) fn new(arrival: Arrival, stamp: Micros, now: Micros) -> Self {
        Self {
            arrival,
            stamp,
            absence_noted: Micros::ZERO,
            seen: now,
            presented: now,
            promised: None,
            more_screens: Default::default(),
        }
    }
}

impl Spot {
    pub(super) fn new(who: Who, now: Micros) -> Self {
        Self {
            who,
            due: now,
            update_noted: Micros::ZERO,
            screen: None,
            shown: Shown::default(),
            next_update_secs: 0,
            has_more_screens: false,
            is_promised: false,
            is_called: false,
        }
    }

    pub(super) fn has_screens(&self) -> bool {
        self.screen.is_some()
    }

    /// Whether to be told when the line was measured now: it is time, or the place is one of the first and moved.
    pub(super) fn is_due(&self, view: View<'_>) -> bool {
        let Who::InLine { score, .. } = self.who else { return false };
        let moved = || {
            let ruler = view.known.and_then(|known| known.ruler.as_ref());
            let place = ruler.map(|ruler| ruler.place(score));
            self.shown.least().zip(place).is_some_and(|(least, place)| place < least)
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

    pub(super) fn recall(&mut self, position: u64) {
        self.shown.recall(position);
    }

    /// When to ask [`Self::is_due`] again.
    pub(super) fn look_at(&self, now: Micros) -> Micros {
        if self.is_at_front() && !self.is_due_anyway() { now + ROUND } else { self.due }
    }

    /// Each change is told here; the first has none left to come.
    fn is_at_front(&self) -> bool {
        self.shown.least().is_some_and(|least| 1 < least && least <= EXACT_PLACES)
    }
}

impl Waiter<'_> {
    /// The ticket, as this edge presents it by itself.
    pub(super) fn remembered(&self) -> Arrival {
        Arrival { here: self.has_screens(), ..self.person.arrival }
    }

    pub(super) fn screens(&self) -> impl Iterator<Item = &Mailbox> {
        let more = self.spot.has_more_screens.then_some(&self.person.more_screens);
        self.spot.screen.iter().chain(more.into_iter().flatten().flatten()).map(Arc::as_ref)
    }

    pub(super) fn has_screens(&self) -> bool {
        self.spot.has_screens()
    }

    /// Opens a screen; the one that has to go for it.
    pub(super) fn open(&mut self, screen: Arc<Mailbox>) -> Option<Arc<Mailbox>> {
        let mut screens: Vec<_> = self.take_screens().chain([screen]).collect();
        let replaced = (screens.len() > MAX_SCREENS).then(|| screens.remove(0));
        self.put_screens(screens.into_iter());
        replaced
    }

    pub(super) fn close(&mut self, screen: &Arc<Mailbox>) {
        let left = self.take_screens().filter(|open| !Arc::ptr_eq(open, screen));
        self.put_screens(left);
    }

    /// The oldest first.
    fn take_screens(&mut self) -> impl Iterator<Item = Arc<Mailbox>> + use<> {
        let more = std::mem::take(&mut self.person.more_screens);
        self.spot.screen.take().into_iter().chain(more.into_iter().flatten())
    }

    fn put_screens(&mut self, mut screens: impl Iterator<Item = Arc<Mailbox>>) {
        self.spot.screen = screens.next();
        self.person.more_screens = std::array::from_fn(|_| screens.next());
        self.spot.has_more_screens = self.person.more_screens.iter().any(Option::is_some);
    }

    /// When the visitor, not being seen until then, is away.
    pub(super) fn away_at(&self) -> Micros {
        self.person.seen + AWAY_AT_LEAST.max(2 * Duration::from_secs(self.spot.next_update_secs.into()))
    }

    /// Real wait over the first that was shown.
    pub(super) fn estimate_error(&self, now: Micros) -> Option<f64> {
        let (told_at, wait_secs) = self.person.promised?;
        (wait_secs > 0).then(|| now.since(told_at).as_secs_f64() / wait_secs as f64)
    }

    pub(super) fn standing(&mut self, view: View<'_>) -> Standing {
        let facts = self.facts(view);
        compose(&view, self.spot.who, facts)
    }

    fn facts(&mut self, view: View<'_>) -> Facts {
        let Self { spot, person } = self;
        let facts = facts(&view, spot.who, &mut spot.shown);
        spot.next_update_secs = facts.next_update_seconds;
        if let (false, Some(estimate)) = (spot.is_promised, facts.estimate) {
            spot.is_promised = true;
            person.promised = Some((view.now, estimate.p50_seconds));
        }
        facts
    }

    /// Tells every screen where the visitor stands.
    pub(super) fn post(&mut self, buffer: &mut FrameBuffer, view: View<'_>) {
        let facts = self.facts_told(view);
        let told = Told::new(compose(&view, self.spot.who, facts), buffer);
        self.screens().for_each(|screen| told.post(screen));
    }

    /// The same by a sheet, which is for this waiter.
    pub(super) fn post_by(&mut self, sheet: &Arc<Sheet>, buffer: &mut FrameBuffer, view: View<'_>) {
        let update = Update::new(sheet, self.facts_told(view));
        self.screens().for_each(|screen| screen.update_by(&update, buffer));
    }

    /// Tells one screen.
    pub(super) fn post_to(&mut self, screen: &Mailbox, buffer: &mut FrameBuffer, view: View<'_>) {
        let facts = self.facts_told(view);
        Told::new(compose(&view, self.spot.who, facts), buffer).post(screen);
    }

    fn facts_told(&mut self, view: View<'_>) -> Facts {
        let facts = self.facts(view);
        self.spot.due = view.now + Duration::from_secs(facts.next_update_seconds.into());
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
