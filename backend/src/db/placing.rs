//! Placing an order: named seats, the best that are left, or so many tickets. All or nothing, in one transaction.
//!
//! Only free seats are locked here, in the order of their ids; whoever ends an order touches only the seats of that
//! order. The event comes last. So nobody waits for anybody in a circle.

use std::time::{Duration, SystemTime};

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::group::key_name;
use super::taking::{Missing, lock_best, lock_named, seats_of_visitor};
use super::{Db, DbError, column, count};
use crate::config::SaleRules;
use crate::payment::gateway::Amount;
use crate::sale::{EventId, IdempotencyKey, Qty, Status};
use crate::seats::SeatId;

/// What somebody wants to have on hold.
#[derive(Debug, Clone)]
pub struct Wish {
    pub event_id: EventId,
    pub user_id: String,
    pub what: What,
    pub hold_ttl: Duration,
    /// The key, and the SHA-256 of what was asked for under it.
    pub once: Option<(IdempotencyKey, [u8; 32])>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// These and no others; at least one, none twice.
    Seats(Vec<SeatId>),
    /// So many tickets; of an event with seats the best that are left, if wanted of one section.
    Tickets { qty: Qty, section: Option<String> },
}

/// An order as its buyer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: Uuid,
    pub event_id: String,
    pub status: Status,
    pub qty: u32,
    /// Empty if there are no seats.
    pub seats: Vec<String>,
    pub amount: Amount,
    pub remaining: u32,
    pub hold_expires_at: Option<SystemTime>,
}

/// How placing an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    Held {
        order: Order,
        replayed: bool,
    },
    SeatsTaken(Vec<String>),
    OutOfStock {
        remaining: u32,
    },
    /// With this order the visitor would have more seats of this event than one may.
    VisitorLimit {
        has: u32,
    },
    InFlight,
    /// The key already stands for something else.
    OtherBody,
    UnknownEvent,
    UnknownSeats(Vec<String>),
}

/// The same lock as that of a plain purchase: they share the scope of keys.
const TRY_KEY: &str = "SELECT pg_try_advisory_xact_lock($1) AS free";

const BY_KEY: &str = "SELECT o.id, o.event_id, o.status, o.qty, coalesce(o.seat_ids, '{}') AS seat_ids, o.remaining,
        coalesce(o.amount_minor, 0) AS amount_minor, e.currency, o.hold_expires_at, o.request_hash = $5 AS same,
        o.status IN ('EXPIRED', 'REJECTED', 'CANCELLED')
            AND o.created_at < now() - $4 * interval '1 second' AS forgotten
    FROM orders o JOIN events e ON e.id = o.event_id
    WHERE o.event_id = $1 AND o.user_id = $2 AND o.idempotency_key = $3";

const FORGET_KEY: &str = "UPDATE orders SET idempotency_key = NULL WHERE id = $1";

const EVENT: &str = "SELECT seated, price_minor FROM events WHERE id = $1";

/// The counter decides; everything else follows from its row. No row: not enough was left.
const HOLD: &str = "WITH stock AS (
        UPDATE events SET held_qty = held_qty + $3::integer,
            seat_version = seat_version + CASE WHEN seated THEN 1 ELSE 0 END
        WHERE id = $1 AND total_qty - held_qty - sold_qty >= $3::integer
        RETURNING id, total_qty - held_qty - sold_qty AS remaining, seated, seat_version, currency, practice_window),
    placed AS (
        INSERT INTO orders (user_id, event_id, status, qty, idempotency_key, request_hash, remaining, amount_minor,
            seated, seat_ids, hold_expires_at, practice_window)
        SELECT $2, id, 'HOLD', $3::integer, $4, $5, remaining, $6, seated, CASE WHEN seated THEN $7::text[] END,
            clock_timestamp() + $8 * interval '1 second', practice_window FROM stock
        RETURNING id, event_id, user_id, status, qty, coalesce(seat_ids, '{}') AS seat_ids, remaining,
            amount_minor, hold_expires_at),
    held AS (
        INSERT INTO holds (id, event_id, user_id, qty, expires_at)
        SELECT id, event_id, user_id, qty, hold_expires_at FROM placed),
    taken AS (
        UPDATE seats SET status = 'HELD', order_id = placed.id FROM placed
        WHERE seats.event_id = placed.event_id AND seats.id = ANY(placed.seat_ids)),
    noted AS (
        INSERT INTO seat_changes (event_id, version, status, seats)
        SELECT id, seat_version, 'HELD', $7::text[] FROM stock WHERE seated),
    told AS (
        INSERT INTO outbox (topic, payload)
        SELECT 'orders', json_build_array(json_build_object(
            'orderId', id, 'eventId', event_id, 'userId', user_id, 'status', status))::text FROM placed)
    SELECT placed.*, stock.currency FROM placed, stock";

