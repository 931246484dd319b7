//! PostgreSQL: the pool, transactions with deadlines, and what can go wrong.
//!
//! Every wait has an end: for a free connection, for a new one, for a row lock, for a statement, for the whole
//! call. A connection whose state is not known any more is closed, never given to the next caller, so a call that
//! fails leaves nothing half-done.

pub mod books;
pub(crate) mod connect;
pub mod events;
mod fates;
pub(crate) mod group;
pub mod holds;
pub mod migrate;
pub mod mock;
pub mod orders;
pub mod outbox;
pub mod payments;
pub mod placing;
pub mod practice;
pub mod reservations;
pub mod seats;
pub mod settle;
mod taking;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::config::Database;
use connect::AnyWritable;

/// How long a call waits for a free connection.
const POOL_WAIT: Duration = Duration::from_millis(1500);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for all statements of one call.
const CALL: Duration = Duration::from_secs(4);
/// What the server enforces, below [`CALL`] so that its answer comes first.
const SESSION: &str =
    "-c lock_timeout=1500 -c statement_timeout=3000 -c idle_in_transaction_session_timeout=5000";
/// The counter plans each statement once, and not by the statistics of a table that was empty a moment ago.
const COUNTER_SESSION: &str = "-c lock_timeout=1500 -c statement_timeout=1800 -c idle_in_transaction_session_timeout=3000 \
    -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

/// Raised by the gate of events that are practised.
const SALE_CLOSED: &str = "VB001";

/// Why a database call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("no connection became free within {} ms", POOL_WAIT.as_millis())]
    Busy,
    #[error("another transaction kept its lock too long")]
    LockTimeout,
    #[error("no answer from PostgreSQL in time")]
    Slow,
    #[error("PostgreSQL cannot be reached: {}", whole(.0))]
    Unreachable(#[source] tokio_postgres::Error),
    /// Not encrypted, or not by whom it should be.
    #[error("PostgreSQL cannot be trusted: {}; {cure}", whole(.error))]
    Tls { error: tokio_postgres::Error, cure: &'static str },
    #[error("PostgreSQL refused a statement: {}", whole(.0))]
    Refused(#[source] tokio_postgres::Error),
    #[error("a row does not hold what it should: {0}")]
    Row(String),
    #[error("too many wait for their turn at the counter")]
    Crowded,
    /// An event that is practised sells in its windows only; the next opens after so many milliseconds.
    #[error("the sale is closed")]
    SaleClosed { opens_in_ms: u64 },
    /// What failed for all who were served together.
    #[error(transparent)]
    OfGroup(Arc<DbError>),
}

impl DbError {
    /// Whether the same call may succeed a little later.
    pub fn may_pass(&self) -> bool {
        match self.cause() {
            Self::Busy
            | Self::LockTimeout
            | Self::Slow
            | Self::Crowded
            | Self::Unreachable(_)
            | Self::Tls { .. } => true,
            Self::Refused(_) | Self::Row(_) | Self::OfGroup(_) | Self::SaleClosed { .. } => false,
        }
    }

    /// Whether everybody who asks for the same would hear it.
    pub fn concerns_all(&self) -> bool {
        matches!(self.cause(), Self::SaleClosed { .. })
    }

    /// The failure itself, whoever else it was told.
    pub fn cause(&self) -> &Self {
        match self {
            Self::OfGroup(error) => error.cause(),
            error => error,
        }
    }

    /// Whether the connection answered in order, so that it can be used again.
    const fn leaves_connection_usable(&self) -> bool {
        matches!(self, Self::LockTimeout | Self::Refused(_) | Self::Row(_) | Self::SaleClosed { .. })
    }
}

/// The error with its causes: `tokio_postgres` tells only the kind.
pub(crate) fn whole(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The number that came with an error of our own.
fn detail(error: &tokio_postgres::Error) -> u64 {
    error.as_db_error().and_then(|error| error.detail()?.parse().ok()).unwrap_or(0)
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        let gone = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ];
        match error.code() {
            None => match tls::cure(&error) {
                Some(cure) => Self::Tls { error, cure },
                None => Self::Unreachable(error),
            },
            Some(code) if gone.contains(code) => Self::Unreachable(error),
            Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED) => Self::LockTimeout,
            Some(&SqlState::QUERY_CANCELED) => Self::Slow,
            Some(code) if code.code() == SALE_CLOSED => Self::SaleClosed { opens_in_ms: detail(&error) },
            Some(_) => Self::Refused(error),
        }
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) | PoolError::Closed => Self::Busy,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::Slow,
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Self::Row(error.to_string()),
        }
    }
}

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Pool,
}

impl Db {
    /// Opens no connection yet.
    pub fn new(database: &Database, connections: usize) -> Result<Self, deadpool_postgres::BuildError> {
        Self::with_session(database, connections, SESSION)
    }

