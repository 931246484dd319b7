//! Calls: one script, one trip, one deadline.

use std::future::Future;
use std::time::Duration;

use deadpool::managed::{Object, PoolError};
use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::address::{DIAL, Servers};
use super::ask::Ask;
use super::pool::{self, Pool};
use crate::StoreError;

/// Connections that are opened before the first call.
const WARM: usize = pool::SIZE / 2;
/// How long it may take to learn about a cluster from its nodes.
const CLUSTER_START: Duration = Duration::from_secs(5);

pub(super) struct Link {
    route: Route,
    address: String,
    timeout: Duration,
}

enum Route {
    Pool(Pool),
    Cluster(ClusterConnection),
}

/// Why an attempt failed.
enum Failure {
    Late,
    Redis(RedisError),
}

impl Link {
    pub(super) async fn open(servers: &Servers, timeout: Duration) -> Result<Self, StoreError> {
        let unreachable = |error: RedisError| unreachable(&servers.address, &error);
        let route = match pool::open(servers).map_err(unreachable)? {
            Some(pool) => Route::Pool(pool),
            None => Route::Cluster(cluster(servers).await?),
        };
        Ok(Self { route, address: servers.address.clone(), timeout })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Opens some connections before the first call needs them.
    pub(super) async fn warm(&self) -> Result<(), StoreError> {
        let Route::Pool(pool) = &self.route else {
            return Ok(());
        };
        let deadline = Instant::now() + DIAL;
        let mut opened = Vec::with_capacity(WARM);
        for _ in 0..WARM {
            opened.push(self.at_start(get(pool, deadline).await)?);
        }
        Ok(())
    }

    /// One command on any server, with the patience of a start.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, StoreError> {
        let deadline = Instant::now() + DIAL;
        let run = async {
            match &self.route {
                Route::Pool(pool) => {
                    let mut connection = get(pool, deadline).await?;
                    within(deadline, connection.req_packed_command(command)).await
                }
                Route::Cluster(cluster) => {
                    within(deadline, cluster.clone().req_packed_command(command)).await
                }
            }
        };
        self.at_start(run.await)
    }

    /// Runs a script within the deadline. A connection that proves dead is replaced and the call made again: all
    /// scripts may be repeated.
    pub(super) async fn run(&self, ask: &Ask) -> Result<Value, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let outcome = match &self.route {
            Route::Cluster(cluster) => within(deadline, invoke(&mut cluster.clone(), ask)).await,
            Route::Pool(pool) => match pooled(pool, ask, deadline).await {
                Err(Failure::Redis(error)) if is_dead(&error) => pooled(pool, ask, deadline).await,
                outcome => outcome,
            },
        };
        self.explain(outcome)
    }

    /// Whatever goes wrong at start, the address has to be in the message.
    fn at_start<T>(&self, outcome: Result<T, Failure>) -> Result<T, StoreError> {
        outcome.map_err(|failure| match failure {
            Failure::Late => self.silent(),
            Failure::Redis(error) if error.is_timeout() => self.silent(),
            Failure::Redis(error) => explain(&self.address, self.timeout, &error),
        })
    }

    fn silent(&self) -> StoreError {
        StoreError::Unreachable { address: self.address.clone(), cause: format!("no answer within {DIAL:?}") }
    }

    fn explain<T>(&self, outcome: Result<T, Failure>) -> Result<T, StoreError> {
        outcome.map_err(|failure| match failure {
            Failure::Late => StoreError::TimedOut(self.timeout),
            Failure::Redis(error) => explain(&self.address, self.timeout, &error),
        })
    }
}

async fn cluster(servers: &Servers) -> Result<ClusterConnection, StoreError> {
    let connect = async {
        let no_cluster = || RedisError::from((ErrorKind::InvalidClientConfig, "no cluster is set"));
        let client = servers.cluster(|builder| builder)?.ok_or_else(no_cluster)?;
        client.get_async_connection().await
    };
    match timeout(CLUSTER_START, connect).await {
        Ok(outcome) => outcome.map_err(|error| unreachable(&servers.address, &error)),
        Err(_) => Err(StoreError::Unreachable {
            address: servers.address.clone(),
            cause: format!("the nodes did not answer within {CLUSTER_START:?}"),
        }),
    }
}

async fn get(pool: &Pool, deadline: Instant) -> Result<Object<pool::Manager>, Failure> {
    match timeout_at(deadline, pool.get()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(PoolError::Backend(error))) => Err(Failure::Redis(error)),
        Ok(Err(_)) | Err(_) => Err(Failure::Late),
    }
}

async fn pooled(pool: &Pool, ask: &Ask, deadline: Instant) -> Result<Value, Failure> {
    let mut connection = get(pool, deadline).await?;
    let outcome = within(deadline, invoke(&mut *connection, ask)).await;
    match &outcome {
        // Somebody may still answer, on a connection that nobody should wait for.
        Err(Failure::Late) => drop(Object::take(connection)),
        Err(Failure::Redis(error)) if is_dead(error) || error.is_timeout() => {
            drop(Object::take(connection));
            // The others lead to the same server and are as old.
            pool.retain(|_, _| false);
            pool.manager().forget_late();
        }
        Ok(_) | Err(Failure::Redis(_)) => {}
    }
    outcome
}

/// By its hash; a server that does not know the script gets the whole of it.
async fn invoke(connection: &mut impl ConnectionLike, ask: &Ask) -> RedisResult<Value> {
    let by_hash = command("EVALSHA", ask.script.hash(), ask);
    match connection.req_packed_command(&by_hash).await.and_then(Value::extract_error) {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            let whole = command("EVAL", ask.script.source(), ask);
            connection.req_packed_command(&whole).await.and_then(Value::extract_error)
        }
        outcome => outcome,
    }
}

fn command(verb: &str, script: &str, ask: &Ask) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(ask.keys.len()).arg(&ask.keys).arg(&ask.args);
    command
}

async fn within<T>(deadline: Instant, work: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(outcome) => outcome.map_err(Failure::Redis),
        Err(_) => Err(Failure::Late),
    }
}

/// The connection is lost, or leads to a server that is no longer the one to ask.
fn is_dead(error: &RedisError) -> bool {
    error.is_connection_dropped()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

fn explain(address: &str, timeout: Duration, error: &RedisError) -> StoreError {
    if error.code() == Some("OOM") {
        return StoreError::Full;
    }
    if error.is_timeout() {
        return StoreError::TimedOut(timeout);
    }
    let away = is_dead(error)
        || error.is_io_error()
        || error.is_cluster_error()
        || matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::MasterNameNotFoundBySentinel
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::Server(ServerErrorKind::BusyLoading)
        );
    if away { unreachable(address, error) } else { StoreError::Failed(error.to_string()) }
}

pub(super) fn unreachable(address: &str, error: &RedisError) -> StoreError {
    StoreError::Unreachable { address: address.into(), cause: error.to_string() }
}
