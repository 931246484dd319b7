//! One room's line to the store: who calls, what it knows, how long it took.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use room::ids::{Incarnation, NodeId, RoomName};
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Control, Event, Head, Leave, Renewal, Renewed, Survey,
    Witness,
};
use room::rules::Phase;
use store::{Answer, Call, Store, StoreError, TuneError};

use crate::clock::RoomClock;
use crate::config::settings::RoomSettings;
use crate::metrics::{self, StoreOp};
use crate::random;

/// Calls the store for one room. Every answer sets the room's clock and what this node has witnessed.
pub struct Link {
    room: RoomName,
    node: NodeId,
    store: Arc<dyn Store>,
    settings: Arc<ArcSwap<RoomSettings>>,
    clock: Arc<RoomClock>,
    memory: Mutex<Remembered>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} of {:?})", self.room, self.node)
    }
}

#[derive(Default)]
struct Remembered {
    last_call: Option<Instant>,
    witness: Option<Witness>,
}

/// Other calls of this node overlap with one by no more than this.
const OVERLAP: Duration = Duration::from_secs(1);

impl Link {
    pub fn new(
        node: NodeId,
        store: Arc<dyn Store>,
        settings: Arc<ArcSwap<RoomSettings>>,
        clock: Arc<RoomClock>,
    ) -> Self {
        let room = settings.load().name.clone();
        Self { room, node, store, settings, clock, memory: Mutex::default() }
    }

    /// Where each stands, with the number of the newest event at that moment.
    pub async fn arrive(&self, arrivals: &[Arrival]) -> Result<Vec<(Arrived, u64)>, StoreError> {
        let trip = self.set_out(StoreOp::Arrive);
        let answer = self.back(&trip, self.store.arrive(trip.call(), arrivals).await)?;
        Ok(answer.value.into_iter().map(|arrived| (arrived, answer.head.seq)).collect())
    }

    pub async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let trip = self.set_out(StoreOp::Claim);
        self.back(&trip, self.store.claim(trip.call(), claims).await).map(|answer| answer.value)
    }

    pub async fn leave(&self, leaves: &[Leave]) -> Result<(), StoreError> {
        let trip = self.set_out(StoreOp::Leave);
        self.back(&trip, self.store.leave(trip.call(), leaves).await).map(|answer| answer.value)
    }

    pub async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, StoreError> {
        let trip = self.set_out(StoreOp::Renew);
        self.back(&trip, self.store.renew(trip.call(), renewals).await).map(|answer| answer.value)
    }

    pub async fn admit(&self) -> Result<Event, StoreError> {
        let trip = self.set_out(StoreOp::Admit);
        self.back(&trip, self.store.admit(trip.call()).await)
    }

    /// As one who knows nothing yet: with every session that was ended before its time.
    pub async fn survey_anew(&self) -> Result<Survey, StoreError> {
        let mut trip = self.set_out(StoreOp::Survey);
        trip.caller.witness = None;
        self.back(&trip, self.store.survey(trip.call()).await)
    }

    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let trip = self.set_out(StoreOp::Survey);
        self.back(&trip, self.store.survey(trip.call()).await)
    }

    pub async fn tune(&self, change: &Change) -> Result<Control, TuneError> {
        let trip = self.set_out(StoreOp::Tune);
        self.back(&trip, self.store.tune(trip.call(), change).await)
    }

    pub async fn missed(&self, seq: u64) -> Result<Option<Vec<Event>>, StoreError> {
        let trip = self.set_out(StoreOp::Missed);
        self.back(&trip, self.store.missed(&self.room, seq).await)
    }

    pub fn listen(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        self.store.listen(&self.room)
    }

    /// The life of the store that answered last; made up before the first answer, when nobody can be let in.
    pub fn incarnation(&self) -> Incarnation {
        let witness = self.remembered().witness;
        witness.map_or(Incarnation::from_random([0; 12]), |witness| witness.incarnation)
    }

    /// Notes an event that came without a call.
    pub fn witness(&self, head: Head) {
        let witness =
            Witness { incarnation: head.incarnation, seq: head.seq, clock: head.clock, front: head.front };
        self.remembered().witness = Some(witness);
    }

    fn set_out(&self, op: StoreOp) -> Trip {
        let settings = self.settings.load_full();
        let phase = settings.rules.schedule.phase(self.clock.now());
        let memory = self.remembered();
        let caller = Caller {
            node: self.node,
            fresh: Incarnation::from_random(random::bytes()),
            witness: memory.witness,
            hold: settings.rules.queue_all || phase != Phase::Open,
        };
        let at_most = memory.last_call.map_or(Duration::MAX, |last| last.elapsed() + OVERLAP);
        Trip { op, settings, caller, at_most, sent: Instant::now() }
    }

    fn back<T: Tells, E: Kind>(&self, trip: &Trip, result: Result<T, E>) -> Result<T, E> {
        let received = Instant::now();
        metrics::edge().store_took(trip.op, received - trip.sent);
        match &result {
            Ok(value) => {
                self.remembered().last_call = Some(trip.sent);
                if let Some(head) = value.head() {
                    self.clock.calibrate(head.clock, trip.sent, received);
                    self.witness(head);
                }
            }
            Err(error) => metrics::edge().store_failed(trip.op, error.kind()),
        }
        result
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call on its way.
struct Trip {
    op: StoreOp,
    settings: Arc<RoomSettings>,
    caller: Caller,
    at_most: Duration,
    sent: Instant,
}

impl Trip {
    fn call(&self) -> Call<'_> {
        Call {
            room: &self.settings.name,
            rules: &self.settings.rules,
            caller: self.caller,
            at_most: self.at_most,
        }
    }
}

/// What an answer tells of where the room stands.
trait Tells {
    fn head(&self) -> Option<Head> {
        None
    }
}

impl<T> Tells for Answer<T> {
    fn head(&self) -> Option<Head> {
        Some(self.head)
    }
}

impl Tells for Event {
    fn head(&self) -> Option<Head> {
        Some(self.head)
    }
}

impl Tells for Survey {
    fn head(&self) -> Option<Head> {
        Some(self.head)
    }
}

impl Tells for Control {}
impl Tells for Option<Vec<Event>> {}

/// The label of a failure.
trait Kind {
    fn kind(&self) -> &'static str;
}

impl Kind for StoreError {
    fn kind(&self) -> &'static str {
        StoreError::kind(self)
    }
}

impl Kind for TuneError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::Store(error) => error.kind(),
        }
    }
}
