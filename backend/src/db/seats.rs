//! Seat maps and the log of their changes.

use std::time::Duration;

use tokio_postgres::Row;

use super::{Db, DbError, column};
use crate::sale::EventId;
use crate::seats::{PlannedSeat, plan};

/// A map at one moment.
#[derive(Debug)]
pub struct SeatMap {
    /// The last change that is in it; 0 without seats.
    pub version: i64,
    pub currency: String,
    /// In the order of their rank.
    pub seats: Vec<Seat>,
}

#[derive(Debug)]
pub struct Seat {
    pub id: String,
    pub section: String,
    pub row: String,
    pub number: i32,
    pub price_minor: i32,
    pub status: String,
}

/// Seats that went to the same state in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatChange {
    pub version: i64,
    /// `FREE`, `HELD`, `SOLD`
    pub status: String,
    pub seats: Vec<String>,
}

/// One statement sees map and version at the same moment.
const MAP: &str =
    "SELECT e.seat_version, e.currency, s.id, s.section, s.\"row\", s.number, s.price_minor, s.status
    FROM events e LEFT JOIN seats s ON s.event_id = e.id WHERE e.id = $1 ORDER BY s.rank";

const CHANGES: &str = "SELECT version, status, seats FROM seat_changes
    WHERE event_id = $1 AND version > $2 ORDER BY version LIMIT $3";

const VERSIONS: &str = "SELECT id, seat_version FROM events WHERE id = ANY($1)";

const FORGET: &str = "DELETE FROM seat_changes WHERE (event_id, version) IN (
        SELECT event_id, version FROM seat_changes WHERE at < now() - $1 * interval '1 second'
        ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Only an event that nobody has touched gets seats.
const MAKE_SEATED: &str = "UPDATE events SET seated = true
    WHERE id = $1 AND NOT seated AND sold_qty = 0 AND held_qty = 0 RETURNING total_qty, price_minor";

const INSERT: &str = "INSERT INTO seats (event_id, id, section, \"row\", number, rank, price_minor)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::integer[])";

impl Db {
    /// `None` if there is no such event.
    pub async fn seat_map(&self, event_id: &EventId) -> Result<Option<SeatMap>, DbError> {
        let rows = self.query(MAP, &[&event_id.as_str()]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (version, currency) = (column(first, "seat_version")?, column(first, "currency")?);
        let has_seats = column::<Option<&str>>(first, "id")?.is_some();
        let seats = if has_seats { rows.iter().map(seat).collect::<Result<_, _>>()? } else { Vec::new() };
        Ok(Some(SeatMap { version, currency, seats }))
    }

    /// Up to `most` changes after `version`, in their order.
    pub async fn seat_changes(
        &self,
        event_id: &str,
        version: i64,
        most: u32,
    ) -> Result<Vec<SeatChange>, DbError> {
        let rows = self.query(CHANGES, &[&event_id, &version, &i64::from(most)]).await?;
        rows.iter().map(change).collect()
    }

    /// The last change of each of these events.
    pub async fn seat_versions(&self, events: &[String]) -> Result<Vec<(String, i64)>, DbError> {
        let rows = self.query(VERSIONS, &[&events]).await?;
        rows.iter().map(|row| Ok((column(row, "id")?, column(row, "seat_version")?))).collect()
    }

    /// Deletes changes that nobody will ask for; says how many.
    pub async fn forget_seat_changes(&self, older_than: Duration, batch: u32) -> Result<u64, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(FORGET).await?;
            Ok(transaction.execute(&statement, &[&older_than.as_secs_f64(), &i64::from(batch)]).await?)
        })
        .await
    }

    /// Gives an event that nobody has bought from a generated map, one seat a ticket; says whether it did.
    pub async fn seed_seats(&self, event_id: &str) -> Result<bool, DbError> {
        self.transaction(async |transaction| {
            let Some(event) = transaction.query_opt(MAKE_SEATED, &[&event_id]).await? else {
                return Ok(false);
            };
            let seats = plan(super::count(&event, "total_qty")?, column(&event, "price_minor")?);
            let text = |of: fn(&PlannedSeat) -> &str| seats.iter().map(of).collect::<Vec<_>>();
            let number = |of: fn(&PlannedSeat) -> i32| seats.iter().map(of).collect::<Vec<_>>();
            let written = transaction
                .execute(
                    INSERT,
                    &[
                        &event_id,
                        &text(|seat| &seat.id),
                        &text(|seat| &seat.section),
                        &text(|seat| &seat.row),
                        &number(|seat| seat.number),
                        &number(|seat| seat.rank),
                        &number(|seat| seat.price_minor),
                    ],
                )
                .await?;
            let total: i32 = column(&event, "total_qty")?;
            if i64::try_from(written).ok() == Some(total.into()) {
                Ok(true)
            } else {
                Err(DbError::Row(format!("{total} tickets are more than a map has seats")))
            }
        })
        .await
    }
}

fn seat(row: &Row) -> Result<Seat, DbError> {
    Ok(Seat {
        id: column(row, "id")?,
        section: column(row, "section")?,
        row: column(row, "row")?,
        number: column(row, "number")?,
        price_minor: column(row, "price_minor")?,
        status: column(row, "status")?,
    })
}

fn change(row: &Row) -> Result<SeatChange, DbError> {
    Ok(SeatChange {
        version: column(row, "version")?,
        status: column(row, "status")?,
        seats: column(row, "seats")?,
    })
}
