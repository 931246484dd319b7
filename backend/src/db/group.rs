//! Many purchases of one event in one transaction: two round trips and one commit, however many they are.
//!
//! 1. `BEGIN`, the keys, what is known of them, and the lock of the event, sent at once.
//! 2. The orders and holds as arrays, the counter and `COMMIT`, sent at once.
//!
//! In between [`crate::sale::decide`] says who gets what.

use std::time::{Duration, SystemTime};

use deadpool_postgres::Object;
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::orders::Attempt;
use super::{DbError, column, count, events};
use crate::sale::{EventId, IdempotencyKey, Qty, Stock};

/// An open transaction. Unless it is committed or rolled back, its connection has to be closed.
pub(crate) struct Group<'a> {
    client: &'a Object,
    event_id: &'a str,
    statements: Statements,
}

struct Statements {
    keys: Statement,
    find: Statement,
    lock: Statement,
    forget: Statement,
    write: Statement,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never used, or used and forgotten: then the order of this id gives it back.
    New { forget: Option<Uuid> },
    /// Another transaction works on it now.
    InFlight,
    /// Answered before.
    Answered(Before),
}

/// A first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Before {
    pub order: Uuid,
    pub qty: u32,
    pub remaining: u32,
    /// `None` when it was refused.
    pub expires_at: Option<SystemTime>,
}

/// One order to write.
#[derive(Debug)]
pub(crate) struct NewOrder<'a> {
    pub id: Uuid,
    pub attempt: &'a Attempt,
    /// Refused otherwise.
    pub held: bool,
    /// What the answer says.
    pub remaining: u32,
    pub forget: Option<Uuid>,
}

/// Fails at once when another transaction works on the same key. Released by the end of the transaction, after its
/// result can be seen: who gets it sees what the one before has done.
const KEYS: &str = "SELECT pg_try_advisory_xact_lock(k) AS free FROM unnest($1::bigint[]) AS k";

/// One look-up a key, whatever the statistics of a table that was empty a moment ago suggest.
const FIND: &str = "SELECT (k.i - 1)::integer AS i, o.* FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k (user_id, key, i)
    CROSS JOIN LATERAL (
        SELECT id, qty, remaining, hold_expires_at,
            status IN ('EXPIRED', 'REJECTED', 'CANCELLED') AND created_at < now() - $4 * interval '1 second' AS forgotten
        FROM orders WHERE event_id = $1 AND user_id = k.user_id AND idempotency_key = k.key LIMIT 1) AS o";

const FORGET: &str = "UPDATE orders SET idempotency_key = NULL WHERE id = ANY($1)";

const WRITE: &str =
    "WITH until AS MATERIALIZED (SELECT clock_timestamp() + $2 * interval '1 second' AS expires_at),
    decided AS MATERIALIZED (
        SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::integer[], $7::integer[], $8::boolean[])
            AS d (id, user_id, key, qty, remaining, held)),
    placed AS (
        INSERT INTO orders (id, user_id, event_id, status, qty, idempotency_key, remaining, hold_expires_at, practice_window)
        SELECT id, user_id, $1, CASE WHEN held THEN 'HOLD' ELSE 'REJECTED' END, qty, key, remaining,
            CASE WHEN held THEN expires_at END, (SELECT practice_window FROM events WHERE id = $1) FROM decided, until),
    held AS (
        INSERT INTO holds (id, event_id, user_id, qty, expires_at)
        SELECT id, $1, user_id, qty, expires_at FROM decided, until WHERE held),
    counted AS (UPDATE events SET held_qty = held_qty + $9 WHERE id = $1 AND $9 > 0)
    SELECT expires_at FROM until";

impl<'a> Group<'a> {
    pub(crate) async fn new(client: &'a Object, event_id: &'a str) -> Result<Self, DbError> {
        let statements = Statements {
            keys: client.prepare_cached(KEYS).await?,
            find: client.prepare_cached(FIND).await?,
            lock: client.prepare_cached(events::LOCK).await?,
            forget: client.prepare_cached(FORGET).await?,
            write: client.prepare_cached(WRITE).await?,
        };
        Ok(Self { client, event_id, statements })
    }

