//! The visitors of one room who wait at this edge: by socket, by polling, or by a page that reloads.
//!
//! A tick comes in, everybody whom it names is told; once a second the due ones are placed by the ruler. The hub never
//! waits: what it says goes into mailboxes. It has a part for each core, with a lock of its own; work is in proportion
//! to those who are due, never to those who wait.

mod calendar;
mod part;
mod pulse;
pub mod pump;
mod recent;
mod roll;
mod sheet;
mod waiter;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use room::ids::{RoomName, TicketId, VisitorId};
use room::queue::{Arrival, Arrived, Event, Restore};
use room::rules::Rules;
use room::time::Micros;
use room::wire::{ServerMessage, Standing, close};
use tokio::sync::Notify;

use crate::mailbox::Mailbox;
use crate::metrics::WsType;
use crate::socket::frames::FrameBuffer;
use crate::standing::{Known, Shown, Who, compose, facts};

use self::part::Part;
pub(crate) use self::sheet::Update;
pub(crate) use self::waiter::encode;
use self::waiter::{AWAY_AT_LEAST, Waiter};

/// Nothing is left to say (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
/// Whoever only asks is presented again after this long: the store holds that edge for the one that looks after the
/// place which presented it last, and another may have done so since.
const LOOKS_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Hub {
    parts: Box<[Shared]>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shared {
    part: Mutex<Part>,
    /// Somebody may be due.
    news: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        Self::of_parts(available_parallelism().map_or(1, usize::from))
    }
}

/// What the store says of one visitor.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub arrived: &'a Arrived,
    /// The number of the newest event at that moment.
    pub number: u64,
    /// Whether the store was told by then what this edge knows. If not, a turn may be what it forgot.
    pub knows_all: bool,
}

/// Whose turn came, for those who measure.
#[derive(Debug, Default, PartialEq)]
pub struct Called {
    pub turns: usize,
    /// Real wait over the first that was shown.
    pub estimate_errors: Vec<f64>,
}

/// The room for which waiters are told their place.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub room: &'a RoomName,
    pub rules: &'a Rules,
    pub known: Option<&'a Known>,
    /// The store is away: nobody is let in.
    pub away: bool,
    pub now: Micros,
}

/// What looking after those who wait has found.
#[derive(Debug, Default, PartialEq)]
pub struct Swept {
    /// They are no longer here: their places are given back.
    pub away: Vec<VisitorId>,
    /// Their place may be over without this edge having heard of it: they are presented again.
    pub doubtful: Vec<Arrival>,
}

impl Hub {
    pub fn of_parts(parts: usize) -> Self {
        Self { parts: (0..parts.max(1)).map(|_| Shared::default()).collect(), hasher: RandomState::new() }
    }

    /// Keeps a visitor who waits or whose turn it is. Others are not kept.
    pub fn keep(&self, arrival: Arrival, stamp: Micros, said: Said<'_>, now: Micros) {
        // Whom the edge presents again by itself is not there to be let in.
        let arrival = Arrival { may_enter: false, ..arrival };
        self.part(arrival.visitor).keep(arrival, stamp, said, now);
    }

    /// Keeps a visitor of whom the store could not be told, unless as many as `most` are here. Whoever was here stays
    /// what they were.
    pub fn keep_unheard(&self, arrival: Arrival, stamp: Micros, most: usize, now: Micros) -> bool {
        let arrival = Arrival { may_enter: false, ..arrival };
        let is_full = self.len() >= most;
        let mut part = self.part(arrival.visitor);
        if is_full && !part.roll.has(arrival.visitor) {
            return false;
        }
        part.keep_unheard(arrival, stamp, now);
        true
    }

    /// The tickets that the store has still to be shown.
    pub fn unheard(&self) -> Vec<Arrival> {
        in_order(self.gather(|Part { unheard, roll, .. }| {
            unheard.iter().filter_map(|visitor| Some(roll.of(*visitor)?.person.arrival)).collect()
        }))
    }

    /// What a visitor who waits here is to be told, without asking the store; counts as presence.
    pub fn look(&self, visitor: VisitorId, view: View<'_>) -> Option<Standing> {
        let mut part = self.part(visitor);
        let mut waiter = part.roll.of(visitor)?;
        waiter.person.seen = view.now;
        Some(waiter.standing(view))
    }

