//! Orders: what one attempt to buy and its payment come to, and what is read of many.
//!
//! Locks are always taken hold first, event last: two transactions never wait for each other in a circle.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Db, DbError, column};
use crate::sale::{EventId, IdempotencyKey, Qty, Status};

/// Who wants how many of what, and under which key.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub event_id: EventId,
    pub user_id: String,
    pub qty: Qty,
    pub key: IdempotencyKey,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    Held {
        order: Uuid,
        remaining: u32,
        expires_at: SystemTime,
        replayed: bool,
    },
    OutOfStock {
        remaining: u32,
        replayed: bool,
    },
    /// The same key is being worked on in another transaction, of this or another process.
    InFlight,
    /// The key already stands for another quantity.
    OtherBody,
    UnknownEvent,
}

/// How a payment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payment {
    /// `first` is false when it had been paid before.
    Paid {
        event_id: String,
        first: bool,
    },
    HoldExpired,
    /// No order of this id belongs to the caller.
    Unknown,
    NotPayable(Status),
}

/// The order as a socket hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNews {
    pub order: Uuid,
    pub event_id: String,
    pub user_id: String,
    pub status: Status,
}

const FORGET_REJECTED: &str = "DELETE FROM orders WHERE id IN (
        SELECT id FROM orders WHERE hold_expires_at IS NULL AND status = 'REJECTED'
            AND created_at < now() - $1 * interval '1 second'
        ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// The latest orders of each of many users, for their sockets.
const NEWS: &str = "SELECT o.id, o.user_id, o.status FROM unnest($2::text[]) AS u (user_id)
    CROSS JOIN LATERAL (
        SELECT id, user_id, status FROM orders
        WHERE event_id = $1 AND user_id = u.user_id AND status <> 'REJECTED'
        ORDER BY created_at DESC LIMIT $3) AS o";

impl Db {
    /// Deletes up to `batch` refused attempts whose key is forgotten; says how many.
    pub async fn forget_rejected(&self, ttl: Duration, batch: u32) -> Result<u64, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(FORGET_REJECTED).await?;
            Ok(transaction.execute(&statement, &[&ttl.as_secs_f64(), &i64::from(batch)]).await?)
        })
        .await
    }

    /// Where the latest `each` orders of each of `users` stand.
    pub async fn order_news(
        &self,
        event_id: &str,
        users: &[String],
        each: u32,
    ) -> Result<Vec<OrderNews>, DbError> {
        let rows = self.query(NEWS, &[&event_id, &users, &i64::from(each)]).await?;
        let news = rows.iter().map(|row| {
            Ok(OrderNews {
                order: column(row, "id")?,
                event_id: event_id.into(),
                user_id: column(row, "user_id")?,
                status: status(row)?,
            })
        });
        news.collect()
    }
}

pub(super) fn status(row: &Row) -> Result<Status, DbError> {
    column::<&str>(row, "status")?
        .parse()
        .map_err(|error: crate::sale::UnknownStatus| DbError::Row(error.to_string()))
}
