//! Events and their stock.

use std::time::SystemTime;

use tokio_postgres::Row;

use super::{Db, DbError, column, count};
use crate::config::Seed;
use crate::payment::gateway::Amount;
use crate::sale::Stock;

/// An event as the shop shows it.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub starts_at: Option<SystemTime>,
    pub stock: Stock,
    /// Sold by named seat.
    pub seated: bool,
    /// Of one ticket, or the middle of those of its seats.
    pub price: Amount,
}

/// More events than a shop lists on one page.
const MAX_LISTED: i64 = 500;

const LIST: &str =
    "SELECT id, name, starts_at, total_qty, held_qty, sold_qty, seated, price_minor, currency FROM events
    ORDER BY starts_at NULLS LAST, id LIMIT $1";

const FIND: &str = "SELECT id, name, starts_at, total_qty, held_qty, sold_qty, seated, price_minor, currency
    FROM events WHERE id = $1";

const STOCKS: &str = "SELECT id, total_qty, held_qty, sold_qty FROM events WHERE id = ANY($1)";

/// The hot row: who has this lock decides alone. What is sold by seat is not sold by number.
pub(super) const LOCK: &str =
    "SELECT total_qty, held_qty, sold_qty FROM events WHERE id = $1 AND NOT seated FOR UPDATE";

const SEED: &str = "INSERT INTO events (id, name, total_qty) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";

impl Db {
    pub async fn events(&self) -> Result<Vec<Event>, DbError> {
        self.query(LIST, &[&MAX_LISTED]).await?.iter().map(event).collect()
    }

    pub async fn event(&self, id: &str) -> Result<Option<Event>, DbError> {
        self.query(FIND, &[&id]).await?.first().map(event).transpose()
    }

    /// The stock of those of `ids` that exist.
    pub async fn stocks(&self, ids: &[String]) -> Result<Vec<(String, Stock)>, DbError> {
        let rows = self.query(STOCKS, &[&ids]).await?;
        rows.iter().map(|row| Ok((column(row, "id")?, stock(row)?))).collect()
    }

    /// Creates the event if there is none of this id; says whether it did.
    pub async fn seed(&self, id: &str, seed: &Seed) -> Result<bool, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(SEED).await?;
            Ok(transaction.execute(&statement, &[&id, &seed.name, &seed.total]).await? == 1)
        })
        .await
    }
}

fn event(row: &Row) -> Result<Event, DbError> {
    Ok(Event {
        id: column(row, "id")?,
        name: column(row, "name")?,
        starts_at: column(row, "starts_at")?,
        stock: stock(row)?,
        seated: column(row, "seated")?,
        price: Amount {
            amount_minor: column::<i32>(row, "price_minor")?.into(),
            currency: column(row, "currency")?,
        },
    })
}

pub(super) fn stock(row: &Row) -> Result<Stock, DbError> {
    Ok(Stock {
        total: count(row, "total_qty")?,
        held: count(row, "held_qty")?,
        sold: count(row, "sold_qty")?,
    })
}