    /// Whether the place is surely looked after by this edge: by an open screen, or because it was just presented.
    pub fn looks_after(&self, visitor: VisitorId, now: Micros) -> bool {
        let looks =
            |waiter: Waiter<'_>| waiter.has_screens() || now.since(waiter.person.presented) <= LOOKS_AFTER;
        self.part(visitor).roll.of(visitor).is_some_and(looks)
    }

    /// The tickets of those among `visitors` who are seen here.
    pub fn seen_here(&self, visitors: &[VisitorId], now: Micros) -> Vec<Arrival> {
        let seen =
            |waiter: &Waiter<'_>| waiter.has_screens() || now.since(waiter.person.seen) < AWAY_AT_LEAST;
        let here = |visitor: &VisitorId| {
            let mut part = self.part(*visitor);
            part.roll.of(*visitor).filter(seen).map(|waiter| waiter.remembered())
        };
        visitors.iter().filter_map(here).collect()
    }

    /// A screen of the visitor shows this position already, as another edge told it: none that is larger is told. Who
    /// claims more than is true deceives themselves; how often they are told goes by their real place.
    pub fn recall(&self, visitor: VisitorId, position: u64) {
        if let Some(waiter) = self.part(visitor).roll.of(visitor) {
            waiter.spot.recall(position);
        }
    }

    /// Opens a screen of a visitor who was noted, and sends the first standing.
    pub fn attach(&self, visitor: VisitorId, mailbox: &Arc<Mailbox>, view: View<'_>) -> bool {
        self.part(visitor).attach(visitor, mailbox, view)
    }

    pub fn detach(&self, visitor: VisitorId, mailbox: &Arc<Mailbox>, now: Micros) {
        if let Some(mut waiter) = self.part(visitor).roll.of(visitor) {
            waiter.close(mailbox);
            waiter.person.seen = now;
        }
    }

    /// The visitor claimed, left, or is spent: every screen is told, nothing is kept.
    pub fn forget(&self, visitor: VisitorId, who: Who, view: View<'_>) {
        self.part(visitor).forget(visitor, who, view);
    }

    /// Tells everybody whom an event names. With a ruler, those who are due are told soon: see [`Self::tell_some`].
    pub fn hear(&self, event: &Event, view: View<'_>) -> Called {
        let mut called = Called::default();
        for &(visitor, deadline) in &event.turns {
            let mut part = self.part(visitor);
            part.turns.note(visitor, event.head.seq, deadline, view.now);
            if let Some(waiter) = part.roll.of(visitor) {
                waiter.spot.who = Who::Turn { deadline };
                called.turns += 1;
                called.estimate_errors.extend(waiter.estimate_error(view.now));
                part.post(visitor, view);
            }
        }
        for &visitor in &event.lapsed {
            self.forget(visitor, Who::Expired, view);
        }
        for &visitor in &event.absent {
            self.part(visitor).departures.note(visitor, event.head.seq, (), view.now);
        }
        if event.ruler.is_some() {
            self.rouse(|part| part.begin_round(view.now));
        }
        called
    }

    /// Says one thing to everybody, before any update that waits.
    pub fn announce(&self, kind: WsType, message: &ServerMessage) {
        let mut buffer = FrameBuffer::default();
        let frame = encode(message, &mut buffer);
        self.each_part(|part| {
            for (_, waiter) in part.roll.all() {
                waiter.screens().for_each(|screen| screen.urgent(kind, frame));
            }
        });
    }

    /// Everybody is to be told soon: the room was paused, resumed, changed.
    pub fn tell_all(&self) {
        self.rouse(Part::tell_all);
    }

    /// Tells at most so many of one part who are due; whether there are more.
    pub fn tell_some(&self, part: usize, most: usize, view: View<'_>) -> bool {
        self.parts.get(part).is_some_and(|shared| shared.lock().tell_some(most, view))
    }

