//! Seats for an order: found, checked against the visitor's limit, and locked until the transaction ends.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::placing::Wish;
use super::{DbError, column, count};
use crate::seats::{FreeSeat, SeatId, are_together, first_together};

/// One order of a visitor at a time, so that together they keep to the limit.
const LOCK_VISITOR: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))";

const SEATS_OF_VISITOR: &str = "SELECT coalesce(sum(qty), 0)::integer AS seats FROM orders
    WHERE event_id = $1 AND user_id = $2 AND seated AND status IN ('HOLD', 'PAYING', 'PAID')
        AND practice_window IS NOT DISTINCT FROM (SELECT practice_window FROM events WHERE id = $1)";

/// Waits for whoever else wants one of these at this moment; those that are not free by then are left out.
const LOCK_SEATS: &str = "SELECT id, section, \"row\", number, price_minor FROM seats
    WHERE event_id = $1 AND id = ANY($2) AND status = 'FREE' ORDER BY id FOR UPDATE";

const KNOWN_SEATS: &str = "SELECT id FROM seats WHERE event_id = $1 AND id = ANY($2)";

/// Does not wait: what somebody else takes at this moment is left to them.
const LOCK_BEST: &str = "SELECT id, section, \"row\", number, price_minor FROM seats
    WHERE event_id = $1 AND status = 'FREE' AND ($3::text IS NULL OR section = $3)
    ORDER BY rank LIMIT $2 FOR UPDATE SKIP LOCKED";

const SEE_BEST: &str = "SELECT id, section, \"row\", number, price_minor FROM seats
    WHERE event_id = $1 AND status = 'FREE' AND ($3::text IS NULL OR section = $3) ORDER BY rank LIMIT $2";

const LOCK_FREE: &str = "SELECT id FROM seats WHERE event_id = $1 AND id = ANY($2) AND status = 'FREE'
    FOR UPDATE SKIP LOCKED";

/// Free seats that are looked at for some that are together.
const LOOK_AT: i64 = 200;

/// Why named seats cannot be taken.
pub(super) enum Missing {
    Unknown(Vec<String>),
    Taken(Vec<String>),
}

/// All of these, ours until the transaction ends, or which are missing.
pub(super) async fn lock_named(
    transaction: &Transaction<'_>,
    wish: &Wish,
    wanted: &[SeatId],
) -> Result<Result<Vec<FreeSeat>, Missing>, DbError> {
    let (event_id, ids) = (wish.event_id.as_str(), wanted.iter().map(SeatId::as_str).collect::<Vec<_>>());
    let lock = transaction.prepare_cached(LOCK_SEATS).await?;
    let rows = transaction.query(&lock, &[&event_id, &ids]).await?;
    let free = rows.iter().map(free_seat).collect::<Result<Vec<_>, _>>()?;
    if free.len() == wanted.len() {
        return Ok(Ok(free));
    }
    let known = transaction.prepare_cached(KNOWN_SEATS).await?;
    let rows = transaction.query(&known, &[&event_id, &ids]).await?;
    let known = rows.iter().map(|row| column(row, "id")).collect::<Result<Vec<&str>, _>>()?;
    let without = |there: &dyn Fn(&str) -> bool| -> Vec<String> {
        ids.iter().filter(|id| !there(id)).map(|id| (*id).to_owned()).collect()
    };
    let unknown = without(&|id| known.contains(&id));
    Ok(Err(if unknown.is_empty() {
        Missing::Taken(without(&|id| free.iter().any(|seat| seat.id == id)))
    } else {
        Missing::Unknown(unknown)
    }))
}

/// The best that nobody else takes at this moment, together if such can be seen; fewer if there are fewer.
pub(super) async fn lock_best(
    transaction: &Transaction<'_>,
    wish: &Wish,
    count: u32,
    section: Option<&str>,
) -> Result<Vec<FreeSeat>, DbError> {
    let event_id = wish.event_id.as_str();
    let lock = transaction.prepare_cached(LOCK_BEST).await?;
    let rows = transaction.query(&lock, &[&event_id, &i64::from(count), &section]).await?;
    let best = rows.iter().map(free_seat).collect::<Result<Vec<_>, _>>()?;
    if best.len() < count as usize || are_together(&best) {
        return Ok(best);
    }
    let see = transaction.prepare_cached(SEE_BEST).await?;
    let rows = transaction.query(&see, &[&event_id, &LOOK_AT, &section]).await?;
    let free = rows.iter().map(free_seat).collect::<Result<Vec<_>, _>>()?;
    let Some(together) = first_together(&free, count as usize) else { return Ok(best) };
    let ids: Vec<&str> = together.iter().map(|seat| seat.id.as_str()).collect();
    let lock = transaction.prepare_cached(LOCK_FREE).await?;
    let locked = transaction.query(&lock, &[&event_id, &ids]).await?;
    Ok(if locked.len() == together.len() { together.to_vec() } else { best })
}

/// How many seats of the event the visitor has; nobody else orders for this visitor until the transaction ends.
pub(super) async fn seats_of_visitor(transaction: &Transaction<'_>, wish: &Wish) -> Result<u32, DbError> {
    let (event_id, user_id) = (wish.event_id.as_str(), &wish.user_id);
    let lock = transaction.prepare_cached(LOCK_VISITOR).await?;
    transaction.query_one(&lock, &[&format!("{user_id}\n{event_id}")]).await?;
    let seats = transaction.prepare_cached(SEATS_OF_VISITOR).await?;
    count(&transaction.query_one(&seats, &[&event_id, user_id]).await?, "seats")
}

fn free_seat(row: &Row) -> Result<FreeSeat, DbError> {
    Ok(FreeSeat {
        id: column(row, "id")?,
        section: column(row, "section")?,
        row: column(row, "row")?,
        number: column(row, "number")?,
        price_minor: column(row, "price_minor")?,
    })
}
