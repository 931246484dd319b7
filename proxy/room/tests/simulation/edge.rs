//! One edge process: what it knows, who waits at it, when it calls the store. It decides as the program does
//! (`proxy/src/{ticker,hall,hub,link}.rs`); what it asks and says travels through the [`crate::world`].

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use room::gate::Door;
use room::ids::{Incarnation, NodeId, VisitorId};
use room::node::Node;
use room::queue::{Arrival, Control, Counts, Event, Mode, Restore};
use room::rules::Phase;
use room::time::Micros;

use crate::time::{At, MS, SECOND, START};

pub(crate) const RETRY_LEAST: At = 200 * MS;
pub(crate) const RETRY_MOST: At = 500 * MS;
/// Nobody is away before this.
const AWAY: At = 15 * SECOND;
/// A turn is remembered this long after its deadline.
const AFTER_TURN: At = 30 * SECOND;
/// An answer takes less than this from the store to the hub.
const TURNS_REMEMBERED: At = 10 * SECOND;

#[allow(clippy::struct_excessive_bools, reason = "what befalls an edge is independent")]
pub(crate) struct Edge {
    pub(crate) id: NodeId,
    /// Counts the lives of this process: news for a former one are nobody's.
    pub(crate) boot: u32,
    pub(crate) up: bool,
    /// Stopped (SIGSTOP) until then.
    pub(crate) frozen_until: At,
    /// Cut from the store until then.
    pub(crate) cut_until: At,
    /// Asked to stop: takes nobody new.
    pub(crate) leaving: bool,
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) last_call: Option<At>,
    pub(crate) known: Option<Known>,
    pub(crate) hub: Hub,
    pub(crate) ticker: Ticker,
    pub(crate) breaker: Breaker,
    /// Until when nobody need knock.
    pub(crate) busy_until: Micros,
    pub(crate) lost: bool,
    /// The store is in another life: once it has settled, what all edges reported is asked for.
    pub(crate) forgot: bool,
    pub(crate) owes: Owes,
    /// Sessions that were extended here, until the store has taken them in.
    pub(crate) lent: Vec<Restore>,
    /// Events after this number were missed and have still to be read back.
    pub(crate) missed: Option<u64>,
    /// Memory was full: it is tried again then.
    pub(crate) full_until: At,
    pub(crate) last_stamp: u64,
}

/// What the store has still to be told by this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owes {
    Nothing,
    /// The store was away: sessions extended meanwhile, and who waits here.
    Lent,
    /// It is another life of the store: everything.
    All,
}

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) counts: Counts,
    pub(crate) control: Control,
    pub(crate) settling_until: Option<Micros>,
}

impl Edge {
    pub(crate) fn new(id: NodeId, boot: u32, clock: Clock) -> Self {
        Self {
            id,
            boot,
            up: true,
            frozen_until: 0,
            cut_until: 0,
            leaving: false,
            node: Node::default(),
            clock,
            last_call: None,
            known: None,
            hub: Hub::default(),
            ticker: Ticker::default(),
            breaker: Breaker::default(),
            busy_until: Micros::ZERO,
            lost: false,
            forgot: false,
            owes: Owes::Nothing,
            lent: Vec::new(),
            missed: None,
            full_until: 0,
            last_stamp: 0,
        }
    }

    pub(crate) fn now(&self, at: At) -> Micros {
        self.clock.now(at)
    }

    /// What the gate may know without a trip.
    pub(crate) fn door(&self, at: At) -> Door {
        let queueing = self.lost
            || self.busy_until > self.now(at)
            || self.known.as_ref().is_none_or(|known| {
                known.counts.waiting + known.counts.returning > 0
                    || known.control.paused.is_some()
                    || known.control.mode != Mode::Open
            });
        Door { phase: Phase::Open, closed: false, queueing }
    }