    /// Waits until somebody of one part may be due.
    pub async fn news(&self, part: usize) {
        match self.parts.get(part) {
            Some(shared) => shared.news.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Asks those sockets of one part whose time has come whether anybody is there.
    pub fn beat(&self, part: usize, now_secs: u32) {
        let asked = self.parts.get(part).map(|shared| shared.lock().pulse.beat(now_secs));
        asked.iter().flatten().for_each(|mailbox| mailbox.ask(now_secs));
    }

    /// How many parts there are: those of [`Self::tell_some`], [`Self::news`] and [`Self::beat`] are counted from 0.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Takes out those who are away, and what is over. `front`: how far the line has moved.
    pub fn sweep(&self, now: Micros, front: u64) -> Swept {
        let mut swept = Swept::default();
        self.each_part(|part| part.sweep(now, front, &mut swept));
        swept
    }

    /// Everybody's ticket, to be presented to a store that forgot.
    pub fn arrivals(&self) -> Vec<Arrival> {
        in_order(self.gather(|part| part.roll.all().map(|(_, waiter)| waiter.remembered()).collect()))
    }

    /// The turns that visitors here were told of, and that are not known to be over. Their deadlines say nothing: an
    /// outage extends them.
    pub fn turns(&self) -> Vec<Restore> {
        let restore = |(_, waiter): (_, Waiter<'_>)| {
            let Arrival { visitor, ticket, .. } = waiter.person.arrival;
            matches!(waiter.spot.who, Who::Turn { .. }).then_some(Restore::Turn { visitor, ticket })
        };
        self.gather(|part| part.roll.all().filter_map(restore).collect())
    }

    /// Whether it is this ticket's turn, as far as is known here.
    pub fn has_turn(&self, visitor: VisitorId, ticket: TicketId) -> bool {
        let has_turn = |waiter: Waiter<'_>| {
            waiter.person.arrival.ticket == ticket && matches!(waiter.spot.who, Who::Turn { .. })
        };
        self.part(visitor).roll.of(visitor).is_some_and(has_turn)
    }

    /// Takes in where a visitor stands whose ticket the edge presented by itself: no sign of presence.
    pub fn restate(&self, visitor: VisitorId, said: Said<'_>, view: View<'_>) {
        match *said.arrived {
            Arrived::Session(_) | Arrived::LetIn(_) => self.forget(visitor, Who::Admitted, view),
            Arrived::Spent | Arrived::Void => self.forget(visitor, Who::Expired, view),
            // The line is full: the visitor keeps the ticket, and asks again by the page.
            Arrived::Full | Arrived::Busy => {}
            Arrived::Waiting(_) | Arrived::Turn(_) => self.part(visitor).restate(visitor, said, view),
        }
    }

    /// Says goodbye to every screen; `spread` gives each its own moment to come back.
    pub fn bye(&self, mut spread: impl FnMut() -> Duration) {
        let mut buffer = FrameBuffer::default();
        self.each_part(|part| {
            for (_, waiter) in part.roll.all() {
                for screen in waiter.screens() {
                    let reconnect_in_ms = spread().as_millis() as u64;
                    screen.urgent(WsType::Bye, encode(&ServerMessage::Bye { reconnect_in_ms }, &mut buffer));
                    screen.close(close::RESTART);
                }
            }
        });
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|shared| shared.lock().roll.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part that a visitor belongs to.
    fn part(&self, visitor: VisitorId) -> MutexGuard<'_, Part> {
        let at = self.hasher.hash_one(visitor) as usize % self.parts.len();
        #[expect(clippy::indexing_slicing, reason = "there is at least one part, and a remainder is less")]
        self.parts[at].lock()
    }

    fn each_part(&self, mut act: impl FnMut(&mut Part)) {
        self.parts.iter().for_each(|shared| act(&mut shared.lock()));
    }

    /// What all parts together have.
    fn gather<T>(&self, list: impl Fn(&mut Part) -> Vec<T>) -> Vec<T> {
        self.parts.iter().flat_map(|shared| list(&mut shared.lock())).collect()
    }

    /// After it somebody may be due.
    fn rouse(&self, mut act: impl FnMut(&mut Part)) {
        for shared in &self.parts {
            act(&mut shared.lock());
            shared.news.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By place, so that a line with a cap takes the first.
fn in_order(mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
    arrivals.sort_unstable_by_key(|arrival| (arrival.score, arrival.visitor));
    arrivals
}

impl View<'_> {
    pub fn tell(&self, who: Who, shown: &mut Shown) -> Standing {
        let facts = facts(self, who, shown);
        compose(self, who, facts)
    }
}

#[cfg(test)]
mod tests;
