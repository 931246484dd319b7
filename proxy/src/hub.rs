//! The visitors of one room who wait at this edge: by socket, by polling, or by a page that reloads.
//!
//! A tick comes in, everybody concerned is told; once a second the due ones are placed by the ruler. The hub never
//! waits: what it says goes into mailboxes.

mod turns;
mod waiter;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use room::ids::{RoomName, TicketId, VisitorId};
use room::queue::{Arrival, Arrived, Event, Place, Restore};
use room::rules::Rules;
use room::time::Micros;
use room::wire::{ServerMessage, Standing, close};

use crate::mailbox::Mailbox;
use crate::metrics::WsType;
use crate::standing::{Known, Shown, Who, compose};

use self::turns::RecentTurns;
use self::waiter::{Told, Waiter, encode};

/// Nothing is left to say (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
/// More than this many screens of one ticket: the oldest is told that another took over.
const MAX_SCREENS: usize = 3;
/// Nobody is away before this, however often they look.
const AWAY_AT_LEAST: Duration = Duration::from_secs(15);
/// Whoever only asks is presented again after this long: the store holds that edge for the one that looks after the
/// place which presented it last, and another may have done so since.
const LOOKS_AFTER: Duration = Duration::from_secs(5);
/// A turn is remembered this long after its deadline, for the visitor who asks late.
const AFTER_TURN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Hub {
    here: Mutex<Here>,
}

#[derive(Debug, Default)]
struct Here {
    waiters: HashMap<VisitorId, Waiter>,
    turns: RecentTurns,
    /// Whom the store has not heard of: it was away when they came.
    unheard: HashSet<VisitorId>,
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

impl Hub {
    /// Keeps a visitor who waits or whose turn it is. Others are not kept.
    pub fn keep(&self, arrival: Arrival, stamp: Micros, said: Said<'_>, now: Micros) {
        // Whom the edge presents again by itself is not there to be let in.
        let arrival = Arrival { may_enter: false, ..arrival };
        let mut here = self.here();
        here.unheard.remove(&arrival.visitor);
        let Some(who) = here.stands(&arrival, stamp, said) else { return };
        let new = || Waiter::new(arrival, stamp, who, now);
        let waiter = here.waiters.entry(arrival.visitor).or_insert_with(new);
        waiter.arrival = arrival;
        waiter.who = who;
        (waiter.seen, waiter.presented) = (now, now);
    }

    /// Keeps a visitor of whom the store could not be told, unless as many as `most` are here. Whoever was here stays
    /// what they were.
    pub fn keep_unheard(&self, arrival: Arrival, stamp: Micros, most: usize, now: Micros) -> bool {
        let arrival = Arrival { may_enter: false, ..arrival };
        let mut here = self.here();
        if let Some(waiter) = here.waiters.get_mut(&arrival.visitor) {
            waiter.seen = now;
        } else if here.waiters.len() < most {
            let who = Who::InLine { score: arrival.score, stamp, returning: false };
            let mut waiter = Waiter::new(arrival, stamp, who, now);
            waiter.presented = Micros::ZERO;
            here.waiters.insert(arrival.visitor, waiter);
        } else {
            return false;
        }
        here.unheard.insert(arrival.visitor);
        true
    }

    /// The tickets that the store has still to be shown.
    pub fn unheard(&self) -> Vec<Arrival> {
        let here = self.here();
        in_order(here.unheard.iter().filter_map(|visitor| here.waiters.get(visitor)).map(|w| w.arrival))
    }

    /// What a visitor who waits here is to be told, without asking the store; counts as presence.
    pub fn look(&self, visitor: VisitorId, view: View<'_>) -> Option<Standing> {
        let mut here = self.here();
        let waiter = here.waiters.get_mut(&visitor)?;
        waiter.seen = view.now;
        Some(waiter.standing(view))
    }

