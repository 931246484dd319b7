//! What hardly ever changes about an event: read once a second, however many order.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::db::{Db, DbError};
use crate::payment::gateway::Amount;
use crate::sale::EventId;

const FRESH: Duration = Duration::from_secs(1);
/// Events kept at once.
const MOST: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventFacts {
    /// Sold by named seat.
    pub seated: bool,
    /// Of one ticket.
    pub price: Amount,
}

/// The facts of events, as last read.
#[derive(Debug, Default)]
pub struct Facts(Mutex<HashMap<EventId, (Instant, EventFacts)>>);

impl Facts {
    /// `None` if there is no such event.
    pub(super) async fn of(&self, db: &Db, event_id: &EventId) -> Result<Option<EventFacts>, DbError> {
        if let Some(facts) = self.kept(event_id) {
            return Ok(Some(facts));
        }
        let Some(event) = db.event(event_id.as_str()).await? else { return Ok(None) };
        let facts = EventFacts { seated: event.seated, price: event.price };
        self.keep(event_id, facts.clone());
        Ok(Some(facts))
    }

    fn kept(&self, event_id: &EventId) -> Option<EventFacts> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, facts) = all.get(event_id)?;
        (read_at.elapsed() < FRESH).then(|| facts.clone())
    }

    fn keep(&self, event_id: &EventId, facts: EventFacts) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(event_id) {
            all.clear();
        }
        all.insert(event_id.clone(), (Instant::now(), facts));
    }
}

impl EventFacts {
    /// What so many tickets cost.
    pub(super) fn amount(&self, qty: u32) -> Amount {
        let Amount { amount_minor, currency } = self.price.clone();
        Amount { amount_minor: amount_minor.saturating_mul(qty.into()), currency }
    }
}
