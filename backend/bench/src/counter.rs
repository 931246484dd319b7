//! Ours: all clients at one counter, in one process.

use std::sync::Arc;
use std::time::Duration;

use box_office::config::{Database, SaleRules};
use box_office::counter::Counter;
use box_office::db::Db;
use box_office::db::orders::{Attempt, Attempted};
use box_office::sale::{EventId, Qty};

use crate::BenchError;
use crate::contest::{Client, Seller};

/// As many as the program has.
const CONNECTIONS: usize = 8;
/// Nothing expires while it is measured.
const HOLD_TTL: Duration = Duration::from_secs(3600);

pub(crate) struct Ours {
    counter: Arc<Counter>,
}

impl Ours {
    pub(crate) fn new(database: &Database) -> Result<Self, BenchError> {
        let rules = SaleRules { max_qty: 8, hold_ttl: HOLD_TTL, idempotency_ttl: HOLD_TTL };
        let db =
            Db::for_counter(database, CONNECTIONS).map_err(|error| BenchError::Start(error.to_string()))?;
        Ok(Self { counter: Arc::new(Counter::new(db, rules)) })
    }
}

pub(crate) struct Buyer {
    counter: Arc<Counter>,
    event_id: EventId,
    one: Qty,
}

impl Seller for Ours {
    type Client = Buyer;

    async fn client(&self, event_id: &str) -> Result<Buyer, BenchError> {
        let invalid = |error: box_office::sale::SaleError| BenchError::Start(error.to_string());
        Ok(Buyer {
            counter: Arc::clone(&self.counter),
            event_id: event_id.parse().map_err(invalid)?,
            one: Qty::new(1, 1).map_err(invalid)?,
        })
    }
}

impl Client for Buyer {
    async fn sell(&mut self, user: &str, key: &str) -> Result<(), BenchError> {
        let key =
            key.parse().map_err(|error: box_office::sale::SaleError| BenchError::Start(error.to_string()))?;
        let attempt = Attempt { event_id: self.event_id.clone(), user_id: user.into(), qty: self.one, key };
        match self.counter.purchase(attempt).await? {
            Attempted::Held { .. } => Ok(()),
            other => Err(BenchError::NotSold(format!("{other:?}"))),
        }
    }
}