const REFUSE: &str =
    "INSERT INTO orders (user_id, event_id, status, qty, idempotency_key, request_hash, remaining, seat_ids)
    SELECT $2, id, 'REJECTED', $3, $4, $5, total_qty - held_qty - sold_qty, $6 FROM events WHERE id = $1
    RETURNING remaining";

const REMAINING: &str = "SELECT total_qty - held_qty - sold_qty AS remaining FROM events WHERE id = $1";

impl Db {
    /// Puts what is wanted on hold, or says why not. The answer to a key that was used before is the first answer.
    pub async fn place(&self, wish: &Wish, rules: SaleRules) -> Result<Placed, DbError> {
        let placed = self.transaction(async |transaction| place(transaction, wish, rules).await).await;
        match placed {
            // The same key at this moment, by a way that does not know our lock.
            Err(DbError::Refused(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Ok(Placed::InFlight)
            }
            other => other,
        }
    }
}

async fn place(transaction: &Transaction<'_>, wish: &Wish, rules: SaleRules) -> Result<Placed, DbError> {
    if let Some((key, hash)) = &wish.once {
        if !try_key(transaction, wish, key).await? {
            return Ok(Placed::InFlight);
        }
        if let Some(answer) = first_answer(transaction, wish, key, hash, rules.idempotency_ttl).await? {
            return Ok(answer);
        }
    }
    let event = transaction.prepare_cached(EVENT).await?;
    let Some(event) = transaction.query_opt(&event, &[&wish.event_id.as_str()]).await? else {
        return Ok(Placed::UnknownEvent);
    };
    if column(&event, "seated")? {
        return place_seats(transaction, wish, rules.max_qty).await;
    }
    match &wish.what {
        What::Seats(seats) => Ok(Placed::UnknownSeats(seats.iter().map(ToString::to_string).collect())),
        What::Tickets { qty, .. } => {
            let amount = i64::from(qty.get()) * column::<i32>(&event, "price_minor").map(i64::from)?;
            hold(transaction, wish, qty.get(), amount, &[]).await
        }
    }
}

async fn place_seats(transaction: &Transaction<'_>, wish: &Wish, limit: u32) -> Result<Placed, DbError> {
    let count = wish.what.count();
    let has = seats_of_visitor(transaction, wish).await?;
    if has.saturating_add(count) > limit {
        return Ok(Placed::VisitorLimit { has });
    }
    let seats = match &wish.what {
        What::Seats(seats) => match lock_named(transaction, wish, seats).await? {
            Ok(seats) => seats,
            Err(Missing::Unknown(seats)) => return Ok(Placed::UnknownSeats(seats)),
            Err(Missing::Taken(seats)) => return refuse(transaction, wish, count, &seats).await,
        },
        What::Tickets { section, .. } => {
            let seats = lock_best(transaction, wish, count, section.as_deref()).await?;
            if seats.len() < count as usize {
                return refuse(transaction, wish, count, &[]).await;
            }
            seats
        }
    };
    let amount = seats.iter().map(|seat| i64::from(seat.price_minor)).sum();
    let ids: Vec<&str> = seats.iter().map(|seat| seat.id.as_str()).collect();
    hold(transaction, wish, count, amount, &ids).await
}

/// The seats, if there are any, must be locked.
async fn hold(
    transaction: &Transaction<'_>,
    wish: &Wish,
    qty: u32,
    amount_minor: i64,
    seats: &[&str],
) -> Result<Placed, DbError> {
    let (event_id, user_id) = (wish.event_id.as_str(), &wish.user_id);
    let (key, hash) = wish.key_and_hash();
    let (signed, ttl) = (signed(qty)?, wish.hold_ttl.as_secs_f64());
    let statement = transaction.prepare_cached(HOLD).await?;
    let placed = transaction
        .query_opt(&statement, &[&event_id, user_id, &signed, &key, &hash, &amount_minor, &seats, &ttl])
        .await?;
    match placed {
        Some(row) => Ok(Placed::Held { order: order(&row)?, replayed: false }),
        None => refuse(transaction, wish, qty, &[]).await,
    }
}

/// Remembers the refusal under its key, so that a retry hears the same.
async fn refuse(
    transaction: &Transaction<'_>,
    wish: &Wish,
    qty: u32,
    taken: &[String],
) -> Result<Placed, DbError> {
    let (event_id, user_id) = (wish.event_id.as_str(), &wish.user_id);
    let (key, hash) = wish.key_and_hash();
    let row = if key.is_some() {
        let statement = transaction.prepare_cached(REFUSE).await?;
        transaction.query_one(&statement, &[&event_id, user_id, &signed(qty)?, &key, &hash, &taken]).await?
    } else {
        let statement = transaction.prepare_cached(REMAINING).await?;
        transaction.query_one(&statement, &[&event_id]).await?
    };
    refusal(&row, taken.to_vec())
}

fn refusal(row: &Row, taken: Vec<String>) -> Result<Placed, DbError> {
    if taken.is_empty() {
        return Ok(Placed::OutOfStock { remaining: count(row, "remaining")? });
    }
    Ok(Placed::SeatsTaken(taken))
}

async fn try_key(transaction: &Transaction<'_>, wish: &Wish, key: &IdempotencyKey) -> Result<bool, DbError> {
    let name = key_name(key, &wish.user_id, &wish.event_id);
    let statement = transaction.prepare_cached(TRY_KEY).await?;
    column(&transaction.query_one(&statement, &[&name]).await?, "free")
}

async fn first_answer(
    transaction: &Transaction<'_>,
    wish: &Wish,
    key: &IdempotencyKey,
    hash: &[u8; 32],
    ttl: Duration,
) -> Result<Option<Placed>, DbError> {
    let (event_id, user_id) = (wish.event_id.as_str(), &wish.user_id);
    let find = transaction.prepare_cached(BY_KEY).await?;
    let found = transaction
        .query_opt(&find, &[&event_id, user_id, &key.as_str(), &ttl.as_secs_f64(), &hash.as_slice()])
        .await?;
    let Some(row) = found else { return Ok(None) };
    if column(&row, "forgotten")? {
        let forget = transaction.prepare_cached(FORGET_KEY).await?;
        transaction.execute(&forget, &[&column::<Uuid>(&row, "id")?]).await?;
        return Ok(None);
    }
    if column::<Option<bool>>(&row, "same")? != Some(true) {
        return Ok(Some(Placed::OtherBody));
    }
    let first = order(&row)?;
    if first.hold_expires_at.is_none() {
        return refusal(&row, first.seats).map(Some);
    }
    // What the first answer said; it is read anew where an order stands now.
    Ok(Some(Placed::Held { order: Order { status: Status::Hold, ..first }, replayed: true }))
}

impl What {
    /// How many tickets.
    pub fn count(&self) -> u32 {
        match self {
            Self::Seats(seats) => seats.len() as u32,
            Self::Tickets { qty, .. } => qty.get(),
        }
    }
}

impl Wish {
    fn key_and_hash(&self) -> (Option<&str>, Option<&[u8]>) {
        self.once.as_ref().map(|(key, hash)| (key.as_str(), hash.as_slice())).unzip()
    }
}

/// From a row with the columns of `orders` and the currency of its event.
pub(super) fn order(row: &Row) -> Result<Order, DbError> {
    let status: &str = column(row, "status")?;
    Ok(Order {
        id: column(row, "id")?,
        event_id: column(row, "event_id")?,
        status: status
            .parse()
            .map_err(|error: crate::sale::UnknownStatus| DbError::Row(error.to_string()))?,
        qty: count(row, "qty")?,
        seats: column(row, "seat_ids")?,
        amount: Amount { amount_minor: column(row, "amount_minor")?, currency: column(row, "currency")? },
        remaining: count(row, "remaining")?,
        hold_expires_at: column(row, "hold_expires_at")?,
    })
}

fn signed(value: u32) -> Result<i32, DbError> {
    i32::try_from(value).map_err(|_| DbError::Row(format!("{value} does not fit a column")))
}
