//! Events that are practised: their rules, the stock of each window, and how fast visitors were.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::orders::OrderNews;
use super::{Db, DbError, column};
use crate::practice::{Millis, Rule};
use crate::sale::{EventId, IdempotencyKey, Status};

/// An event that is practised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Practised {
    pub event_id: String,
    pub rule: Rule,
    /// The window that its stock is for.
    pub window: Millis,
}

/// What was done to bring the stock of an event back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// It is there, for this window; so many old runs were deleted.
    Done { window: Millis, forgotten: u64 },
    /// These holds of the former window were in the way; there may be more.
    HoldsEnded(Vec<OrderNews>),
    /// Another process does it or has done it, or somebody is paying at this moment.
    NotNow,
}

/// How fast a visitor was among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub elapsed_ms: i64,
    /// Runs that were faster.
    pub faster: i64,
}

/// One of the fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fastest {
    pub user_id: String,
    pub elapsed_ms: i64,
}

/// The runs of an event as one visitor sees them, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// The visitor's own run of one window.
    pub own: Option<Place>,
    pub runs: i64,
    pub best: Vec<Fastest>,
}

/// Holds that are ended in one transaction.
const BATCH: i64 = 1000;
/// Runs of an event that count; older ones are deleted, so many at once.
const RUNS_KEPT: i64 = 100_000;
const FORGET_BATCH: i64 = 20_000;
/// The fastest that are shown.
const BEST: i64 = 10;

/// The same as in the list of events.
const MOST_EVENTS: i64 = 500;

const LIST: &str = "SELECT t.now, p.event_id, p.every_ms, p.opens_ms, p.closes_ms, e.practice_window
    FROM (SELECT now_ms() AS now) AS t LEFT JOIN practice p ON true LEFT JOIN events e ON e.id = p.event_id
    ORDER BY p.event_id LIMIT $1";

/// Only an event that nobody has bought from, or that was practised before.
const MAY_BE_PRACTISED: &str = "SELECT id FROM events WHERE id = $1
    AND (practice_window IS NOT NULL OR NOT EXISTS (SELECT 1 FROM orders o WHERE o.event_id = $1)) FOR UPDATE";

const SET_RULE: &str =
    "INSERT INTO practice (event_id, every_ms, opens_ms, closes_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (event_id) DO UPDATE SET (every_ms, opens_ms, closes_ms) = ($2, $3, $4)";

/// Of an ordinary sale: the stock is for no window yet.
const NO_WINDOW: &str = "UPDATE events SET practice_window = 0 WHERE id = $1 AND practice_window IS NULL";

/// Who has this lock brings the stock back.
const LOCK_RULE: &str = "SELECT every_ms, opens_ms, closes_ms FROM practice WHERE event_id = $1
    FOR UPDATE SKIP LOCKED";

/// Read after the lock: only its owner changes the window.
const WINDOW: &str = "SELECT now_ms() AS now, practice_window FROM events WHERE id = $1";

/// Holds first, the event last, like everywhere.
const END_HOLDS: &str = "WITH left_over AS (
        SELECT id FROM holds WHERE event_id = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM holds USING left_over WHERE holds.id = left_over.id RETURNING holds.id, holds.qty),
    ended AS (UPDATE orders SET status = 'EXPIRED' FROM gone WHERE orders.id = gone.id
        RETURNING orders.id, orders.user_id),
    returned AS (UPDATE events SET held_qty = held_qty - freed.qty
        FROM (SELECT sum(qty)::integer AS qty FROM gone) AS freed WHERE events.id = $1 AND freed.qty > 0)
    SELECT id, user_id FROM ended";

/// With nothing on hold and this lock, nobody else has a sold seat in hand.
const LOCK_QUIET: &str = "SELECT id FROM events WHERE id = $1 AND held_qty = 0 FOR UPDATE";

/// Told in portions that those who follow the map can take.
const FREE_SEATS: &str = "WITH freed AS (
        UPDATE seats SET status = 'FREE', order_id = NULL WHERE event_id = $1 AND status = 'SOLD' RETURNING id),
    portions AS (SELECT array_agg(id ORDER BY id) AS ids
        FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 1000 AS portion FROM freed) AS f GROUP BY portion)
    SELECT count(*) FROM (SELECT note_seats($1, 'FREE', ids) FROM portions OFFSET 0) AS told";

const NEW_STOCK: &str = "UPDATE events SET sold_qty = 0, practice_window = $2 WHERE id = $1";

const FORGET_RUNS: &str = "DELETE FROM practice_runs WHERE (event_id, practice_window, user_id) IN (
        SELECT event_id, practice_window, user_id FROM practice_runs WHERE event_id = $1
        ORDER BY practice_window DESC, user_id DESC OFFSET $2 LIMIT $3)";

const HAS_ANSWER: &str = "SELECT EXISTS (SELECT 1 FROM orders
    WHERE event_id = $1 AND user_id = $2 AND idempotency_key = $3) AS has";

const RANKING: &str = "SELECT (SELECT count(*) FROM practice_runs WHERE event_id = $1) AS runs, own.elapsed_ms,
        (SELECT count(*) FROM practice_runs r WHERE r.event_id = $1 AND r.elapsed_ms < own.elapsed_ms) AS faster
    FROM (SELECT 1) AS one LEFT JOIN practice_runs own
        ON own.event_id = $1 AND own.practice_window = $2 AND own.user_id = $3";

const FASTEST: &str = "SELECT user_id, elapsed_ms FROM practice_runs WHERE event_id = $1
    ORDER BY elapsed_ms, practice_window, user_id LIMIT $2";

