//! `GET /ws`: from a request to a live socket.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::Shop;
use crate::error::Error;
use crate::live::converse;
use crate::passes::Caller;

/// Pages say `client.ping` and `client.ack`; nothing longer is read.
const MAX_MESSAGE_BYTES: usize = 4096;
const READ_BUFFER_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ask {
    /// The event of this process if absent.
    event_id: Option<String>,
}

#[utoipa::path(
    get,
    path = "/ws",
    operation_id = "openSocket",
    tag = "live",
    description = "A WebSocket with stock, orders and the waiting room.",
    params(("eventId" = Option<String>, Query, description = "of this process if absent")),
    responses((status = 101, description = "A WebSocket"), super::openapi::Problems),
)]
pub(super) async fn open(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    ask: Result<Query<Ask>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let (upgrade, Query(ask)) = (upgrade?, ask?);
    let event_id = ask.event_id.as_deref().unwrap_or(shop.event_id.as_str());
    let event = shop.find(event_id).await?;
    let seat = shop.hub.join(&event.id, caller.user_id, event.stock).ok_or(Error::SocketsFull)?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(|socket| converse(socket, seat)))
}
