//! What waits to be sent to one socket: every step of its owner's orders.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::Message;
use crate::sale::Status;

/// More orders were told lately than one user has open; older ones may be told again, never wrongly.
const REMEMBERED: usize = 64;

/// Never blocks who puts: a socket too slow for its order updates is closed.
#[derive(Debug)]
pub struct Mailbox {
    max_orders: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: VecDeque<(Uuid, Status)>,
    /// The newest at the end.
    orders_known: VecDeque<(Uuid, Status)>,
    overflown: bool,
}

/// The other side reads too slowly; it finds everything again when it reconnects.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflown;

impl Mailbox {
    pub fn new(max_orders: usize) -> Self {
        Self { max_orders, waiting: Mutex::default(), filled: Notify::new() }
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
        Ok(waiting.orders.drain(..).map(|(order_id, status)| Message::Order { order_id, status }).collect())
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

    #[tokio::test]
    async fn every_step_of_an_order_is_told_once_and_in_order() {
        let (mailbox, order) = (Mailbox::new(2), Uuid::from_u128(1));
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
        let mailbox = Mailbox::new(2);
        for number in 0..3 {
            mailbox.put_order(Uuid::from_u128(number), Status::Hold);
        }
        assert_eq!(mailbox.take().await, Err(Overflown));
    }
}