    /// The first of the round trips together with [`Group::known`] and [`Group::lock`], polled in this order.
    pub(crate) async fn begin(&self) -> Result<(), DbError> {
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    /// What is known of each key. Does not wait for the event.
    pub(crate) async fn known(&self, attempts: &[&Attempt], ttl: Duration) -> Result<Vec<Known>, DbError> {
        let names: Vec<i64> = attempts
            .iter()
            .map(|attempt| key_name(&attempt.key, &attempt.user_id, &attempt.event_id))
            .collect();
        let users: Vec<&str> = attempts.iter().map(|attempt| attempt.user_id.as_str()).collect();
        let keys: Vec<&str> = attempts.iter().map(|attempt| attempt.key.as_str()).collect();
        let find: [&(dyn ToSql + Sync); 4] = [&self.event_id, &users, &keys, &ttl.as_secs_f64()];
        let key: [&(dyn ToSql + Sync); 1] = [&names];
        let (free, found) = tokio::join!(
            biased;
            self.client.query(&self.statements.keys, &key),
            self.client.query(&self.statements.find, &find),
        );
        let mut known = free?
            .iter()
            .map(|row| Ok(if column(row, "free")? { Known::New { forget: None } } else { Known::InFlight }))
            .collect::<Result<Vec<_>, DbError>>()?;
        for row in found? {
            let slot = known.get_mut(count(&row, "i")? as usize);
            // Who is in flight is not read: this may be older than what is being written.
            if let Some(slot) = slot.filter(|slot| **slot != Known::InFlight) {
                *slot = before(&row)?;
            }
        }
        if known.len() == attempts.len() {
            Ok(known)
        } else {
            Err(DbError::Row(format!("{} answers to {} keys", known.len(), attempts.len())))
        }
    }

    /// Waits until the event is ours; `None` if there is none.
    pub(crate) async fn lock(&self) -> Result<Option<Stock>, DbError> {
        let rows = self.client.query(&self.statements.lock, &[&self.event_id]).await?;
        rows.first().map(events::stock).transpose()
    }

    /// Writes what was decided and commits; `sent` is called when all of it is on its way. The moment is the end of
    /// the holds.
    pub(crate) async fn commit(
        self,
        orders: &[NewOrder<'_>],
        hold_ttl: Duration,
        sent: impl FnOnce(),
    ) -> Result<SystemTime, DbError> {
        let forget: Vec<Uuid> = orders.iter().filter_map(|order| order.forget).collect();
        let columns = Columns::of(orders)?;
        let ttl = hold_ttl.as_secs_f64();
        let write: [&(dyn ToSql + Sync); 9] = [
            &self.event_id,
            &ttl,
            &columns.ids,
            &columns.users,
            &columns.keys,
            &columns.quantities,
            &columns.remaining,
            &columns.held,
            &columns.total,
        ];
        let give_back = async {
            if forget.is_empty() {
                return Ok(0);
            }
            self.client.execute(&self.statements.forget, &[&forget]).await
        };
        let (forgotten, written, committed, ()) = tokio::join!(
            biased;
            give_back,
            self.client.query_one(&self.statements.write, &write),
            self.client.batch_execute("COMMIT"),
            async { sent() },
        );
        forgotten?;
        let written = written?;
        committed?;
        column(&written, "expires_at")
    }

    /// Ends the transaction without a trace.
    pub(crate) async fn roll_back(self) -> Result<(), DbError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

/// The orders as PostgreSQL takes them: one array a column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    users: Vec<&'a str>,
    keys: Vec<&'a str>,
    quantities: Vec<i32>,
    remaining: Vec<i32>,
    held: Vec<bool>,
    /// Sum of what is held.
    total: i32,
}

impl<'a> Columns<'a> {
    fn of(orders: &'a [NewOrder<'a>]) -> Result<Self, DbError> {
        let mut columns = Self::default();
        for order in orders {
            let qty = signed(order.attempt.qty.get())?;
            columns.ids.push(order.id);
            columns.users.push(&order.attempt.user_id);
            columns.keys.push(order.attempt.key.as_str());
            columns.quantities.push(qty);
            columns.remaining.push(signed(order.remaining)?);
            columns.held.push(order.held);
            if order.held {
                columns.total = columns.total.saturating_add(qty);
            }
        }
        Ok(columns)
    }
}

fn before(row: &Row) -> Result<Known, DbError> {
    let order = column(row, "id")?;
    if column(row, "forgotten")? {
        return Ok(Known::New { forget: Some(order) });
    }
    let (qty, remaining) = (count(row, "qty")?, count(row, "remaining")?);
    Ok(Known::Answered(Before { order, qty, remaining, expires_at: column(row, "hold_expires_at")? }))
}

/// The lock of a key: a number that every process makes of it. Two keys with the same number only tell each other
/// to try again.
pub(super) fn key_name(key: &IdempotencyKey, user_id: &str, event_id: &EventId) -> i64 {
    let mut hash = Sha256::new();
    // No part can hold a line feed, so no two attempts share a name.
    for part in [key.as_str(), "\n", user_id, "\n", event_id.as_str()] {
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |name, byte| name << 8 | i64::from(*byte))
}

fn signed(value: u32) -> Result<i32, DbError> {
    i32::try_from(value).map_err(|_| DbError::Row(format!("{value} does not fit a column")))
}

impl Before {
    /// Whether it was for as many.
    pub(crate) const fn is_for(&self, qty: Qty) -> bool {
        self.qty == qty.get()
    }
}
