//! The outbox: what is still to be told outside. Rows are written in the transaction of the change they tell.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Connection, Row, Socket};
use uuid::Uuid;

use super::connect::servers;
use super::tls::TlsStream;
use super::{CONNECT, Db, DbError, column, count, session_config};
use crate::config::Database;
use crate::db::orders::OrderNews;
use crate::notify;

/// A payment to drive, claimed by this worker for the length of its lease.
#[derive(Debug)]
pub struct Errand {
    pub id: i64,
    pub payment: Uuid,
    /// Failures so far.
    pub attempts: u32,
}

/// A row that was given up.
#[derive(Debug)]
pub struct DeadLetter {
    pub id: i64,
    pub topic: String,
    pub key: Option<String>,
    pub payload: String,
    pub attempts: u32,
    pub last_error: String,
}

/// How many rows wait, and how many were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxCounts {
    pub pending: i64,
    pub dead: i64,
}

const TELL_ORDERS: &str = "INSERT INTO outbox (topic, payload) VALUES ('orders', $1)";

/// Sent and deleted by one transaction: told exactly once, in the order of the commits that can be seen.
const TAKE_NEWS: &str = "DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE topic = 'orders' AND dead_at IS NULL AND due_at <= now()
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING payload";

const NOTIFY: &str = "SELECT pg_notify($1, chunk) FROM unnest($2::text[]) AS chunk";

const DRIVE: &str = "INSERT INTO outbox (topic, key, due_at)
    VALUES ('payment', $1, now() + $2 * interval '1 second')
    ON CONFLICT (topic, key) WHERE key IS NOT NULL
    DO UPDATE SET due_at = excluded.due_at, attempts = 0, dead_at = NULL";

const DRIVEN: &str = "DELETE FROM outbox WHERE topic = 'payment' AND key = $1";

/// The lease is a due time: a worker that dies leaves its errands to the others.
const CLAIM: &str = "UPDATE outbox SET due_at = now() + $1 * interval '1 second' WHERE id IN (
        SELECT id FROM outbox WHERE topic = 'payment' AND dead_at IS NULL AND due_at <= now()
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING id, key, attempts";

const HAND_BACK: &str = "UPDATE outbox SET due_at = now() WHERE id = ANY($1)";

const LATER: &str = "UPDATE outbox SET due_at = now() + $2 * interval '1 second', attempts = 0 WHERE id = $1";

const FAILED: &str = "UPDATE outbox SET due_at = now() + $2 * interval '1 second', attempts = attempts + 1,
    last_error = $3, dead_at = CASE WHEN attempts + 1 >= $4 THEN now() END WHERE id = $1
    RETURNING dead_at IS NOT NULL AS dead";

const DEAD: &str =
    "SELECT id, topic, key, payload, attempts, coalesce(last_error, '') AS last_error FROM outbox
    WHERE dead_at IS NOT NULL ORDER BY id LIMIT $1";

const REVIVE: &str = "UPDATE outbox SET dead_at = NULL, attempts = 0, due_at = now()
    WHERE id = $1 AND dead_at IS NOT NULL";

const COUNTS: &str = "SELECT count(*) FILTER (WHERE dead_at IS NULL) AS pending,
    count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead FROM outbox";

/// News of orders, to be told to the sockets of every process once this transaction is committed.
pub(super) async fn tell_orders(transaction: &Transaction<'_>, news: &[OrderNews]) -> Result<(), DbError> {
    if news.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(TELL_ORDERS).await?;
    transaction.execute(&statement, &[&notify::payload(news)]).await?;
    Ok(())
}

/// Has the payment driven, `after` a while.
pub(super) async fn drive(
    transaction: &Transaction<'_>,
    payment: Uuid,
    after: Duration,
) -> Result<(), DbError> {
    let statement = transaction.prepare_cached(DRIVE).await?;
    transaction.execute(&statement, &[&payment.to_string(), &after.as_secs_f64()]).await?;
    Ok(())
}

/// The payment is at its end.
pub(super) async fn driven(transaction: &Transaction<'_>, payment: Uuid) -> Result<(), DbError> {
    let statement = transaction.prepare_cached(DRIVEN).await?;
    transaction.execute(&statement, &[&payment.to_string()]).await?;
    Ok(())
}