    /// Connections for [`crate::counter::Counter`].
    pub fn for_counter(
        database: &Database,
        connections: usize,
    ) -> Result<Self, deadpool_postgres::BuildError> {
        Self::with_session(database, connections, COUNTER_SESSION)
    }

    fn with_session(
        database: &Database,
        connections: usize,
        session: &str,
    ) -> Result<Self, deadpool_postgres::BuildError> {
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = session_config(database, session);
        let pool = Pool::builder(Manager::from_connect(config, AnyWritable(database.tls.clone()), fast))
            .max_size(connections)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool })
    }

    /// Runs `work` as one transaction: committed if it succeeds, rolled back if it fails, all within [`CALL`].
    /// After an [`DbError::Slow`] or [`DbError::Unreachable`] the commit may still have happened: callers repeat
    /// the call with the same idempotency key to learn it.
    pub async fn transaction<T, W>(&self, work: W) -> Result<T, DbError>
    where
        W: AsyncFnOnce(&deadpool_postgres::Transaction<'_>) -> Result<T, DbError>,
    {
        let mut lease = self.lease().await?;
        let result = timeout(CALL, async {
            let transaction = lease.client_mut()?.transaction().await?;
            let value = work(&transaction).await?;
            transaction.commit().await?;
            Ok(value)
        })
        .await
        .unwrap_or(Err(DbError::Slow));
        lease.settle(&result);
        result
    }

    /// Runs one statement on its own.
    pub async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let lease = self.lease().await?;
        let result = timeout(CALL, async {
            let client = lease.client()?;
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, parameters).await?)
        })
        .await
        .unwrap_or(Err(DbError::Slow));
        lease.settle(&result);
        result
    }

    /// Whether PostgreSQL answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.query("SELECT 1", &[]).await.map(drop)
    }

    /// A connection for work that is not one [`Db::transaction`].
    pub(crate) async fn lease(&self) -> Result<Lease, DbError> {
        Ok(Lease { object: Some(self.pool.get().await?), pool: self.pool.clone() })
    }
}

/// A connection that goes back to the pool only when it is known to be in order. Dropped before that (the caller went
/// away, a deadline passed), it is closed: its transaction ends with it.
#[derive(Debug)]
pub(crate) struct Lease {
    object: Option<Object>,
    pool: Pool,
}

impl Lease {
    pub(crate) fn client(&self) -> Result<&Object, DbError> {
        self.object.as_ref().ok_or_else(ended)
    }

    fn client_mut(&mut self) -> Result<&mut Object, DbError> {
        self.object.as_mut().ok_or_else(ended)
    }

    /// The connection is in order and in no transaction.
    pub(crate) fn keep(mut self) {
        drop(self.object.take());
    }

    /// After one statement, or a transaction that rolls itself back.
    pub(crate) fn settle<T>(self, result: &Result<T, DbError>) {
        match result {
            Ok(_) => self.keep(),
            Err(error) if error.leaves_connection_usable() => self.keep(),
            Err(error) => self.close(error),
        }
    }

    /// A server that is silent here is so on its other connections too: with this one go all that wait in the pool,
    /// so that the next call asks for a server anew instead of trying them one by one.
    pub(crate) fn close(self, error: &DbError) {
        if matches!(error, DbError::Slow | DbError::Unreachable(_)) {
            let _closed = self.pool.retain(|_, _| false);
        }
    }
}

fn ended() -> DbError {
    DbError::Row("a connection was used after its end".into())
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// A connection outside the pool, for the start.
pub(crate) async fn connect_alone(database: &Database) -> Result<Client, DbError> {
    let config = session_config(database, "-c lock_timeout=30000");
    let (client, _driver) =
        timeout(CONNECT, connect::connect(&config, &database.tls)).await.map_err(|_| DbError::Slow)??;
    Ok(client)
}

fn session_config(database: &Database, session: &str) -> tokio_postgres::Config {
    let mut config = database.connect.clone();
    let options = [config.get_options(), Some(session)].into_iter().flatten().collect::<Vec<_>>().join(" ");
    config.options(options).application_name("box-office").connect_timeout(CONNECT);
    config
}

/// A column by name; a missing or ill-typed one is an error, not a panic.
pub(crate) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    name: &str,
) -> Result<T, DbError> {
    row.try_get(name).map_err(|error| DbError::Row(whole(&error)))
}

/// A count that the schema keeps from being negative.
pub(crate) fn count(row: &Row, name: &str) -> Result<u32, DbError> {
    let value: i32 = column(row, name)?;
    u32::try_from(value).map_err(|_| DbError::Row(format!("{name} is {value}")))
}
