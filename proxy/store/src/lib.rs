//! Where the queues live.
//!
//! [`Store`] has one method for each operation of [`room::queue::Queue`]: one atomic round trip each, in batches,
//! safe from any node at any time. [`memory::Memory`] is the queue itself behind a mutex, for a single edge;
//! [`redis::Redis`] does the same in Lua for a fleet. One conformance suite holds both to the same histories.
//!
//! Nothing here knows HTTP.

pub mod batch;
pub mod memory;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use room::ids::RoomName;
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Control, Event, Head, Leave, Renewal, Renewed, Report,
    Survey, VersionConflict,
};
use room::rules::Rules;
use tokio::sync::broadcast;

/// Events that a slow listener may lag behind before it has to read them back with [`Store::missed`].
pub const EVENT_BACKLOG: usize = 256;
/// Events that can be read back: two minutes of ticks.
pub const EVENTS_KEPT: usize = 1200;

/// What every call of a room brings.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub room: &'a RoomName,
    pub rules: &'a Rules,
    /// Says with [`Caller::alone`] whether the store [is shared](Store::is_shared).
    pub caller: &'a Caller,
    /// How far the queue's clock may move: the caller's own monotonic time since its last call of this room, plus
    /// one second; [`Duration::MAX`] on the first.
    pub at_most: Duration,
}

/// The result of a call, and where the room stood after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    pub head: Head,
    /// Length of the line.
    pub waiting: u64,
    pub value: T,
}

/// Keeps the queues of all rooms.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Presents tickets; answers in the same order.
    async fn arrive(&self, call: Call<'_>, arrivals: &[Arrival]) -> Result<Answer<Vec<Arrived>>, StoreError>;

    /// The tick. The event is also published to every listener.
    async fn admit(&self, call: Call<'_>) -> Result<Event, StoreError>;

    /// Turns into sessions; answers in the same order.
    async fn claim(&self, call: Call<'_>, claims: &[Claim]) -> Result<Answer<Vec<Claimed>>, StoreError>;

    /// Gives back places, turns and sessions.
    async fn leave(&self, call: Call<'_>, leaves: &[Leave]) -> Result<Answer<()>, StoreError>;

    /// Extends sessions in use; answers in the same order.
    async fn renew(&self, call: Call<'_>, renewals: &[Renewal]) -> Result<Answer<Vec<Renewed>>, StoreError>;

    /// Takes in what an edge remembers; long reports are cut into several calls, and are complete with the last.
    async fn restore(&self, call: Call<'_>, report: &Report) -> Result<Answer<()>, StoreError>;

    /// The room at one glance, the `whole` of it for who knows nothing yet; also tells that the node lives.
    async fn survey(&self, call: Call<'_>, whole: bool) -> Result<Survey, StoreError>;

    /// Operator control, versioned. Every edge hears of it by an event.
    async fn tune(&self, call: Call<'_>, change: &Change) -> Result<Control, TuneError>;

    /// The events of a room from now on.
    fn listen(&self, room: &RoomName) -> broadcast::Receiver<Arc<Event>>;

    /// Events after `seq`, oldest first; `None` when they are no longer kept and the caller has to ask for its own
    /// waiters.
    async fn missed(&self, room: &RoomName, seq: u64) -> Result<Option<Vec<Event>>, StoreError>;

    /// Whether other processes can know these rooms: one that begins anew must let them speak first.
    fn is_shared(&self) -> bool;
}

/// Why the store did not do what was asked. Nothing was done, except after [`StoreError::TimedOut`]: then the
/// outcome is unknown, and repeating the call is safe.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the store at {address} cannot be reached: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("the store did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the store's memory is full: raise its maxmemory or let the line drain")]
    Full,
    /// It was silent too often, and is left alone for a moment.
    #[error("the store has not answered for {down_for:?} and is tried again in {retry_in:?}; last: {cause}")]
    Open { down_for: Duration, retry_in: Duration, cause: Arc<StoreError> },
    #[error("the store answered with an error: {0}")]
    Failed(String),
}

impl StoreError {
    /// A label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Full => "full",
            Self::Open { .. } => "open",
            Self::Failed(_) => "failed",
        }
    }

    /// Nobody answers there; otherwise it is there and said no.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut(_) | Self::Open { .. })
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum TuneError {
    #[error(transparent)]
    Conflict(#[from] VersionConflict),
    #[error(transparent)]
    Store(#[from] StoreError),
}
