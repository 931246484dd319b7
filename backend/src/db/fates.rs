//! How an order with a hold ends: sold, or given back. One statement each, inside somebody's transaction.
//!
//! The hold is taken first and the event last, like everywhere. Seats follow their order by a trigger.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use uuid::Uuid;

use super::orders::OrderNews;
use super::{DbError, column, outbox};
use crate::sale::Status;

/// Waits for whoever has the hold: the expiry, another payment. `live` is read after that.
const LOCK_HOLD: &str = "SELECT expires_at > clock_timestamp() AS live FROM holds WHERE id = $1 FOR UPDATE";

const SELL: &str = "WITH hold AS (DELETE FROM holds WHERE id = $1 RETURNING id, event_id, user_id, qty),
    ended AS (UPDATE orders SET status = 'PAID' FROM hold WHERE orders.id = hold.id RETURNING orders.id),
    counted AS (UPDATE events SET held_qty = held_qty - hold.qty, sold_qty = sold_qty + hold.qty
        FROM hold WHERE events.id = hold.event_id)
    SELECT event_id, user_id FROM hold";

const GIVE_BACK: &str = "WITH hold AS (DELETE FROM holds WHERE id = $1 RETURNING id, event_id, user_id, qty),
    ended AS (UPDATE orders SET status = $2 FROM hold WHERE orders.id = hold.id RETURNING orders.id),
    counted AS (UPDATE events SET held_qty = held_qty - hold.qty FROM hold WHERE events.id = hold.event_id)
    SELECT event_id, user_id FROM hold";

/// A hold that this transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Live,
    /// Its time is over, the worker has not come by yet.
    Over,
    /// Sold or given back.
    None,
}

pub(super) async fn lock_hold(transaction: &Transaction<'_>, order: Uuid) -> Result<Hold, DbError> {
    let statement = transaction.prepare_cached(LOCK_HOLD).await?;
    let found = transaction.query_opt(&statement, &[&order]).await?;
    found.map_or(Ok(Hold::None), |row| Ok(if column(&row, "live")? { Hold::Live } else { Hold::Over }))
}

/// Sells what is on hold, which must be locked.
pub(super) async fn sell(transaction: &Transaction<'_>, order: Uuid) -> Result<(), DbError> {
    let statement = transaction.prepare_cached(SELL).await?;
    let row = transaction.query_opt(&statement, &[&order]).await?;
    tell(transaction, order, Status::Paid, row.as_ref()).await
}

/// Gives back what is on hold, which must be locked.
pub(super) async fn give_back(
    transaction: &Transaction<'_>,
    order: Uuid,
    end: Status,
) -> Result<(), DbError> {
    let statement = transaction.prepare_cached(GIVE_BACK).await?;
    let row = transaction.query_opt(&statement, &[&order, &end.as_str()]).await?;
    tell(transaction, order, end, row.as_ref()).await
}

async fn tell(
    transaction: &Transaction<'_>,
    order: Uuid,
    status: Status,
    hold: Option<&Row>,
) -> Result<(), DbError> {
    let Some(hold) = hold else { return Ok(()) };
    let (event_id, user_id) = (column(hold, "event_id")?, column(hold, "user_id")?);
    outbox::tell_orders(transaction, &[OrderNews { order, event_id, user_id, status }]).await
}