    pub(crate) fn stamp(&mut self, at: At) -> Micros {
        self.last_stamp = self.now(at).0.max(self.last_stamp + 1);
        Micros(self.last_stamp)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.node.incarnation().unwrap_or(Incarnation::from_random([0; 12]))
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.known
            .as_ref()
            .is_none_or(|known| known.counts.waiting + known.counts.returning + known.counts.turns > 0)
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.counts.active > 0)
    }

    /// Everything that a store in a new life has to be told, but for waiters.
    pub(crate) fn report(&self, at: At) -> Vec<Restore> {
        let now = self.now(at);
        let mut items = self.node.report(now);
        items.extend(self.hub.open_turns());
        items
    }

    /// Sessions that this edge extended by itself and that the store has not taken in.
    pub(crate) fn lent(&mut self, at: At) -> Vec<Restore> {
        let now = self.now(at);
        let lent = self.node.take_lent(now);
        self.lent.extend(lent);
        self.lent.clone()
    }
}

/// The store's clock, kept running between two answers (`proxy/src/clock.rs`).
pub(crate) struct Clock {
    /// Parts in a million that this machine's monotonic clock is fast.
    drift: i64,
    /// The store's clock when the monotonic one was at zero.
    base: u64,
    calibrated: bool,
}

impl Clock {
    /// `skew`: how far this machine's wall clock is from true time, in microseconds.
    pub(crate) fn new(skew: i64, drift: i64) -> Self {
        Self { drift, base: START.saturating_add_signed(skew), calibrated: false }
    }

    pub(crate) fn monotonic(&self, at: At) -> u64 {
        at.saturating_add_signed(at.cast_signed() * self.drift / 1_000_000)
    }

    pub(crate) fn now(&self, at: At) -> Micros {
        Micros(self.base + self.monotonic(at))
    }

    pub(crate) fn calibrate(&mut self, told: Micros, sent: At, received: At) {
        let middle = u64::midpoint(self.monotonic(sent), self.monotonic(received));
        let difference = told.0.saturating_sub(middle).cast_signed() - self.base.cast_signed();
        let jump = !std::mem::replace(&mut self.calibrated, true) || difference.abs() > 100_000;
        self.base = self.base.saturating_add_signed(if jump { difference } else { difference / 8 });
    }
}

/// Leaves a server alone that does not answer (`proxy/store/src/redis/breaker.rs`).
#[derive(Default)]
pub(crate) struct Breaker {
    failures: u32,
    pause: At,
    until: At,
    probing: bool,
}

impl Breaker {
    pub(crate) fn admits(&mut self, now: At) -> bool {
        if self.failures < 3 {
            return true;
        }
        let admits = now >= self.until && !self.probing;
        self.probing |= admits;
        admits
    }

    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, now: At) {
        self.failures += 1;
        self.probing = false;
        if self.failures >= 3 {
            self.pause = (self.pause * 2).clamp(100 * MS, 700 * MS);
            self.until = now + self.pause;
        }
    }
}

/// When to call the store, and what is still to be done before.
#[derive(Default)]
pub(crate) struct Ticker {
    pub(crate) due: At,
    /// Names the newest timer: older ones are void.
    pub(crate) timer: u64,
    pub(crate) spoke: At,
    pub(crate) retry: At,
    /// Whether the store was told the file's limits.
    pub(crate) offered: bool,
    pub(crate) jobs: VecDeque<Job>,
    /// A job's call is under way.
    pub(crate) current: Option<Job>,
    pub(crate) inbox: VecDeque<Rc<Event>>,
}

/// One call of the ticker.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Tick,
    Survey,
    SurveyAnew,
    Offer,
    ReadBack {
        after: u64,
        before: u64,
    },
    Report(Vec<Restore>),
    Present(Vec<Arrival>),
    /// Everybody who waits here by then. One that leaves presents nobody: it would take places from the edges to which
    /// they go.
    PresentAll,
    /// Everything was told to that life; by one that leaves it was not.
    Complete(Option<Incarnation>),
    /// The last of a bringing back: nothing is owed any more.
    Told,
}

/// A person's browser window. Its number grows with every page: what is said to a former one is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) who: usize,
    pub(crate) tab: usize,
    pub(crate) page: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    InLine { score: u64, returning: bool },
    Turn { deadline: Micros },
}

pub(crate) struct Waiter {
    pub(crate) arrival: Arrival,
    pub(crate) stands: Stands,
    pub(crate) seen: At,
    pub(crate) screens: Vec<Screen>,
}

impl Waiter {
    /// The ticket, as the edge presents it by itself.
    fn remembered(&self) -> Arrival {
        Arrival { here: !self.screens.is_empty(), ..self.arrival }
    }
}