impl Db {
    /// Tells up to `batch` rows of order news to all processes; says how many.
    pub async fn spread_news(&self, batch: u32) -> Result<usize, DbError> {
        self.transaction(async |transaction| {
            let take = transaction.prepare_cached(TAKE_NEWS).await?;
            let rows = transaction.query(&take, &[&i64::from(batch)]).await?;
            let payloads: Vec<&str> =
                rows.iter().map(|row| column(row, "payload")).collect::<Result<_, _>>()?;
            let chunks = notify::chunks(&payloads);
            if !chunks.is_empty() {
                let notify = transaction.prepare_cached(NOTIFY).await?;
                transaction.execute(&notify, &[&notify::CHANNEL, &chunks]).await?;
            }
            Ok(rows.len())
        })
        .await
    }

    /// Tells every listener at once, without the outbox.
    pub async fn notify(&self, chunks: &[String]) -> Result<(), DbError> {
        self.query(NOTIFY, &[&notify::CHANNEL, &chunks]).await.map(drop)
    }

    /// Errands that are due; no other worker gets them for the length of `lease`.
    pub async fn claim_errands(&self, lease: Duration, batch: u32) -> Result<Vec<Errand>, DbError> {
        let rows = self.query(CLAIM, &[&lease.as_secs_f64(), &i64::from(batch)]).await?;
        rows.iter().map(errand).collect()
    }

    /// Others may have these errands at once.
    pub async fn hand_back_errands(&self, ids: &[i64]) -> Result<(), DbError> {
        self.query(HAND_BACK, &[&ids]).await.map(drop)
    }

    /// The errand goes well and goes on.
    pub async fn errand_later(&self, id: i64, after: Duration) -> Result<(), DbError> {
        self.query(LATER, &[&id, &after.as_secs_f64()]).await.map(drop)
    }

    /// The errand failed; says whether it was given up, as it is after `most` failures in a row.
    pub async fn errand_failed(
        &self,
        id: i64,
        after: Duration,
        error: &str,
        most: i32,
    ) -> Result<bool, DbError> {
        let rows = self.query(FAILED, &[&id, &after.as_secs_f64(), &error, &most]).await?;
        rows.first().map_or(Ok(false), |row| column(row, "dead"))
    }

    pub async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, DbError> {
        let rows = self.query(DEAD, &[&i64::from(most)]).await?;
        rows.iter().map(dead_letter).collect()
    }

    /// Another try for a row that was given up; says whether there is such a row.
    pub async fn revive_letter(&self, id: i64) -> Result<bool, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(REVIVE).await?;
            Ok(transaction.execute(&statement, &[&id]).await? == 1)
        })
        .await
    }

    pub async fn outbox_counts(&self) -> Result<OutboxCounts, DbError> {
        let rows = self.query(COUNTS, &[]).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no counts".into()))?;
        Ok(OutboxCounts { pending: column(row, "pending")?, dead: column(row, "dead")? })
    }
}

/// A connection whose messages the caller reads, to the first server that takes writes: on a standby nobody listens.
pub(crate) async fn connect_to_listen(
    database: &Database,
) -> Result<(Client, Connection<Socket, TlsStream>), DbError> {
    let mut failed = DbError::Slow;
    for mut server in servers(&session_config(database, ""), &database.tls) {
        server.target_session_attrs(TargetSessionAttrs::ReadWrite);
        match timeout(CONNECT, server.connect(database.tls.connector())).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failed = error.into(),
            Err(_) => failed = DbError::Slow,
        }
    }
    Err(failed)
}

fn errand(row: &Row) -> Result<Errand, DbError> {
    let key: &str = column(row, "key")?;
    let payment = key.parse().map_err(|_| DbError::Row(format!("an errand for the payment `{key}`")))?;
    Ok(Errand { id: column(row, "id")?, payment, attempts: count(row, "attempts")? })
}

fn dead_letter(row: &Row) -> Result<DeadLetter, DbError> {
    Ok(DeadLetter {
        id: column(row, "id")?,
        topic: column(row, "topic")?,
        key: column(row, "key")?,
        payload: column(row, "payload")?,
        attempts: count(row, "attempts")?,
        last_error: column(row, "last_error")?,
    })
}
