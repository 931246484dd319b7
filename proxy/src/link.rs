//! One room's line to the store: who calls, what it knows, how long it took.

mod alone;
mod trip;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use room::ids::{Incarnation, NodeId, RoomName};
use room::node::Node;
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Control, Event, Head, Leave, Renewal, Renewed, Report,
    Survey, Witness,
};
use room::rules::Phase;
use store::{Store, StoreError, TuneError};
use tokio::sync::broadcast;

use crate::clock::RoomClock;
use crate::config::settings::RoomSettings;
use crate::metrics::{self, StoreOp};
use crate::random;

use self::alone::Alone;
use self::trip::{Kind, Tells, Trip};

/// Calls the store for one room. Every answer sets the room's clock and what this edge knows of the room.
///
/// While the store is away and the room is to go on without it, the calls go to a store of this edge's own.
pub struct Link {
    room: RoomName,
    id: NodeId,
    shared: Arc<dyn Store>,
    alone: ArcSwapOption<Alone>,
    settings: Arc<ArcSwap<RoomSettings>>,
    clock: Arc<RoomClock>,
    node: RwLock<Node>,
    last_call: Mutex<Option<Instant>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} of {:?})", self.room, self.id)
    }
}

/// Other calls of this node overlap with one by no more than this.
const OVERLAP: Duration = Duration::from_secs(1);

impl Link {
    pub fn new(
        id: NodeId,
        store: Arc<dyn Store>,
        settings: Arc<ArcSwap<RoomSettings>>,
        clock: Arc<RoomClock>,
    ) -> Self {
        Self {
            room: settings.load().name.clone(),
            id,
            shared: store,
            alone: ArcSwapOption::empty(),
            settings,
            clock,
            node: RwLock::default(),
            last_call: Mutex::default(),
        }
    }

    /// Where each stands, and where the room stood at that moment.
    pub async fn arrive(&self, arrivals: &[Arrival]) -> Result<Vec<(Arrived, Head)>, StoreError> {
        let trip = self.set_out(StoreOp::Arrive);
        let answer = self.back(&trip, trip.store.arrive(trip.call(), arrivals).await)?;
        self.note(|node| {
            for (&Arrival { visitor, ticket, .. }, arrived) in arrivals.iter().zip(&answer.value) {
                match *arrived {
                    Arrived::Session(session) | Arrived::LetIn(session) => {
                        node.entered(visitor, ticket, session);
                    }
                    Arrived::Spent => node.spent(visitor, ticket),
                    _ => {}
                }
            }
        });
        Ok(answer.value.into_iter().map(|arrived| (arrived, answer.head)).collect())
    }

