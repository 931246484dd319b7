//! Orders: one attempt to buy, and its payment. Each is one transaction.
//!
//! Locks are always taken hold first, event last: two transactions never wait for each other in a circle.

use std::time::{Duration, Instant, SystemTime};

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Db, DbError, column, count, events};
use crate::config::SaleRules;
use crate::metrics;
use crate::sale::{EventId, IdempotencyKey, Qty, Status, Stock};

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

/// Fails at once when another transaction works on the same key. Released by the end of the transaction, after its
/// result can be seen: who gets it sees what the one before has done.
const TRY_KEY: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS free";

const FIND_BY_KEY: &str = "SELECT id, status, qty, remaining, hold_expires_at,
        status IN ('EXPIRED', 'REJECTED', 'CANCELLED') AND created_at < now() - $4 * interval '1 second' AS forgotten
    FROM orders WHERE event_id = $1 AND user_id = $2 AND idempotency_key = $3";

const FORGET_KEY: &str = "UPDATE orders SET idempotency_key = NULL WHERE id = $1";

const INSERT_HELD: &str = "WITH placed AS (
        INSERT INTO orders (user_id, event_id, status, qty, idempotency_key, remaining, hold_expires_at)
        VALUES ($1, $2, 'HOLD', $3, $4, $5, clock_timestamp() + $6 * interval '1 second')
        RETURNING id, event_id, user_id, qty, hold_expires_at)
    INSERT INTO holds (id, event_id, user_id, qty, expires_at)
    SELECT id, event_id, user_id, qty, hold_expires_at FROM placed
    RETURNING id, expires_at";

const INSERT_REJECTED: &str =
    "INSERT INTO orders (user_id, event_id, status, qty, idempotency_key, remaining)
    VALUES ($1, $2, 'REJECTED', $3, $4, $5)";

const FIND_OWN: &str = "SELECT status, event_id FROM orders WHERE id = $1 AND user_id = $2";

/// Waits for the expiry worker or another payment if one of them has the hold.
const TAKE_LIVE_HOLD: &str =
    "DELETE FROM holds WHERE id = $1 AND expires_at > clock_timestamp() RETURNING event_id, qty";

const SET_PAID: &str = "UPDATE orders SET status = 'PAID' WHERE id = $1";

const FORGET_REJECTED: &str = "DELETE FROM orders WHERE id IN (
        SELECT id FROM orders WHERE status = 'REJECTED' AND created_at < now() - $1 * interval '1 second'
        ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// The latest orders of each of many users, for their sockets.
const NEWS: &str = "SELECT o.id, o.user_id, o.status FROM unnest($2::text[]) AS u (user_id)
    CROSS JOIN LATERAL (
        SELECT id, user_id, status FROM orders
        WHERE event_id = $1 AND user_id = u.user_id AND status <> 'REJECTED'
        ORDER BY created_at DESC LIMIT $3) AS o";

impl Db {
    /// Takes stock for an attempt, or says why not. The answer to a key that was used before is the first answer.
    pub async fn purchase(&self, attempt: &Attempt, rules: SaleRules) -> Result<Attempted, DbError> {
        self.transaction(async |transaction| {
            if !try_key(transaction, attempt).await? {
                return Ok(Attempted::InFlight);
            }
            if let Some(answer) = first_answer(transaction, attempt, rules.idempotency_ttl).await? {
                return Ok(answer);
            }
            let waited = Instant::now();
            let stock = events::lock(transaction, attempt.event_id.as_str()).await?;
            metrics::lock_waited(waited.elapsed());
            match stock {
                Some(stock) => sell(transaction, attempt, stock, rules.hold_ttl).await,
                None => Ok(Attempted::UnknownEvent),
            }
        })
        .await
    }

