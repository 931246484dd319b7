//! What sockets say, and the stock as everybody is sent it: encoded once.

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::queue::QueueState;
use crate::sale::{Status, Stock};

/// From the server, one JSON object a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Message {
    /// There may be something to buy, now or when a hold expires.
    #[serde(rename = "sale.open")]
    Open { event_id: String },
    /// Everything is sold.
    #[serde(rename = "sale.closed")]
    Closed { event_id: String },
    #[serde(rename = "stock.update")]
    Stock { event_id: String, remaining: u32, sold: u32, in_hold: u32 },
    #[serde(rename = "order.update")]
    Order { order_id: Uuid, status: Status },
    /// How many wait outside, and how fast they come in.
    #[serde(rename = "queue.update")]
    Queue(QueueState),
    #[serde(rename = "server.pong")]
    Pong,
    /// Reconnect after this long.
    #[serde(rename = "server.bye")]
    Bye {
        #[serde(rename = "reconnect_in_ms")]
        reconnect_in_ms: u64,
    },
}

/// A message ready to be sent; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub kind: &'static str,
    pub text: Utf8Bytes,
}

/// The stock of an event at one moment, and whether its sale was open.
#[derive(Debug, Clone)]
pub(super) struct StockNews {
    /// One more for each change that this process has seen.
    pub number: u64,
    pub stock: Stock,
    /// Whether the sale may be open at this hour.
    pub hours: bool,
    pub update: Encoded,
    /// `sale.open` or `sale.closed`.
    pub sale: Encoded,
}

impl Message {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "sale.open",
            Self::Closed { .. } => "sale.closed",
            Self::Stock { .. } => "stock.update",
            Self::Order { .. } => "order.update",
            Self::Queue(_) => "queue.update",
            Self::Pong => "server.pong",
            Self::Bye { .. } => "server.bye",
        }
    }

    pub(super) fn encode(&self) -> Encoded {
        // Text and numbers: it cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        Encoded { kind: self.kind(), text: text.into() }
    }
}

impl StockNews {
    pub(super) fn new(number: u64, event_id: &str, stock: Stock, hours: bool) -> Self {
        let event_id = || event_id.to_owned();
        let Stock { held: in_hold, sold, .. } = stock;
        let remaining = stock.remaining();
        let sale = if hours && stock.is_open() {
            Message::Open { event_id: event_id() }
        } else {
            Message::Closed { event_id: event_id() }
        };
        let update = Message::Stock { event_id: event_id(), remaining, sold, in_hold };
        Self { number, stock, hours, update: update.encode(), sale: sale.encode() }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.hours && self.stock.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_the_contract_says() {
        let news = StockNews::new(1, "e1", Stock { total: 2, held: 1, sold: 1 }, true);
        let update: serde_json::Value = serde_json::from_str(&news.update.text).unwrap();
        let stock = serde_json::json!(
            { "type": "stock.update", "eventId": "e1", "remaining": 0, "sold": 1, "inHold": 1 });
        assert_eq!(update, stock);
        assert_eq!(
            (news.sale.kind, news.sale.text.as_str()),
            ("sale.open", r#"{"type":"sale.open","eventId":"e1"}"#)
        );
        for (sold, hours) in [(2, true), (0, false)] {
            let closed = StockNews::new(2, "e1", Stock { total: 2, held: 0, sold }, hours);
            assert_eq!(closed.sale.kind, "sale.closed");
        }
        let queue = QueueState { status: "queueing".into(), waiting: 7, rate_per_minute: Some(60) };
        let text = Message::Queue(queue).encode().text;
        let told = r#"{"type":"queue.update","status":"queueing","waiting":7,"ratePerMinute":60}"#;
        assert_eq!(text.as_str(), told);
        let order = Message::Order { order_id: Uuid::nil(), status: Status::Paid };
        assert_eq!(serde_json::to_value(order).unwrap()["status"], "PAID");
    }
}