    /// Whether the place is surely looked after by this edge: by an open screen, or because it was just presented.
    pub fn looks_after(&self, visitor: VisitorId, now: Micros) -> bool {
        self.here()
            .waiters
            .get(&visitor)
            .is_some_and(|waiter| !waiter.screens.is_empty() || now.since(waiter.presented) <= LOOKS_AFTER)
    }

    /// The tickets of those among `visitors` who are seen here.
    pub fn seen_here(&self, visitors: &[VisitorId], now: Micros) -> Vec<Arrival> {
        let here = self.here();
        let waiters = visitors.iter().filter_map(|visitor| here.waiters.get(visitor));
        let seen = |waiter: &&Waiter| !waiter.screens.is_empty() || now.since(waiter.seen) < AWAY_AT_LEAST;
        waiters.filter(seen).map(|waiter| waiter.arrival).collect()
    }

    /// Opens a screen of a visitor who was noted, and sends the first standing.
    pub fn attach(&self, visitor: VisitorId, mailbox: &Arc<Mailbox>, view: View<'_>) -> bool {
        let mut here = self.here();
        let Some(waiter) = here.waiters.get_mut(&visitor) else { return false };
        waiter.screens.push(Arc::clone(mailbox));
        if waiter.screens.len() > MAX_SCREENS {
            waiter.screens.remove(0).close(close::REPLACED);
        }
        let message = waiter.message(view);
        message.post(mailbox);
        true
    }

    pub fn detach(&self, visitor: VisitorId, mailbox: &Arc<Mailbox>, now: Micros) {
        if let Some(waiter) = self.here().waiters.get_mut(&visitor) {
            waiter.screens.retain(|screen| !Arc::ptr_eq(screen, mailbox));
            waiter.seen = now;
        }
    }

    /// The visitor claimed, left, or is spent: every screen is told, nothing is kept.
    pub fn forget(&self, visitor: VisitorId, who: Who, view: View<'_>) {
        let mut here = self.here();
        here.turns.forget(visitor);
        here.unheard.remove(&visitor);
        if let Some(waiter) = here.waiters.remove(&visitor) {
            let standing = view.tell(who, &mut Shown::default());
            let told = Told::update(standing);
            for screen in &waiter.screens {
                told.post(screen);
                screen.close(NORMAL);
            }
        }
    }

    /// Tells everybody whom an event names; with a ruler, everybody who is due.
    pub fn hear(&self, event: &Event, view: View<'_>) -> Called {
        let mut here = self.here();
        let mut called = Called::default();
        for (visitor, deadline) in &event.turns {
            here.turns.note(*visitor, event.head.seq, *deadline, view.now);
            if let Some(waiter) = here.waiters.get_mut(visitor) {
                waiter.who = Who::Turn { deadline: *deadline };
                waiter.post(view);
                called.turns += 1;
                called.estimate_errors.extend(waiter.estimate_error(view.now));
            }
        }
        drop(here);
        for visitor in &event.lapsed {
            self.forget(*visitor, Who::Expired, view);
        }
        if event.ruler.is_some() {
            for waiter in self.here().waiters.values_mut().filter(|waiter| waiter.is_due(view)) {
                waiter.post(view);
            }
        }
        called
    }

    /// Says one thing to everybody, before any update that waits.
    pub fn announce(&self, kind: WsType, message: &ServerMessage) {
        let text = encode(message);
        for screen in self.here().waiters.values().flat_map(|waiter| &waiter.screens) {
            screen.urgent(kind, text.clone());
        }
    }

    /// Tells everybody at once: the room was paused, resumed, changed.
    pub fn tell_all(&self, view: View<'_>) {
        for waiter in self.here().waiters.values_mut() {
            waiter.post(view);
        }
    }

