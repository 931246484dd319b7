//! The books: are the counters of each event what its rows add up to?

use std::fmt;

use super::{Db, DbError, column};

/// The counters of an event beside the sums they stand for, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    pub event_id: String,
    pub total: i64,
    pub held: i64,
    pub sold: i64,
    /// Tickets in rows of `holds`.
    pub in_holds: i64,
    /// Tickets of orders that wait for their payment.
    pub on_hold: i64,
    /// Tickets of paid orders.
    pub paid: i64,
    /// Holds without an order of the same event, buyer and quantity that waits for its payment.
    pub orphans: i64,
}

/// One statement, so that all of it is of one moment, in the midst of a sale too. Of an event that is practised only the
/// orders of its present window count; holds of another would be orphans.
const BOOKS: &str =
    "SELECT e.id, e.total_qty::bigint AS total, e.held_qty::bigint AS held, e.sold_qty::bigint AS sold,
        coalesce(h.qty, 0) AS in_holds, coalesce(h.orphans, 0) AS orphans,
        coalesce(o.on_hold, 0) AS on_hold, coalesce(o.paid, 0) AS paid
    FROM events e
    LEFT JOIN (
        SELECT h.event_id, sum(h.qty)::bigint AS qty, count(*) FILTER (WHERE o.id IS NULL) AS orphans
        FROM holds h LEFT JOIN orders o ON o.id = h.id AND o.event_id = h.event_id AND o.user_id = h.user_id
            AND o.qty = h.qty AND o.status IN ('HOLD', 'PAYING')
            AND EXISTS (SELECT 1 FROM events e WHERE e.id = o.event_id
                AND e.practice_window IS NOT DISTINCT FROM o.practice_window)
        GROUP BY h.event_id) AS h ON h.event_id = e.id
    LEFT JOIN (
        SELECT event_id, practice_window, sum(qty) FILTER (WHERE status IN ('HOLD', 'PAYING'))::bigint AS on_hold,
            sum(qty) FILTER (WHERE status = 'PAID')::bigint AS paid
        FROM orders GROUP BY event_id, practice_window) AS o
        ON o.event_id = e.id AND o.practice_window IS NOT DISTINCT FROM e.practice_window
    ORDER BY e.id";

/// Orders and holds whose event is not there.
const STRAYS: &str = "SELECT (SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.id = o.event_id))
    + (SELECT count(*) FROM holds h WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.id = h.event_id)) AS strays";

impl Db {
    /// The books of all events. Reads every order: for tests and operators, not for the sale.
    pub async fn books(&self) -> Result<Vec<Books>, DbError> {
        let rows = self.query(BOOKS, &[]).await?;
        let books = rows.iter().map(|row| {
            Ok(Books {
                event_id: column(row, "id")?,
                total: column(row, "total")?,
                held: column(row, "held")?,
                sold: column(row, "sold")?,
                in_holds: column(row, "in_holds")?,
                on_hold: column(row, "on_hold")?,
                paid: column(row, "paid")?,
                orphans: column(row, "orphans")?,
            })
        });
        books.collect()
    }

    /// Orders and holds of events that do not exist: what foreign keys would forbid.
    pub async fn strays(&self) -> Result<i64, DbError> {
        let rows = self.query(STRAYS, &[]).await?;
        rows.first().map_or(Ok(0), |row| column(row, "strays"))
    }
}

impl Books {
    /// Whether the counters are right and nothing is sold twice.
    pub const fn balance(&self) -> bool {
        self.held == self.in_holds
            && self.held == self.on_hold
            && self.sold == self.paid
            && self.orphans == 0
            && self.held + self.sold <= self.total
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_id, total, held, sold, in_holds, on_hold, paid, orphans } = self;
        write!(
            f,
            "{event_id}: of {total} held {held} (holds {in_holds}, orders {on_hold}), sold {sold} (paid {paid}), \
             {orphans} holds without an order"
        )
    }
}
