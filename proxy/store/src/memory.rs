//! The embedded store: the queue itself, for one edge.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use room::ids::RoomName;
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Event, Leave, Now, Queue, Renewal, Renewed, Report,
    Survey,
};
use room::time::Micros;
use tokio::sync::broadcast;

use crate::{Answer, Call, EVENT_BACKLOG, EVENTS_KEPT, Store, StoreError, TuneError};

/// Queues in this process.
pub struct Memory {
    clock: Clock,
    rooms: Mutex<HashMap<RoomName, Room>>,
}

/// Where the time comes from: the wall clock, or a test.
pub type Clock = Box<dyn Fn() -> Micros + Send + Sync>;

/// A room as it was.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    queue: Option<Queue>,
    kept: VecDeque<Arc<Event>>,
}

struct Room {
    queue: Option<Queue>,
    sender: broadcast::Sender<Arc<Event>>,
    kept: VecDeque<Arc<Event>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} rooms)", self.rooms().len())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_clock(Box::new(|| SystemTime::now().into()))
    }
}

impl Memory {
    pub fn with_clock(clock: Clock) -> Self {
        Self { clock, rooms: Mutex::default() }
    }

    /// The queue of a room as it stands, for tests that compare stores.
    pub fn queue(&self, room: &RoomName) -> Option<Queue> {
        self.rooms().get(room).and_then(|room| room.queue.clone())
    }

    /// A room with its events, for tests in which it is set back to an older copy.
    #[doc(hidden)]
    pub fn snapshot(&self, room: &RoomName) -> Snapshot {
        let rooms = self.rooms();
        let kept = rooms.get(room).map(|room| (room.queue.clone(), room.kept.clone()));
        let (queue, kept) = kept.unwrap_or_default();
        Snapshot { queue, kept }
    }

    /// Goes back to a copy; to [`Snapshot::default`] it has lost everything.
    #[doc(hidden)]
    pub fn set_back(&self, room: &RoomName, snapshot: Snapshot) {
        let mut rooms = self.rooms();
        let room = rooms.entry(room.clone()).or_default();
        (room.queue, room.kept) = (snapshot.queue, snapshot.kept);
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Room>> {
        // No operation of the queue can stop half-way, so a poisoned lock still guards a whole queue.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, call: Call<'_>, act: impl FnOnce(&mut Queue, Now) -> (T, Option<Event>)) -> Answer<T> {
        let now = Now { time: (self.clock)(), at_most: call.at_most };
        let mut rooms = self.rooms();
        let room = rooms.entry(call.room.clone()).or_default();
        let queue = room.queue.get_or_insert_with(|| Queue::open(call.rules, now, call.caller));
        let (value, event) = act(queue, now);
        let answer = Answer { head: queue.head(), waiting: queue.counts().waiting, value };
        if let Some(event) = event {
            room.publish(event);
        }
        answer
    }
}

impl Default for Room {
    fn default() -> Self {
        Self { queue: None, sender: broadcast::Sender::new(EVENT_BACKLOG), kept: VecDeque::new() }
    }
}

impl Room {
    fn publish(&mut self, event: Event) {
        let event = Arc::new(event);
        if self.kept.len() == EVENTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(&event));
        // Nobody listening is no error.
        let _ = self.sender.send(event);
    }
}

#[async_trait]
impl Store for Memory {
    async fn arrive(&self, call: Call<'_>, arrivals: &[Arrival]) -> Result<Answer<Vec<Arrived>>, StoreError> {
        Ok(self.with(call, |queue, now| (queue.arrive(call.rules, now, call.caller, arrivals), None)))
    }

    async fn admit(&self, call: Call<'_>) -> Result<Event, StoreError> {
        let tick = |queue: &mut Queue, now| {
            let event = queue.admit(call.rules, now, call.caller);
            (event.clone(), Some(event))
        };
        Ok(self.with(call, tick).value)
    }

    async fn claim(&self, call: Call<'_>, claims: &[Claim]) -> Result<Answer<Vec<Claimed>>, StoreError> {
        Ok(self.with(call, |queue, now| (queue.claim(call.rules, now, call.caller, claims), None)))
    }

    async fn leave(&self, call: Call<'_>, leaves: &[Leave]) -> Result<Answer<()>, StoreError> {
        Ok(self.with(call, |queue, now| ((), queue.leave(call.rules, now, call.caller, leaves))))
    }

    async fn renew(&self, call: Call<'_>, renewals: &[Renewal]) -> Result<Answer<Vec<Renewed>>, StoreError> {
        Ok(self.with(call, |queue, now| (queue.renew(call.rules, now, call.caller, renewals), None)))
    }

    async fn restore(&self, call: Call<'_>, report: &Report) -> Result<Answer<()>, StoreError> {
        Ok(self.with(call, |queue, now| (queue.restore(call.rules, now, call.caller, report), None)))
    }

    async fn survey(&self, call: Call<'_>, whole: bool) -> Result<Survey, StoreError> {
        Ok(self.with(call, |queue, now| (queue.survey(call.rules, now, call.caller, whole), None)).value)
    }

    async fn tune(&self, call: Call<'_>, change: &Change) -> Result<Control, TuneError> {
        let tune = |queue: &mut Queue, now| match queue.tune(call.rules, now, call.caller, change) {
            Ok(event) => (Ok(queue.control().clone()), event),
            Err(conflict) => (Err(conflict.into()), None),
        };
        self.with(call, tune).value
    }

    fn listen(&self, room: &RoomName) -> broadcast::Receiver<Arc<Event>> {
        self.rooms().entry(room.clone()).or_default().sender.subscribe()
    }

    async fn missed(&self, room: &RoomName, seq: u64) -> Result<Option<Vec<Event>>, StoreError> {
        let rooms = self.rooms();
        let Some(room) = rooms.get(room) else {
            return Ok(Some(Vec::new()));
        };
        if room.queue.as_ref().is_none_or(|queue| queue.head().seq <= seq) {
            return Ok(Some(Vec::new()));
        }
        let after = room.kept.iter().filter(|event| event.head.seq > seq);
        let events: Vec<Event> = after.map(|event| Event::clone(event)).collect();
        Ok((events.first().map(|event| event.head.seq) == Some(seq + 1)).then_some(events))
    }

    fn is_shared(&self) -> bool {
        false
    }
}
