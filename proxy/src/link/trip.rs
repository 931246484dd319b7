use std::sync::Arc;
use std::time::{Duration, Instant};

use room::queue::{Caller, Control, Event, Head, Survey};
use store::{Answer, Call, Store, StoreError, TuneError};

use crate::config::settings::RoomSettings;
use crate::metrics::StoreOp;

/// One call on its way.
pub(super) struct Trip {
    pub(super) op: StoreOp,
    pub(super) settings: Arc<RoomSettings>,
    pub(super) store: Arc<dyn Store>,
    pub(super) caller: Caller,
    pub(super) at_most: Duration,
    pub(super) sent: Instant,
}

impl Trip {
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            room: &self.settings.name,
            rules: &self.settings.rules,
            caller: &self.caller,
            at_most: self.at_most,
        }
    }
}

/// What an answer tells of where the room stands.
pub(super) trait Tells {
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
pub(super) trait Kind {
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