impl Db {
    /// What the time is, and the events that are practised.
    pub async fn practised(&self) -> Result<(Millis, Vec<Practised>), DbError> {
        let rows = self.query(LIST, &[&MOST_EVENTS]).await?;
        let now = rows.first().map_or_else(|| Err(no_answer()), |row| column(row, "now"))?;
        let mut events = Vec::new();
        for row in rows {
            if let Some(event_id) = column(&row, "event_id")? {
                events.push(Practised {
                    event_id,
                    rule: rule(&row)?,
                    window: column(&row, "practice_window")?,
                });
            }
        }
        Ok((now, events))
    }

    /// Has the event practised by this rule. False if it is an ordinary sale that has begun, or if there is none.
    pub async fn practise(&self, event_id: &str, rule: Rule) -> Result<bool, DbError> {
        self.transaction(async |transaction| {
            if transaction.query_opt(MAY_BE_PRACTISED, &[&event_id]).await?.is_none() {
                return Ok(false);
            }
            let [every, opens, closes] = rule.parts();
            transaction.execute(SET_RULE, &[&event_id, &every, &opens, &closes]).await?;
            transaction.execute(NO_WINDOW, &[&event_id]).await?;
            Ok(true)
        })
        .await
    }

    /// Brings back the stock of the window that is open or opens next, if it is not there. Repeated until it is: any
    /// number of processes may do this at once.
    pub async fn reset_practice(&self, event_id: &str) -> Result<Reset, DbError> {
        let reset = self.transaction(async |transaction| reset(transaction, event_id).await).await?;
        if let Reset::Done { window, .. } = reset {
            let forgotten = self.forget_runs(event_id).await?;
            return Ok(Reset::Done { window, forgotten });
        }
        Ok(reset)
    }

    /// Whether this purchase was answered before.
    pub async fn has_answer(
        &self,
        event_id: &EventId,
        user_id: &str,
        key: &IdempotencyKey,
    ) -> Result<bool, DbError> {
        let rows = self.query(HAS_ANSWER, &[&event_id.as_str(), &user_id, &key.as_str()]).await?;
        rows.first().map_or(Ok(false), |row| column(row, "has"))
    }

    /// All runs of the event, and that of this visitor in this window.
    pub async fn ranking(&self, event_id: &str, window: Millis, user_id: &str) -> Result<Ranking, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(RANKING).await?;
            let all = transaction.query_one(&statement, &[&event_id, &window, &user_id]).await?;
            let own = match column(&all, "elapsed_ms")? {
                Some(elapsed_ms) => Some(Place { elapsed_ms, faster: column(&all, "faster")? }),
                None => None,
            };
            let statement = transaction.prepare_cached(FASTEST).await?;
            let best = transaction.query(&statement, &[&event_id, &BEST]).await?;
            let best = best.iter().map(fastest).collect::<Result<_, _>>()?;
            Ok(Ranking { own, runs: column(&all, "runs")?, best })
        })
        .await
    }

    async fn forget_runs(&self, event_id: &str) -> Result<u64, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(FORGET_RUNS).await?;
            Ok(transaction.execute(&statement, &[&event_id, &RUNS_KEPT, &FORGET_BATCH]).await?)
        })
        .await
    }
}

async fn reset(transaction: &Transaction<'_>, event_id: &str) -> Result<Reset, DbError> {
    let lock = transaction.prepare_cached(LOCK_RULE).await?;
    let Some(found) = transaction.query_opt(&lock, &[&event_id]).await? else { return Ok(Reset::NotNow) };
    let statement = transaction.prepare_cached(WINDOW).await?;
    let now = transaction.query_one(&statement, &[&event_id]).await?;
    let due = rule(&found)?.stock_for(column(&now, "now")?);
    if column::<Millis>(&now, "practice_window")? == due {
        return Ok(Reset::NotNow);
    }
    let ended = end_holds(transaction, event_id).await?;
    if !ended.is_empty() {
        return Ok(Reset::HoldsEnded(ended));
    }
    let quiet = transaction.prepare_cached(LOCK_QUIET).await?;
    if transaction.query_opt(&quiet, &[&event_id]).await?.is_none() {
        return Ok(Reset::NotNow);
    }
    let free = transaction.prepare_cached(FREE_SEATS).await?;
    transaction.query_one(&free, &[&event_id]).await?;
    let stock = transaction.prepare_cached(NEW_STOCK).await?;
    transaction.execute(&stock, &[&event_id, &due]).await?;
    Ok(Reset::Done { window: due, forgotten: 0 })
}

async fn end_holds(transaction: &Transaction<'_>, event_id: &str) -> Result<Vec<OrderNews>, DbError> {
    let statement = transaction.prepare_cached(END_HOLDS).await?;
    let ended = transaction.query(&statement, &[&event_id, &BATCH]).await?;
    let news = ended.iter().map(|row| {
        let (order, user_id) = (column(row, "id")?, column(row, "user_id")?);
        Ok(OrderNews { order, event_id: event_id.into(), user_id, status: Status::Expired })
    });
    news.collect()
}

fn rule(row: &Row) -> Result<Rule, DbError> {
    let [every, opens, closes] =
        [column(row, "every_ms")?, column(row, "opens_ms")?, column(row, "closes_ms")?];
    Rule::new(every, opens, closes).map_err(|error| DbError::Row(error.to_string()))
}

fn fastest(row: &Row) -> Result<Fastest, DbError> {
    Ok(Fastest { user_id: column(row, "user_id")?, elapsed_ms: column(row, "elapsed_ms")? })
}

fn no_answer() -> DbError {
    DbError::Row("the database does not say what the time is".into())
}
