//! The two calls of the store that operators need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use room::ids::RoomName;
use room::queue::{Caller, Change, Control, Survey};
use store::{Call, Store, StoreError, TuneError};

use crate::config::settings::RoomSettings;

/// Looks at a room and changes it.
#[async_trait]
pub trait RoomCalls: Send + Sync + 'static {
    async fn survey(&self, room: &RoomSettings) -> Result<Survey, StoreError>;

    async fn tune(&self, room: &RoomSettings, change: &Change) -> Result<Control, TuneError>;
}

/// Calls in the name of one node, beside whatever else the node does.
pub struct DirectCalls {
    store: Arc<dyn Store>,
    caller: Caller,
    last: Mutex<HashMap<RoomName, Instant>>,
}

impl fmt::Debug for DirectCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectCalls({:?})", self.caller.node)
    }
}

impl DirectCalls {
    pub fn new(store: Arc<dyn Store>, caller: Caller) -> Self {
        Self { store, caller, last: Mutex::default() }
    }

    fn call<'a>(&self, room: &'a RoomSettings) -> Call<'a> {
        let now = Instant::now();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(room.name.clone(), now);
        let at_most = last.map_or(Duration::MAX, |last| now.duration_since(last) + Duration::from_secs(1));
        Call { room: &room.name, rules: &room.rules, caller: self.caller, at_most }
    }
}

#[async_trait]
impl RoomCalls for DirectCalls {
    async fn survey(&self, room: &RoomSettings) -> Result<Survey, StoreError> {
        self.store.survey(self.call(room)).await
    }

    async fn tune(&self, room: &RoomSettings, change: &Change) -> Result<Control, TuneError> {
        self.store.tune(self.call(room), change).await
    }
}
