//! What browsers and apps see: one object for every answer about a place, and the messages of the socket.

use serde::{Deserialize, Serialize};

use crate::ids::RoomName;

/// The WebSocket subprotocol of the waiting room.
pub const SUBPROTOCOL: &str = "vestibule.v1";

/// Where a visitor stands: the same object in HTTP answers and in [`ServerMessage::Update`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub room: RoomName,
    pub state: State,
    /// 1-based; `None` while the place is being secured. Within 2 % of the rank at `as_of`, exact for the first 100.
    pub position: Option<u64>,
    pub ahead: Option<u64>,
    /// Length of the line.
    pub waiting: u64,
    /// `None` while paused, or when nothing is known yet.
    pub estimate: Option<Estimate>,
    /// From 0 to 1: how much of the way from where this visitor began is done.
    pub progress: Option<f64>,
    pub rate_per_minute: u64,
    pub paused: Option<Paused>,
    /// The operator's words to those who wait.
    pub message: Option<String>,
    /// RFC 3339; set in state `turn`.
    pub claim_expires_at: Option<String>,
    /// RFC 3339; set before a scheduled opening.
    pub opens_at: Option<String>,
    pub close_reason: Option<String>,
    /// When to ask again, if no socket is open.
    pub next_update_seconds: u32,
    /// Only in the answer to a join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// RFC 3339: the instant for which the position holds.
    pub as_of: String,
}

/// What a visitor is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Before the opening of a scheduled room.
    Prequeue,
    /// In the line, but those who came a moment earlier may still appear in front.
    Securing,
    Waiting,
    /// May claim: load the original address, or `POST enter`.
    Turn,
    /// Has a session.
    Admitted,
    /// The place, turn or session is over.
    Expired,
    /// The room takes nobody.
    Closed,
}

/// A range for the remaining wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub p50_seconds: u64,
    pub p90_seconds: u64,
}

/// Since when (RFC 3339) and why nobody is admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub since: String,
    pub reason: Option<String>,
}

/// From the edge, one JSON object a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ServerMessage {
    #[serde(rename = "queue.update")]
    Update(Box<Standing>),
    /// It is this visitor's turn; never dropped.
    #[serde(rename = "queue.turn")]
    Turn(Box<Standing>),
    #[serde(rename = "queue.paused")]
    Paused { paused: Option<Paused> },
    #[serde(rename = "queue.message")]
    Message { message: Option<String> },
    /// For clients without cookies: the re-issued ticket.
    #[serde(rename = "queue.ticket")]
    Ticket { ticket: String },
    /// Reconnect after this long; spread, so that nobody comes back in a herd.
    #[serde(rename = "server.bye")]
    Bye { reconnect_in_ms: u64 },
}

/// From the browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ClientMessage {
    #[serde(rename = "client.ping")]
    Ping,
    #[serde(rename = "client.ack")]
    Ack,
}

/// Close codes of the waiting socket.
pub mod close {
    /// The edge restarts: reconnect (RFC 6455 registry).
    pub const RESTART: u16 = 1012;
    /// No room for another socket: poll, or try later.
    pub const FULL: u16 = 1013;
    /// The request carried no usable ticket.
    pub const NO_TICKET: u16 = 4401;
    /// Another tab took over: do not reconnect.
    pub const REPLACED: u16 = 4409;
}

/// The answer to `POST enter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The pass.
    pub token: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// What anybody may know of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicRoom {
    pub room: RoomName,
    pub status: RoomStatus,
    pub waiting: u64,
    pub rate_per_minute: u64,
    /// RFC 3339.
    pub opens_at: Option<String>,
    pub draw: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStatus {
    Open,
    Queueing,
    Prequeue,
    Paused,
    Closed,
}

/// An error as RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:vestibule:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Problem {
    /// `code` in kebab case; `title` a short phrase; `detail` the cure.
    pub fn new(status: u16, code: &str, title: &str, detail: Option<String>) -> Self {
        Self {
            kind: format!("urn:vestibule:problem:{code}"),
            title: title.into(),
            status,
            detail,
            code: code.into(),
            trace_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_message_carries_its_type_beside_its_fields() {
        let bye = serde_json::to_value(ServerMessage::Bye { reconnect_in_ms: 1500 }).unwrap();
        assert_eq!(bye, serde_json::json!({ "type": "server.bye", "reconnect_in_ms": 1500 }));
        let ping: ClientMessage = serde_json::from_str(r#"{"type":"client.ping"}"#).unwrap();
        assert_eq!(ping, ClientMessage::Ping);
    }
}