    /// Turns a live hold into a sale. Paying twice is paying once.
    pub async fn pay(&self, order: Uuid, user_id: &str) -> Result<Payment, DbError> {
        self.transaction(async |transaction| {
            let own = transaction.prepare_cached(FIND_OWN).await?;
            if transaction.query_opt(&own, &[&order, &user_id]).await?.is_none() {
                return Ok(Payment::Unknown);
            }
            let take = transaction.prepare_cached(TAKE_LIVE_HOLD).await?;
            if let Some(hold) = transaction.query_opt(&take, &[&order]).await? {
                return settle(transaction, order, &hold).await;
            }
            // No live hold: what happened to it is seen only now, after a possible wait for whoever took it.
            match transaction.query_opt(&own, &[&order, &user_id]).await? {
                Some(row) => without_hold(&row),
                None => Ok(Payment::Unknown),
            }
        })
        .await
    }

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

async fn try_key(transaction: &Transaction<'_>, attempt: &Attempt) -> Result<bool, DbError> {
    // No part can hold a line feed, so no two attempts share a name.
    let name = [attempt.key.as_str(), &attempt.user_id, attempt.event_id.as_str()].join("\n");
    let statement = transaction.prepare_cached(TRY_KEY).await?;
    column(&transaction.query_one(&statement, &[&name]).await?, "free")
}

async fn first_answer(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
    ttl: Duration,
) -> Result<Option<Attempted>, DbError> {
    let find = transaction.prepare_cached(FIND_BY_KEY).await?;
    let key = attempt.key.as_str();
    let found = transaction
        .query_opt(&find, &[&attempt.event_id.as_str(), &attempt.user_id, &key, &ttl.as_secs_f64()])
        .await?;
    let Some(row) = found else { return Ok(None) };
    if column(&row, "forgotten")? {
        let forget = transaction.prepare_cached(FORGET_KEY).await?;
        transaction.execute(&forget, &[&column::<Uuid>(&row, "id")?]).await?;
        return Ok(None);
    }
    replay(&row, attempt.qty).map(Some)
}

fn replay(row: &Row, qty: Qty) -> Result<Attempted, DbError> {
    if count(row, "qty")? != qty.get() {
        return Ok(Attempted::OtherBody);
    }
    let remaining = count(row, "remaining")?;
    Ok(match column(row, "hold_expires_at")? {
        Some(expires_at) => {
            Attempted::Held { order: column(row, "id")?, remaining, expires_at, replayed: true }
        }
        None => Attempted::OutOfStock { remaining, replayed: true },
    })
}

/// Decides under the event's lock.
async fn sell(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
    stock: Stock,
    hold_ttl: Duration,
) -> Result<Attempted, DbError> {
    match stock.hold(attempt.qty) {
        Some(after) => hold(transaction, attempt, after, hold_ttl).await,
        None => reject(transaction, attempt, stock.remaining()).await,
    }
}

async fn hold(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
    after: Stock,
    ttl: Duration,
) -> Result<Attempted, DbError> {
    let (event_id, user_id, key) = (attempt.event_id.as_str(), &attempt.user_id, attempt.key.as_str());
    events::set_held(transaction, event_id, after).await?;
    let (qty, remaining, ttl) = (signed(attempt.qty.get())?, after.remaining(), ttl.as_secs_f64());
    let insert = transaction.prepare_cached(INSERT_HELD).await?;
    let row =
        transaction.query_one(&insert, &[user_id, &event_id, &qty, &key, &signed(remaining)?, &ttl]).await?;
    Ok(Attempted::Held {
        order: column(&row, "id")?,
        remaining,
        expires_at: column(&row, "expires_at")?,
        replayed: false,
    })
}

/// Remembers the refusal, so that a retry hears the same.
async fn reject(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
    remaining: u32,
) -> Result<Attempted, DbError> {
    let (event_id, user_id, key) = (attempt.event_id.as_str(), &attempt.user_id, attempt.key.as_str());
    let qty = signed(attempt.qty.get())?;
    let insert = transaction.prepare_cached(INSERT_REJECTED).await?;
    transaction.execute(&insert, &[user_id, &event_id, &qty, &key, &signed(remaining)?]).await?;
    Ok(Attempted::OutOfStock { remaining, replayed: false })
}

async fn settle(transaction: &Transaction<'_>, order: Uuid, hold: &Row) -> Result<Payment, DbError> {
    let event_id: String = column(hold, "event_id")?;
    let paid = transaction.prepare_cached(SET_PAID).await?;
    transaction.execute(&paid, &[&order]).await?;
    events::sell_held(transaction, &event_id, column(hold, "qty")?).await?;
    Ok(Payment::Paid { event_id, first: true })
}

fn without_hold(row: &Row) -> Result<Payment, DbError> {
    Ok(match status(row)? {
        Status::Paid => Payment::Paid { event_id: column(row, "event_id")?, first: false },
        // Still HOLD: its time is over, the worker has not come by yet.
        Status::Hold | Status::Expired => Payment::HoldExpired,
        other => Payment::NotPayable(other),
    })
}

fn status(row: &Row) -> Result<Status, DbError> {
    column::<&str>(row, "status")?
        .parse()
        .map_err(|error: crate::sale::UnknownStatus| DbError::Row(error.to_string()))
}

fn signed(value: u32) -> Result<i32, DbError> {
    i32::try_from(value).map_err(|_| DbError::Row(format!("{value} does not fit a column")))
}
