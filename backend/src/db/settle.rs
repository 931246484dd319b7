//! Many payments in one statement, which is one transaction.

use std::collections::HashMap;

use deadpool_postgres::Object;
use uuid::Uuid;

use super::orders::{Payment, status};
use super::{DbError, column};
use crate::sale::Status;

/// A live hold to be turned into a sale, if its order is as the payer believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    pub order: Uuid,
    pub user_id: String,
    /// `HOLD`, or `PAYING` for a payment that the gateway has confirmed.
    pub from: Status,
}

/// Holds are locked in the order of their ids and before the event, like everywhere: two transactions never wait for
/// each other in a circle. A hold that the expiry worker has is waited for, and is gone then.
const PAY: &str = "WITH live AS (
        SELECT h.id FROM unnest($1::uuid[], $2::text[], $3::text[]) AS b (id, user_id, status)
        JOIN holds h ON h.id = b.id AND h.user_id = b.user_id AND h.expires_at > clock_timestamp()
        JOIN orders o ON o.id = b.id AND o.status = b.status
        ORDER BY h.id FOR UPDATE OF h, o),
    gone AS (DELETE FROM holds USING live WHERE holds.id = live.id RETURNING holds.id, holds.qty),
    paid AS (UPDATE orders SET status = 'PAID' FROM gone WHERE orders.id = gone.id
        RETURNING orders.id, orders.user_id, orders.event_id, gone.qty),
    counted AS (UPDATE events SET held_qty = held_qty - of_event.qty, sold_qty = sold_qty + of_event.qty
        FROM (SELECT event_id, sum(qty)::integer AS qty FROM paid GROUP BY event_id ORDER BY event_id) AS of_event
        WHERE events.id = of_event.event_id)
    SELECT id, user_id, event_id FROM paid";

const STANDING: &str = "SELECT o.id, o.user_id, o.status, o.event_id,
        EXISTS (SELECT 1 FROM holds h WHERE h.id = o.id AND h.expires_at > clock_timestamp()) AS live
    FROM orders o WHERE o.id = ANY($1)";

/// Settles each bill, or says why not; the answers are in the order of the bills.
pub(crate) async fn settle(client: &Object, bills: &[&Bill]) -> Result<Vec<Payment>, DbError> {
    let mut paid = pay(client, bills).await?;
    let unpaid: Vec<Uuid> =
        bills.iter().map(|bill| bill.order).filter(|order| !paid.contains_key(order)).collect();
    let standing = if unpaid.is_empty() { HashMap::new() } else { standing(client, &unpaid).await? };
    let answers = bills.iter().map(|bill| match paid.get_mut(&bill.order) {
        Some(order) => order.answer(bill),
        None => standing.get(&bill.order).map_or(Payment::Unknown, |order| order.answer(bill)),
    });
    Ok(answers.collect())
}

struct Paid {
    user_id: String,
    event_id: String,
    /// Whether somebody was told: the same bill may come twice in one statement.
    told: bool,
}

async fn pay(client: &Object, bills: &[&Bill]) -> Result<HashMap<Uuid, Paid>, DbError> {
    let orders: Vec<Uuid> = bills.iter().map(|bill| bill.order).collect();
    let users: Vec<&str> = bills.iter().map(|bill| bill.user_id.as_str()).collect();
    let from: Vec<&str> = bills.iter().map(|bill| bill.from.as_str()).collect();
    let statement = client.prepare_cached(PAY).await?;
    let rows = client.query(&statement, &[&orders, &users, &from]).await?;
    let paid = rows.iter().map(|row| {
        let (user_id, event_id) = (column(row, "user_id")?, column(row, "event_id")?);
        Ok((column(row, "id")?, Paid { user_id, event_id, told: false }))
    });
    paid.collect()
}

impl Paid {
    fn answer(&mut self, bill: &Bill) -> Payment {
        if self.user_id != bill.user_id {
            return Payment::Unknown;
        }
        let first = !std::mem::replace(&mut self.told, true);
        Payment::Paid { event_id: self.event_id.clone(), first }
    }
}

/// An order that was not paid just now.
struct Standing {
    user_id: String,
    event_id: String,
    status: Status,
    /// Whether it has a hold whose time is not over.
    live: bool,
}

/// Read after the holds were tried: by now whoever took them has committed.
async fn standing(client: &Object, orders: &[Uuid]) -> Result<HashMap<Uuid, Standing>, DbError> {
    let statement = client.prepare_cached(STANDING).await?;
    let rows = client.query(&statement, &[&orders]).await?;
    let found = rows.iter().map(|row| {
        let standing = Standing {
            user_id: column(row, "user_id")?,
            event_id: column(row, "event_id")?,
            status: status(row)?,
            live: column(row, "live")?,
        };
        Ok((column(row, "id")?, standing))
    });
    found.collect()
}

impl Standing {
    fn answer(&self, bill: &Bill) -> Payment {
        if self.user_id != bill.user_id {
            return Payment::Unknown;
        }
        match self.status {
            Status::Paid => Payment::Paid { event_id: self.event_id.clone(), first: false },
            Status::Expired => Payment::HoldExpired,
            // Its time is over and the worker has not come by yet.
            status if status == bill.from && !self.live => Payment::HoldExpired,
            other => Payment::NotPayable(other),
        }
    }
}
