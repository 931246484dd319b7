//! What waits to be sent to one socket: the latest stock, and every order update.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::metrics;
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
    #[serde(rename = "server.pong")]
    Pong,
    /// Reconnect after this long.
    #[serde(rename = "server.bye")]
    Bye {
        #[serde(rename = "reconnect_in_ms")]
        reconnect_in_ms: u64,
    },
}

impl Message {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "sale.open",
            Self::Closed { .. } => "sale.closed",
            Self::Stock { .. } => "stock.update",
            Self::Order { .. } => "order.update",
            Self::Pong => "server.pong",
            Self::Bye { .. } => "server.bye",
        }
    }
}

/// More orders were told lately than one user has open; older ones may be told again, never wrongly.
const REMEMBERED: usize = 64;

/// Never blocks who puts: stock replaces stock, and a socket too slow for its order updates is closed.
#[derive(Debug)]
pub struct Mailbox {
    event_id: String,
    user_id: Option<String>,
    max_orders: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Taken, it is what the other side was told last.
    stock: Option<Stock>,
    stock_told: Option<Stock>,
    orders: VecDeque<(Uuid, Status)>,
    /// The newest at the end.
    orders_known: VecDeque<(Uuid, Status)>,
    overflown: bool,
}

/// The other side reads too slowly; it finds everything again when it reconnects.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflown;

impl Mailbox {
    /// Holds the state of the sale from the start.
    pub fn new(event_id: String, user_id: Option<String>, stock: Stock, max_orders: usize) -> Self {
        let waiting = Waiting { stock: Some(stock), ..Waiting::default() };
        Self { event_id, user_id, max_orders, waiting: Mutex::new(waiting), filled: Notify::new() }
    }

    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// The newest stock is the only one worth sending.
    pub fn put_stock(&self, stock: Stock) {
        let mut waiting = self.waiting();
        let newest = waiting.stock.or(waiting.stock_told);
        if newest == Some(stock) {
            return;
        }
        if waiting.stock.replace(stock).is_some() {
            metrics::message_replaced("stock.update");
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Queues an update unless this or a later one is known.
    pub fn put_order(&self, order: Uuid, status: Status) {
        let mut waiting = self.waiting();
        if !waiting.learn(order, status) {
            return;
        }
        if waiting.orders.len() >= self.max_orders {
            waiting.overflown = true;
        } else {
            waiting.orders.push_back((order, status));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// What is to be sent now; waits until there is something. Nothing is lost if the wait is given up.
    pub async fn take(&self) -> Result<Vec<Message>, Overflown> {
        loop {
            let messages = self.take_waiting()?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.filled.notified().await;
        }
    }

    fn take_waiting(&self) -> Result<Vec<Message>, Overflown> {
        let mut waiting = self.waiting();
        if waiting.overflown {
            return Err(Overflown);
        }
        let orders = waiting.orders.drain(..).map(|(order_id, status)| Message::Order { order_id, status });
        let mut messages: Vec<_> = orders.collect();
        if let Some(stock) = waiting.stock.take() {
            let before = waiting.stock_told.replace(stock);
            self.tell_stock(before, stock, &mut messages);
        }
        Ok(messages)
    }

    fn tell_stock(&self, before: Option<Stock>, stock: Stock, messages: &mut Vec<Message>) {
        let event_id = || self.event_id.clone();
        if before.map(Stock::is_open) != Some(stock.is_open()) {
            let change = if stock.is_open() {
                Message::Open { event_id: event_id() }
            } else {
                Message::Closed { event_id: event_id() }
            };
            messages.push(change);
        }
        let Stock { held: in_hold, sold, .. } = stock;
        messages.push(Message::Stock { event_id: event_id(), remaining: stock.remaining(), sold, in_hold });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether this is news. A reading of the database may be older than what this process told itself.
    fn learn(&mut self, order: Uuid, status: Status) -> bool {
        let known = self.orders_known.iter().position(|(id, _)| *id == order);
        if let Some((_, before)) = known.and_then(|index| self.orders_known.get_mut(index)) {
            let later = *before < status;
            *before = status.max(*before);
            return later;
        }
        if self.orders_known.len() >= REMEMBERED {
            self.orders_known.pop_front();
        }
        self.orders_known.push_back((order, status));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox() -> Mailbox {
        Mailbox::new("e1".into(), Some("ann".into()), Stock { total: 2, held: 0, sold: 0 }, 2)
    }

    fn stock(held: u32, sold: u32) -> Stock {
        Stock { total: 2, held, sold }
    }

    fn update(held: u32, sold: u32) -> Message {
        Message::Stock { event_id: "e1".into(), remaining: 2 - held - sold, sold, in_hold: held }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_newest_stock_only() {
        let mailbox = mailbox();
        mailbox.put_stock(stock(1, 0));
        mailbox.put_stock(stock(2, 0));
        let open = Message::Open { event_id: "e1".into() };
        assert_eq!(mailbox.take().await.unwrap(), [open, update(2, 0)]);
        mailbox.put_stock(stock(2, 0));
        mailbox.put_stock(stock(0, 2));
        let closed = Message::Closed { event_id: "e1".into() };
        assert_eq!(mailbox.take().await.unwrap(), [closed, update(0, 2)]);
    }

    #[tokio::test]
    async fn every_step_of_an_order_is_told_once_and_in_order() {
        let (mailbox, order) = (mailbox(), Uuid::from_u128(1));
        mailbox.take().await.unwrap();
        mailbox.put_order(order, Status::Hold);
        mailbox.put_order(order, Status::Paid);
        // A reading that began before the payment.
        mailbox.put_order(order, Status::Hold);
        let told = [Status::Hold, Status::Paid].map(|status| Message::Order { order_id: order, status });
        assert_eq!(mailbox.take().await.unwrap(), told);
        assert_eq!(mailbox.take_waiting().unwrap(), []);
    }

    #[tokio::test]
    async fn a_socket_too_slow_for_its_orders_is_closed_instead_of_losing_one() {
        let mailbox = mailbox();
        for number in 0..3 {
            mailbox.put_order(Uuid::from_u128(number), Status::Hold);
        }
        assert_eq!(mailbox.take().await, Err(Overflown));
    }

    #[test]
    fn messages_look_as_the_contract_says() {
        let text = serde_json::to_value(update(1, 1)).unwrap();
        let stock = serde_json::json!(
            { "type": "stock.update", "eventId": "e1", "remaining": 0, "sold": 1, "inHold": 1 });
        assert_eq!(text, stock);
        let order = Message::Order { order_id: Uuid::nil(), status: Status::Paid };
        assert_eq!(serde_json::to_value(order).unwrap()["status"], "PAID");
    }
}
