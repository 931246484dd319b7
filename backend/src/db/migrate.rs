//! The schema: brought up to date at every start, by one process at a time.

use refinery::{Migration, Runner};

use super::{DbError, connect_alone};
use crate::config::Database;

/// Names `V<number>__<what>`; a migration that has shipped never changes.
const MIGRATIONS: [(&str, &str); 5] = [
    ("V1__events_orders_holds", include_str!("../../migrations/V1__events_orders_holds.sql")),
    ("V2__lean_sale", include_str!("../../migrations/V2__lean_sale.sql")),
    ("V3__outbox_payments", include_str!("../../migrations/V3__outbox_payments.sql")),
    ("V4__seats", include_str!("../../migrations/V4__seats.sql")),
    ("V5__practice", include_str!("../../migrations/V5__practice.sql")),
];

/// Any constant, the same in every process of this program.
const ONE_AT_A_TIME: i64 = 0x76_65_73_74_69_62;

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("the schema cannot be brought up to date: {0}")]
    Schema(#[from] refinery::Error),
}

/// Connects, waits its turn, applies what is missing.
pub async fn migrate(database: &Database) -> Result<(), MigrateError> {
    let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
    let migrations = migrations.collect::<Result<Vec<_>, _>>()?;
    let mut client = connect_alone(database).await?;
    // Held until the connection closes.
    client.execute("SELECT pg_advisory_lock($1)", &[&ONE_AT_A_TIME]).await.map_err(DbError::from)?;
    Runner::new(&migrations).run_async(&mut client).await?;
    Ok(())
}
