//! Holds whose time is over.

use super::orders::OrderNews;
use super::{Db, DbError, column};
use crate::sale::Status;

/// Events with something to expire: few rows, found by the index on `(event_id, expires_at)`.
const DUE: &str = "SELECT id FROM events e WHERE held_qty > 0
    AND EXISTS (SELECT 1 FROM holds h WHERE h.event_id = e.id AND h.expires_at <= clock_timestamp())
    ORDER BY id LIMIT 100";

/// One batch of one event: takes holds that nobody else works on, ends their orders, returns their stock. The event
/// is locked last, like everywhere.
const EXPIRE: &str = "WITH due AS (
        SELECT id FROM holds WHERE event_id = $1 AND expires_at <= clock_timestamp()
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM holds USING due WHERE holds.id = due.id RETURNING holds.id, holds.qty),
    ended AS (UPDATE orders SET status = 'EXPIRED' FROM gone WHERE orders.id = gone.id
        RETURNING orders.id, orders.user_id),
    returned AS (UPDATE events SET held_qty = held_qty - freed.qty
        FROM (SELECT sum(gone.qty)::integer AS qty FROM gone JOIN ended USING (id)) AS freed
        WHERE events.id = $1 AND freed.qty > 0)
    SELECT id, user_id FROM ended";

impl Db {
    pub async fn events_with_expired_holds(&self) -> Result<Vec<String>, DbError> {
        self.query(DUE, &[]).await?.iter().map(|row| column(row, "id")).collect()
    }

    /// Ends up to `batch` expired holds of one event. Any number of workers may do this at once.
    pub async fn expire_holds(&self, event_id: &str, batch: u32) -> Result<Vec<OrderNews>, DbError> {
        let rows = self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(EXPIRE).await?;
            Ok(transaction.query(&statement, &[&event_id, &i64::from(batch)]).await?)
        });
        let news = rows.await?;
        let news = news.iter().map(|row| {
            Ok(OrderNews {
                order: column(row, "id")?,
                event_id: event_id.into(),
                user_id: column(row, "user_id")?,
                status: Status::Expired,
            })
        });
        news.collect()
    }
}