    /// Takes out those who are away: their places are given back. Also drops what is over.
    pub fn absent(&self, now: Micros) -> Vec<VisitorId> {
        let mut away = Vec::new();
        let mut here = self.here();
        here.waiters.retain(|visitor, waiter| {
            if let Who::Turn { deadline } = waiter.who {
                let is_open = now < deadline + AFTER_TURN;
                if !is_open {
                    // Claimed at another edge.
                    waiter.screens.iter().for_each(|screen| screen.close(NORMAL));
                }
                return is_open;
            }
            let is_away = waiter.screens.is_empty()
                && now.since(waiter.seen) > AWAY_AT_LEAST.max(waiter.next_update * 2);
            if is_away {
                away.push(*visitor);
            }
            !is_away
        });
        for visitor in &away {
            here.unheard.remove(visitor);
        }
        away
    }

    /// Everybody's ticket, to be presented to a store that forgot.
    pub fn arrivals(&self) -> Vec<Arrival> {
        in_order(self.here().waiters.values().map(|waiter| waiter.arrival))
    }

    /// The turns that visitors here were told of, and that are not known to be over. Their deadlines say nothing: an
    /// outage extends them.
    pub fn turns(&self) -> Vec<Restore> {
        let here = self.here();
        let open = here.waiters.values().filter(|waiter| matches!(waiter.who, Who::Turn { .. }));
        open.map(|waiter| Restore::Turn { visitor: waiter.arrival.visitor, ticket: waiter.arrival.ticket })
            .collect()
    }

    /// Whether it is this ticket's turn, as far as is known here.
    pub fn has_turn(&self, visitor: VisitorId, ticket: TicketId) -> bool {
        self.here()
            .waiters
            .get(&visitor)
            .is_some_and(|waiter| waiter.arrival.ticket == ticket && matches!(waiter.who, Who::Turn { .. }))
    }

    /// Takes in where a visitor stands whose ticket the edge presented by itself: no sign of presence.
    pub fn restate(&self, visitor: VisitorId, said: Said<'_>, view: View<'_>) {
        match *said.arrived {
            Arrived::Session(_) | Arrived::LetIn(_) => self.forget(visitor, Who::Admitted, view),
            Arrived::Spent | Arrived::Void => self.forget(visitor, Who::Expired, view),
            // The line is full: the visitor keeps the ticket, and asks again by the page.
            Arrived::Full | Arrived::Busy => {}
            Arrived::Waiting(_) | Arrived::Turn(_) => {
                let mut here = self.here();
                here.unheard.remove(&visitor);
                let waiter = here.waiters.get(&visitor).map(|waiter| (waiter.arrival, waiter.stamp));
                let Some((arrival, stamp)) = waiter else { return };
                let stands = here.stands(&arrival, stamp, said);
                if let (Some(who), Some(waiter)) = (stands, here.waiters.get_mut(&visitor))
                    && who != waiter.who
                {
                    waiter.who = who;
                    waiter.post(view);
                }
            }
        }
    }

    /// Says goodbye to every screen; `spread` gives each its own moment to come back.
    pub fn bye(&self, mut spread: impl FnMut() -> Duration) {
        for screen in self.here().waiters.values().flat_map(|waiter| &waiter.screens) {
            let reconnect_in_ms = spread().as_millis() as u64;
            let bye = ServerMessage::Bye { reconnect_in_ms };
            screen.urgent(WsType::Bye, encode(&bye));
            screen.close(close::RESTART);
        }
    }

    pub fn len(&self) -> usize {
        self.here().waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Here {
    /// What an answer of the store makes of a visitor, if they still wait. A turn given since wins, and so does one
    /// that a store forgot.
    fn stands(&self, arrival: &Arrival, stamp: Micros, said: Said<'_>) -> Option<Who> {
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

/// By place, so that a line with a cap takes the first.
fn in_order(arrivals: impl Iterator<Item = Arrival>) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = arrivals.collect();
    arrivals.sort_unstable_by_key(|arrival| (arrival.score, arrival.visitor));
    arrivals
}

impl View<'_> {
    pub fn tell(&self, who: Who, shown: &mut Shown) -> Standing {
        compose(self, who, shown)
    }
}
