//! A pool of connections to the one server that takes the calls: deadpool-redis, with two differences. A
//! connection that was used a moment ago is not asked whether it lives, which would double the trips of a busy
//! store; and a connection that comes up after its caller stopped waiting is kept for the next one.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleResult};
use deadpool_redis::sentinel::{self, SentinelNodeConnectionInfo, SentinelServerType};
use redis::aio::MultiplexedConnection;
use redis::{RedisConnectionInfo, RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::address::{Kind, Servers};

pub(super) type Pool = managed::Pool<Manager>;

/// Connections of one edge to the store.
pub(super) const SIZE: usize = 8;
/// A connection that was idle for longer is asked whether it lives.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct Manager {
    source: Arc<Source>,
    /// Where connections live, whichever runtime asks for them.
    runtime: Handle,
    /// Came up too late for who asked for them; at most [`SIZE`].
    late: Arc<Mutex<Vec<MultiplexedConnection>>>,
}

enum Source {
    Single(deadpool_redis::Manager),
    Sentinel(sentinel::Manager),
}

impl Source {
    async fn dial(&self) -> RedisResult<MultiplexedConnection> {
        match self {
            Self::Single(manager) => managed::Manager::create(manager).await,
            Self::Sentinel(manager) => managed::Manager::create(manager).await,
        }
    }
}

/// A pool for these servers; `None` for a cluster, whose connection is a pool by itself.
pub(super) fn open(servers: &Servers) -> RedisResult<Option<Pool>> {
    let Some(source) = source(servers)? else {
        return Ok(None);
    };
    let manager = Manager { source: Arc::new(source), runtime: Handle::current(), late: Arc::default() };
    let pool = Pool::builder(manager).max_size(SIZE).build();
    pool.map(Some).map_err(|error| RedisError::from(io::Error::other(error.to_string())))
}

fn source(servers: &Servers) -> RedisResult<Option<Source>> {
    Ok(match &servers.kind {
        Kind::Single(info) => {
            let manager = deadpool_redis::Manager::new_with_config(info.clone(), servers.config())?;
            Some(Source::Single(manager))
        }
        Kind::Sentinel { sentinels, master, login, tls } => {
            let node = SentinelNodeConnectionInfo {
                tls_mode: tls.then_some(sentinel::TlsMode::Secure),
                redis_connection_info: Some(as_deadpool(login)),
            };
            let kind = SentinelServerType::Master;
            let manager = sentinel::Manager::new(sentinels.clone(), master.clone(), Some(node), kind)?;
            Some(Source::Sentinel(manager))
        }
        Kind::Cluster { .. } => None,
    })
}

fn as_deadpool(login: &RedisConnectionInfo) -> deadpool_redis::RedisConnectionInfo {
    deadpool_redis::RedisConnectionInfo {
        db: login.db(),
        username: login.username().map(Into::into),
        password: login.password().map(Into::into),
        ..deadpool_redis::RedisConnectionInfo::default()
    }
}

impl Manager {
    /// Drops what came up late: it may lead to a server that is gone.
    pub(super) fn forget_late(&self) {
        late(&self.late).clear();
    }
}

fn late(late: &Mutex<Vec<MultiplexedConnection>>) -> MutexGuard<'_, Vec<MultiplexedConnection>> {
    late.lock().unwrap_or_else(PoisonError::into_inner)
}

impl managed::Manager for Manager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = late(&self.late).pop() {
            return Ok(connection);
        }
        let (sender, receiver) = oneshot::channel();
        let (source, spare) = (Arc::clone(&self.source), Arc::clone(&self.late));
        self.runtime.spawn(async move {
            if let Err(Ok(connection)) = sender.send(source.dial().await) {
                let mut spare = late(&spare);
                if spare.len() < SIZE {
                    spare.push(connection);
                }
            }
        });
        let ended = |_| io::Error::other("the runtime of the store's connections has ended");
        receiver.await.map_err(ended)?
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        metrics: &Metrics,
    ) -> RecycleResult<RedisError> {
        if metrics.last_used() < FRESH {
            return Ok(());
        }
        match &*self.source {
            Source::Single(manager) => managed::Manager::recycle(manager, connection, metrics).await,
            Source::Sentinel(manager) => managed::Manager::recycle(manager, connection, metrics).await,
        }
    }
}
