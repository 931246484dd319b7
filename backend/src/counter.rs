//! The counter: whoever buys or pays here within the same moment is served by one transaction.
//!
//! A lock of the event's row that is taken, written back and released for every single ticket sells as many tickets a
//! second as there are such turns. Here buyers of one event stand in a [`line`]; while one transaction is being
//! committed the next ones gather, and all of them are decided in their order under one lock and one commit. A lone
//! buyer waits for nobody. Any number of processes may do this at once: the lock of the row is real.

mod line;
mod payments;
mod purchases;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::SaleRules;
use crate::db::orders::{Attempt, Attempted, Payment};
use crate::db::settle::Bill;
use crate::db::{Db, DbError};
use crate::sale::EventId;
use line::Line;
use payments::Payments;
use purchases::Purchases;

/// Events with buyers in line at the same time.
const MAX_LINES: usize = 1024;

/// Sells and settles. One for each process.
#[derive(Debug)]
pub struct Counter {
    db: Db,
    rules: SaleRules,
    purchases: Mutex<HashMap<EventId, Arc<Line<Purchases>>>>,
    payments: Arc<Line<Payments>>,
}

impl Counter {
    /// `db` should be of its own: then no crowd of readers keeps the sale from its connections.
    pub fn new(db: Db, rules: SaleRules) -> Self {
        let payments = Line::new(Payments { db: db.clone() });
        Self { db, rules, purchases: Mutex::default(), payments }
    }

    /// Takes stock for an attempt, or says why not. The answer to a key that was used before is the first answer.
    pub async fn purchase(&self, attempt: Attempt) -> Result<Attempted, DbError> {
        let line = self.line_of(&attempt.event_id)?;
        line.serve(purchases::Ask::new(attempt)).await
    }

    /// Turns a live hold into a sale. Paying twice is paying once.
    pub async fn pay(&self, bill: Bill) -> Result<Payment, DbError> {
        self.payments.serve(payments::Ask::new(bill)).await
    }

    /// The line of an event; lines where nobody stands any more go when their number gets large.
    fn line_of(&self, event_id: &EventId) -> Result<Arc<Line<Purchases>>, DbError> {
        let mut lines = self.purchases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(event_id) {
            return Ok(Arc::clone(line));
        }
        if lines.len() >= MAX_LINES {
            // Whoever stands in a line, or is about to, has it in hand.
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        if lines.len() >= MAX_LINES {
            return Err(DbError::Crowded);
        }
        let line =
            Line::new(Purchases { db: self.db.clone(), event_id: event_id.clone(), rules: self.rules });
        lines.insert(event_id.clone(), Arc::clone(&line));
        Ok(line)
    }
}
