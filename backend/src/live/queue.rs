//! What waits outside: the public state of the room at the edge, for buyers who wonder how many are behind them.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::message::Encoded;
use super::{Hub, Message};
use crate::outgoing::{Call, CallError, Origin};
use room::ids::RoomName;

const EVERY: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(2);

/// The part of the room's public state that pages are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// `open`, `queueing`, `prequeue`, `paused`, `closed`
    pub status: String,
    pub waiting: u64,
    #[serde(default, rename(serialize = "ratePerMinute"))]
    pub rate_per_minute: Option<u64>,
}

/// The newest state as it is sent; `None` before the first reading.
#[derive(Debug)]
pub(super) struct QueueNews(watch::Sender<Option<Encoded>>);

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the edge answers {0}")]
    Status(StatusCode),
    #[error("the answer of the edge cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Where the edge tells how a room stands.
#[derive(Debug, Clone)]
pub struct RoomAtEdge {
    pub edge: Origin,
    pub room: RoomName,
}

impl QueueNews {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Encoded>> {
        let mut news = self.0.subscribe();
        news.mark_changed();
        news
    }

    /// Wakes everybody who watches, unless nothing changed.
    fn put(&self, state: QueueState) {
        let news = Message::Queue(state).encode();
        self.0.send_if_modified(|last| {
            let changed = last.as_ref().is_none_or(|last| last.text != news.text);
            if changed {
                *last = Some(news);
            }
            changed
        });
    }
}

impl RoomAtEdge {
    /// Tells the sockets of the hub for as long as the program runs. Without sockets it asks nothing.
    pub async fn feed(&self, hub: &Hub) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if hub.is_empty() {
                continue;
            }
            match self.read().await {
                Ok(state) => hub.queue.put(state),
                Err(error) => tracing::debug!(error = %error, "the waiting room cannot be read"),
            }
        }
    }

    async fn read(&self) -> Result<QueueState, ReadError> {
        let path = format!("/rooms/{}", self.room);
        let call = Call { method: Method::GET, path: &path, headers: &[], body: String::new(), trace: None };
        let (status, body) = self.edge.call(call, LIMIT).await?;
        if status != StatusCode::OK {
            return Err(ReadError::Status(status));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
