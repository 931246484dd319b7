//! The schema: brought up to date by one process at a time, at the start of a server or by a program of its own.

use std::error::Error;

use refinery::{Migration, Runner};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{DbError, column, connect_alone};
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

const HISTORY: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL AS is_there";
const VERSION: &str = "SELECT coalesce(max(version), 0) AS version FROM refinery_schema_history";

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("the schema cannot be brought up to date: {}", said(.0))]
    Schema(#[from] refinery::Error),
    #[error("its schema is version {found}, this release needs {needed}: run `box-office migrate` first")]
    Behind { found: i32, needed: i32 },
}

/// What [`migrate`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Of the schema as it is now; that of a later release may be higher than this one's.
    pub version: i32,
    /// Migrations that were missing.
    pub applied: usize,
}

/// Connects, waits its turn, applies what is missing. The schema of a later release is left as it is: it only adds to
/// what this one needs, so that a rollout can go back.
pub async fn migrate(database: &Database) -> Result<Migrated, MigrateError> {
    let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
    let migrations = migrations.collect::<Result<Vec<_>, _>>()?;
    let mut client = connect_alone(database).await?;
    // Held until the connection closes.
    client.execute("SELECT pg_advisory_lock($1)", &[&ONE_AT_A_TIME]).await.map_err(DbError::from)?;
    let found = version(&client).await?;
    if found > needed() {
        return Ok(Migrated { version: found, applied: 0 });
    }
    let report = Runner::new(&migrations).run_async(&mut client).await?;
    Ok(Migrated { version: needed(), applied: report.applied_migrations().len() })
}

/// The version of a schema that somebody else migrates, if it is enough for this release.
pub async fn ready(database: &Database) -> Result<i32, MigrateError> {
    let (found, needed) = (version(&connect_alone(database).await?).await?, needed());
    if found >= needed { Ok(found) } else { Err(MigrateError::Behind { found, needed }) }
}

/// Zero where nobody has migrated yet.
async fn version(client: &Client) -> Result<i32, DbError> {
    if !column::<bool>(&client.query_one(HISTORY, &[]).await?, "is_there")? {
        return Ok(0);
    }
    column(&client.query_one(VERSION, &[]).await?, "version")
}

/// What PostgreSQL said, and not who passed it on.
fn said(error: &(dyn Error + 'static)) -> String {
    match (error.source(), error.downcast_ref::<tokio_postgres::error::DbError>()) {
        (Some(cause), _) => said(cause),
        (None, Some(told)) if *told.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
            format!("{told}; migrate as the role that owns it")
        }
        (None, _) => error.to_string(),
    }
}

/// They are numbered without gaps.
fn needed() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for (index, (name, _)) in MIGRATIONS.iter().enumerate() {
            assert!(name.starts_with(&format!("V{}__", index + 1)), "{name}");
        }
    }
}
