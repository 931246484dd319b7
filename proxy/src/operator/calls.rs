//! The two calls of the store that operators need.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use room::queue::{Change, Control, Survey};
use store::{StoreError, TuneError};

use crate::config::settings::RoomSettings;
use crate::house::House;
use crate::link::Link;

/// Looks at a room and changes it.
#[async_trait]
pub trait RoomCalls: Send + Sync + 'static {
    async fn survey(&self, room: &RoomSettings) -> Result<Survey, StoreError>;

    async fn tune(&self, room: &RoomSettings, change: &Change) -> Result<Control, TuneError>;
}

/// Calls by each room's own line to the store.
#[derive(Debug)]
pub struct HouseCalls {
    house: Arc<ArcSwap<House>>,
}

impl HouseCalls {
    pub fn new(house: Arc<ArcSwap<House>>) -> Self {
        Self { house }
    }

    fn link(&self, room: &RoomSettings) -> Result<Arc<Link>, StoreError> {
        let house = self.house.load();
        let hall = house.halls.get(&room.name);
        hall.map(|hall| Arc::clone(&hall.link))
            .ok_or_else(|| StoreError::Failed("the room was taken down".into()))
    }
}

#[async_trait]
impl RoomCalls for HouseCalls {
    async fn survey(&self, room: &RoomSettings) -> Result<Survey, StoreError> {
        self.link(room)?.survey_shared(false).await
    }

    async fn tune(&self, room: &RoomSettings, change: &Change) -> Result<Control, TuneError> {
        self.link(room)?.tune(change).await
    }
}
