//! What becomes of an order on hold by the will of its buyer: bought without a gateway, kept longer, given back.

use std::time::Duration;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::fates::{self, Hold};
use super::placing::{Order, order};
use super::{Db, DbError, column};
use crate::sale::{EventId, Status};
use crate::seats::SeatId;

/// How a call for a reservation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Done(Order),
    /// It was so before.
    Already(Order),
    /// No such order belongs to the caller.
    Unknown,
    HoldExpired,
    /// An order that stands like this cannot do that.
    Not(Status),
    /// It was kept as long as a hold may be.
    LongEnough,
}

/// Whose a seat is, as far as the caller is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The latest order of the caller with this seat.
    Caller(Uuid),
    /// Somebody else.
    Other,
    Nobody,
}

const FIND: &str =
    "SELECT o.id, o.event_id, o.status, o.qty, coalesce(o.seat_ids, '{}') AS seat_ids, o.remaining,
        coalesce(o.amount_minor, o.qty::bigint * e.price_minor) AS amount_minor, e.currency,
        coalesce(h.expires_at, o.hold_expires_at) AS hold_expires_at
    FROM orders o JOIN events e ON e.id = o.event_id LEFT JOIN holds h ON h.id = o.id
    WHERE o.id = $1 AND o.user_id = $2 AND o.status <> 'REJECTED'";

const HOLDER: &str = "SELECT s.status,
        (SELECT o.id FROM orders o WHERE o.event_id = $1 AND o.user_id = $3 AND o.seated AND $2 = ANY(o.seat_ids)
             AND o.practice_window IS NOT DISTINCT FROM (SELECT practice_window FROM events WHERE id = $1)
         ORDER BY o.created_at DESC LIMIT 1) AS own
    FROM seats s WHERE s.event_id = $1 AND s.id = $2";

/// Never shorter than before, and never beyond the longest time from the start of the order.
const EXTEND: &str = "UPDATE holds SET expires_at = greatest(holds.expires_at,
        least(clock_timestamp() + $2 * interval '1 second', o.created_at + $3 * interval '1 second'))
    FROM orders o, holds before WHERE holds.id = $1 AND o.id = $1 AND before.id = $1
    RETURNING holds.expires_at > before.expires_at AS longer";

impl Db {
    /// An order of this user.
    pub async fn order(&self, id: Uuid, user_id: &str) -> Result<Option<Order>, DbError> {
        self.query(FIND, &[&id, &user_id]).await?.first().map(order).transpose()
    }

    /// `None` if there is no such seat.
    pub async fn holder(
        &self,
        event_id: &EventId,
        seat: &SeatId,
        user_id: &str,
    ) -> Result<Option<Holder>, DbError> {
        let rows = self.query(HOLDER, &[&event_id.as_str(), &seat.as_str(), &user_id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(match (column::<Option<Uuid>>(row, "own")?, column::<&str>(row, "status")?) {
            (Some(order), _) => Holder::Caller(order),
            (None, "FREE") => Holder::Nobody,
            (None, _) => Holder::Other,
        }))
    }

    /// Buys what is on hold. Again: still bought.
    pub async fn confirm(&self, id: Uuid, user_id: &str) -> Result<Kept, DbError> {
        self.with_hold(id, user_id, async |transaction, hold, order| match (hold, order.status) {
            (Hold::Live, Status::Hold) => {
                fates::sell(transaction, id).await?;
                Ok(None)
            }
            (_, Status::Paid) => Ok(Some(Kept::Already(order.clone()))),
            (_, status) => Ok(Some(refusal(status))),
        })
        .await
    }

    /// Gives back what is on hold. Again: still given back.
    pub async fn cancel(&self, id: Uuid, user_id: &str) -> Result<Kept, DbError> {
        self.with_hold(id, user_id, async |transaction, hold, order| match (hold, order.status) {
            (Hold::Live, Status::Hold) => {
                fates::give_back(transaction, id, Status::Cancelled).await?;
                Ok(None)
            }
            (_, Status::Cancelled) => Ok(Some(Kept::Already(order.clone()))),
            (_, status) => Ok(Some(refusal(status))),
        })
        .await
    }

    /// Keeps what is on hold for `ttl` from now, at most for `longest` from the start.
    pub async fn extend(
        &self,
        id: Uuid,
        user_id: &str,
        ttl: Duration,
        longest: Duration,
    ) -> Result<Kept, DbError> {
        self.with_hold(id, user_id, async |transaction, hold, order| match (hold, order.status) {
            (Hold::Live, Status::Hold) => {
                let extend = transaction.prepare_cached(EXTEND).await?;
                let (ttl, longest) = (ttl.as_secs_f64(), longest.as_secs_f64());
                let row = transaction.query_one(&extend, &[&id, &ttl, &longest]).await?;
                Ok((!column::<bool>(&row, "longer")?).then_some(Kept::LongEnough))
            }
            (_, status) => Ok(Some(refusal(status))),
        })
        .await
    }

    /// Runs `work` with the hold in hand; answers with what it answers, or with the order as it stands then.
    async fn with_hold<W>(&self, id: Uuid, user_id: &str, work: W) -> Result<Kept, DbError>
    where
        W: AsyncFnOnce(&Transaction<'_>, Hold, &Order) -> Result<Option<Kept>, DbError>,
    {
        self.transaction(async |transaction| {
            let hold = fates::lock_hold(transaction, id).await?;
            let Some(before) = find(transaction, id, user_id).await? else { return Ok(Kept::Unknown) };
            match work(transaction, hold, &before).await? {
                Some(answer) => Ok(answer),
                None => Ok(find(transaction, id, user_id).await?.map_or(Kept::Unknown, Kept::Done)),
            }
        })
        .await
    }
}

async fn find(transaction: &Transaction<'_>, id: Uuid, user_id: &str) -> Result<Option<Order>, DbError> {
    let statement = transaction.prepare_cached(FIND).await?;
    transaction.query_opt(&statement, &[&id, &user_id]).await?.as_ref().map(order).transpose()
}

const fn refusal(status: Status) -> Kept {
    match status {
        // On hold by its status: its time is over, the worker has not come by yet.
        Status::Hold | Status::Expired => Kept::HoldExpired,
        other => Kept::Not(other),
    }
}