    pub async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let trip = self.set_out(StoreOp::Claim);
        let answer = self.back(&trip, trip.store.claim(trip.call(), claims).await)?;
        self.note(|node| {
            for (claim, claimed) in claims.iter().zip(&answer.value) {
                if let Claimed::Session(session) = *claimed {
                    node.entered(claim.visitor, claim.ticket, session);
                }
            }
        });
        Ok(answer.value)
    }

    pub async fn leave(&self, leaves: &[Leave]) -> Result<(), StoreError> {
        let trip = self.set_out(StoreOp::Leave);
        self.back(&trip, trip.store.leave(trip.call(), leaves).await)?;
        self.note(|node| {
            for leave in leaves {
                if let Leave::Ended(visitor, Some(ticket)) = *leave {
                    node.spent(visitor, ticket);
                }
            }
        });
        Ok(())
    }

    pub async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, StoreError> {
        let trip = self.set_out(StoreOp::Renew);
        let answer = self.back(&trip, trip.store.renew(trip.call(), renewals).await)?;
        self.note(|node| {
            for (&Renewal { visitor, ticket, .. }, renewed) in renewals.iter().zip(&answer.value) {
                match *renewed {
                    Renewed::Session(session) => node.entered(visitor, ticket, session),
                    Renewed::Ended => node.spent(visitor, ticket),
                }
            }
        });
        Ok(answer.value)
    }

    /// Tells the store what this edge remembers.
    pub async fn restore(&self, report: &Report) -> Result<(), StoreError> {
        let trip = self.set_out(StoreOp::Restore);
        self.back(&trip, trip.store.restore(trip.call(), report).await).map(|answer| answer.value)
    }

    pub async fn admit(&self) -> Result<Event, StoreError> {
        let trip = self.set_out(StoreOp::Admit);
        self.back(&trip, trip.store.admit(trip.call()).await)
    }

    /// The `whole` of it for who knows nothing yet.
    pub async fn survey(&self, whole: bool) -> Result<Survey, StoreError> {
        let trip = self.set_out(StoreOp::Survey);
        self.back(&trip, trip.store.survey(trip.call(), whole).await)
    }

    /// The room that all edges share, whatever this edge does alone meanwhile.
    pub async fn survey_shared(&self, whole: bool) -> Result<Survey, StoreError> {
        let trip = self.set_out_shared(StoreOp::Survey);
        self.back(&trip, trip.store.survey(trip.call(), whole).await)
    }

    /// Changes the room that all edges share.
    pub async fn tune(&self, change: &Change) -> Result<Control, TuneError> {
        let trip = self.set_out_shared(StoreOp::Tune);
        self.back(&trip, trip.store.tune(trip.call(), change).await)
    }

    pub async fn missed(&self, seq: u64) -> Result<Option<Vec<Event>>, StoreError> {
        let trip = self.set_out(StoreOp::Missed);
        self.back(&trip, trip.store.missed(&self.room, seq).await)
    }

    /// The events of the room that all edges share.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.listen(&self.room)
    }

    /// The life of the store that was heard last; made up before the first answer, when nobody can be let in.
    pub fn incarnation(&self) -> Incarnation {
        self.ask(Node::incarnation).unwrap_or(Incarnation::from_random([0; 12]))
    }

    /// Goes on with a share of the room, if others share it and its state is known. Says whether it does so now.
    pub fn go_alone(&self) -> bool {
        let witness = self.ask(Node::witness).filter(|_| self.shared.is_shared() && !self.is_alone());
        let clock = Arc::clone(&self.clock);
        let alone = witness.map(|witness| Arc::new(Alone::begin(witness, Box::new(move || clock.now()))));
        let begins = alone.is_some();
        if begins {
            self.alone.store(alone);
        }
        begins
    }

    /// The store answers again: every call goes there.
    pub fn rejoin(&self) {
        self.alone.store(None);
    }

    pub fn is_alone(&self) -> bool {
        self.alone.load().is_some()
    }

    /// Reads what this edge knows of the room.
    pub fn ask<T>(&self, question: impl FnOnce(&Node) -> T) -> T {
        question(&self.node.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds to what this edge knows of the room.
    pub fn note<T>(&self, news: impl FnOnce(&mut Node) -> T) -> T {
        news(&mut self.node.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_out(&self, op: StoreOp) -> Trip {
        match self.alone.load_full() {
            Some(alone) => self.trip(op, alone.store(), Some(alone.share()), true),
            None => {
                self.trip(op, Arc::clone(&self.shared), self.ask(Node::witness), !self.shared.is_shared())
            }
        }
    }

    fn set_out_shared(&self, op: StoreOp) -> Trip {
        let witness = self.ask(Node::witness);
        let witness = match self.alone.load_full() {
            Some(alone) => witness.map(|witness| alone.returning_with(&witness)),
            None => witness,
        };
        self.trip(op, Arc::clone(&self.shared), witness, !self.shared.is_shared())
    }

    fn trip(&self, op: StoreOp, store: Arc<dyn Store>, witness: Option<Arc<Witness>>, alone: bool) -> Trip {
        let settings = self.settings.load_full();
        let phase = settings.rules.schedule.phase(self.clock.now());
        let caller = Caller {
            node: self.id,
            fresh: Incarnation::from_random(random::bytes()),
            witness,
            hold: settings.rules.queue_all || phase != Phase::Open,
            alone,
        };
        let last_call = *self.last_call.lock().unwrap_or_else(PoisonError::into_inner);
        let at_most = last_call.map_or(Duration::MAX, |last| last.elapsed() + OVERLAP);
        Trip { op, settings, store, caller, at_most, sent: Instant::now() }
    }

    fn back<T: Tells, E: Kind>(&self, trip: &Trip, result: Result<T, E>) -> Result<T, E> {
        let received = Instant::now();
        metrics::edge().store_took(trip.op, received - trip.sent);
        match &result {
            Ok(value) => {
                *self.last_call.lock().unwrap_or_else(PoisonError::into_inner) = Some(trip.sent);
                if let Some(head) = value.head() {
                    self.answered(trip, head, received);
                }
            }
            Err(error) => metrics::edge().store_failed(trip.op, error.kind()),
        }
        result
    }

    fn answered(&self, trip: &Trip, head: Head, received: Instant) {
        // A store of our own runs by this very clock.
        if Arc::ptr_eq(&trip.store, &self.shared) {
            self.clock.calibrate(head.clock, trip.sent, received);
        }
        self.note(|node| node.answered(head));
    }
}
