//! The yardstick: how a sale is usually written. Each buyer locks the event, counts what is held, inserts, commits.

use tokio_postgres::{NoTls, Statement};
use uuid::Uuid;

use crate::BenchError;
use crate::contest::{Client, Seller};

/// Every client has a connection of its own and prepared statements.
#[derive(Debug)]
pub(crate) struct Plain {
    pub db_url: String,
    pub holds: Holds,
}

/// How it is known how much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// By the sum over the rows of `holds`.
    Summed,
    /// By a counter on the event's row, as ours does.
    Counted,
}

const LOCK: &str = "SELECT total_qty - sold_qty - held_qty FROM events WHERE id = $1 FOR UPDATE";
const LOCK_UNCOUNTED: &str = "SELECT total_qty - sold_qty FROM events WHERE id = $1 FOR UPDATE";
const SUM: &str =
    "SELECT coalesce(sum(qty), 0)::integer FROM holds WHERE event_id = $1 AND expires_at > now()";
const COUNT: &str = "UPDATE events SET held_qty = held_qty + 1 WHERE id = $1";
const ORDER: &str =
    "INSERT INTO orders (user_id, event_id, status, qty, idempotency_key, remaining, hold_expires_at)
    VALUES ($1, $2, 'HOLD', 1, $3, $4, now() + interval '1 hour') RETURNING id";
const HOLD: &str = "INSERT INTO holds (id, event_id, user_id, qty, expires_at)
    SELECT id, event_id, user_id, qty, hold_expires_at FROM orders WHERE id = $1";

pub(crate) struct Connection {
    client: tokio_postgres::Client,
    event_id: String,
    lock: Statement,
    /// What `holds` takes: the sum before, or the count after.
    held: Statement,
    holds: Holds,
    order: Statement,
    hold: Statement,
}

impl Seller for Plain {
    type Client = Connection;

    async fn client(&self, event_id: &str) -> Result<Connection, BenchError> {
        let (client, connection) = tokio_postgres::connect(&self.db_url, NoTls).await?;
        tokio::spawn(connection);
        let (lock, held) = match self.holds {
            Holds::Summed => (LOCK_UNCOUNTED, SUM),
            Holds::Counted => (LOCK, COUNT),
        };
        Ok(Connection {
            event_id: event_id.into(),
            lock: client.prepare(lock).await?,
            held: client.prepare(held).await?,
            holds: self.holds,
            order: client.prepare(ORDER).await?,
            hold: client.prepare(HOLD).await?,
            client,
        })
    }
}

impl Client for Connection {
    async fn sell(&mut self, user: &str, key: &str) -> Result<(), BenchError> {
        let transaction = self.client.transaction().await?;
        let mut left: i32 = transaction.query_one(&self.lock, &[&self.event_id]).await?.try_get(0)?;
        match self.holds {
            Holds::Summed => {
                left -= transaction.query_one(&self.held, &[&self.event_id]).await?.try_get::<_, i32>(0)?;
            }
            Holds::Counted => drop(transaction.execute(&self.held, &[&self.event_id]).await?),
        }
        if left < 1 {
            return Err(BenchError::NotSold(format!("{left} left")));
        }
        let order = transaction.query_one(&self.order, &[&user, &self.event_id, &key, &(left - 1)]).await?;
        let order: Uuid = order.try_get(0)?;
        transaction.execute(&self.hold, &[&order]).await?;
        Ok(transaction.commit().await?)
    }
}