/// Those who wait at one edge (`proxy/src/hub.rs`).
#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) waiters: BTreeMap<VisitorId, Waiter>,
    /// Turns heard of lately: number of the event, deadline, when.
    recent: BTreeMap<VisitorId, (u64, Micros, At)>,
    /// Places that were given up lately: number of the event, when.
    given_up: BTreeMap<VisitorId, (u64, At)>,
}

impl Hub {
    pub(crate) fn note_turn(&mut self, visitor: VisitorId, seq: u64, deadline: Micros, at: At) {
        self.recent.insert(visitor, (seq, deadline, at));
        if self.recent.len() > 200 {
            self.recent.retain(|_, (_, _, heard)| at - *heard <= TURNS_REMEMBERED);
        }
    }

    /// What an answer given after event `seq` makes of somebody who waits. A turn given since wins.
    pub(crate) fn corrected(&self, visitor: VisitorId, stands: Stands, seq: u64, at: At) -> Stands {
        match (stands, self.recent.get(&visitor)) {
            (Stands::InLine { .. }, Some(&(newest, deadline, heard)))
                if newest > seq && at - heard <= TURNS_REMEMBERED =>
            {
                Stands::Turn { deadline }
            }
            _ => stands,
        }
    }

    pub(crate) fn note_absent(&mut self, visitors: &[VisitorId], seq: u64, at: At) {
        self.given_up.retain(|_, (_, heard)| at - *heard <= TURNS_REMEMBERED);
        self.given_up.extend(visitors.iter().map(|&visitor| (visitor, (seq, at))));
    }

    /// Whether a place was given up after the event `seq`: an answer from then says nothing any more.
    pub(crate) fn was_given_up(&self, visitor: VisitorId, seq: u64) -> bool {
        self.given_up.get(&visitor).is_some_and(|&(newest, _)| newest > seq)
    }

    pub(crate) fn forget(&mut self, visitor: VisitorId) -> Option<Waiter> {
        self.recent.remove(&visitor);
        self.waiters.remove(&visitor)
    }

    pub(crate) fn detach(&mut self, visitor: VisitorId, screen: Screen, at: At) {
        if let Some(waiter) = self.waiters.get_mut(&visitor) {
            waiter.screens.retain(|open| *open != screen);
            waiter.seen = at;
        }
    }

    /// Every socket is closed by this edge.
    pub(crate) fn close_all(&mut self, at: At) -> Vec<Screen> {
        let close = |waiter: &mut Waiter| {
            waiter.seen = at;
            std::mem::take(&mut waiter.screens)
        };
        self.waiters.values_mut().flat_map(close).collect()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.waiters.values().map(Waiter::remembered).collect()
    }

    pub(crate) fn seen_here(&self, visitors: &[VisitorId], at: At) -> Vec<Arrival> {
        let waiters = visitors.iter().filter_map(|visitor| self.waiters.get(visitor));
        let seen = |waiter: &&Waiter| !waiter.screens.is_empty() || at - waiter.seen < AWAY;
        waiters.filter(seen).map(Waiter::remembered).collect()
    }

    /// Takes out those who are away, and turns that are long over.
    pub(crate) fn absent(&mut self, at: At, now: Micros) -> Vec<VisitorId> {
        let mut away = Vec::new();
        self.waiters.retain(|visitor, waiter| match waiter.stands {
            Stands::Turn { deadline } => now.0 < deadline.0 + AFTER_TURN,
            Stands::InLine { .. } => {
                let is_away = waiter.screens.is_empty() && at - waiter.seen > AWAY;
                if is_away {
                    away.push(*visitor);
                }
                !is_away
            }
        });
        away
    }

    /// The turns that are not known to be over. Their deadlines say nothing: an outage extends them.
    fn open_turns(&self) -> impl Iterator<Item = Restore> {
        self.waiters.iter().filter_map(|(&visitor, waiter)| match waiter.stands {
            Stands::Turn { .. } => Some(Restore::Turn { visitor, ticket: waiter.arrival.ticket }),
            Stands::InLine { .. } => None,
        })
    }

    pub(crate) fn has_turn(&self, visitor: VisitorId) -> bool {
        let stands = self.waiters.get(&visitor).map(|waiter| waiter.stands);
        matches!(stands, Some(Stands::Turn { .. }))
    }
}
