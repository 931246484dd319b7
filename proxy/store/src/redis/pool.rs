//! Connections to one server. A call has one for itself, so that a long answer holds up nobody else's; whoever does
//! not give it back closes it, so a late answer is never read as the next call's.
//!
//! A connection that was heard a moment ago is not asked whether it lives, which would double the trips of a busy
//! store. One that comes up after its caller stopped waiting is kept for the next.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

use super::address::Servers;

/// Calls that are under way at a time, each on a connection of its own.
pub(super) const SIZE: usize = 8;
/// A connection that was silent for longer is asked whether it lives.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    dialer: Arc<Dialer>,
    seats: Semaphore,
    /// How long a connection may take to show that it lives.
    patience: Duration,
}

/// A connection for one call.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: MultiplexedConnection,
    _seat: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(client: Client, servers: &Servers) -> Self {
        let dialer = Dialer {
            client,
            config: servers.config(),
            runtime: servers.runtime.clone(),
            dials: Arc::new(Semaphore::new(SIZE)),
            spares: Mutex::default(),
        };
        Self { dialer: Arc::new(dialer), seats: Semaphore::new(SIZE), patience: servers.timeout / 2 }
    }

    pub(super) async fn get(&self) -> RedisResult<Lease<'_>> {
        let seat = self.seats.acquire().await.map_err(ended)?;
        while let Some(mut spare) = self.dialer.take() {
            if spare.is_trusted() || self.lives(&mut spare.connection).await {
                return Ok(self.lease(spare.connection, seat));
            }
            // The others are as old.
            self.forget();
        }
        let connection = self.dialer.dial().await?;
        Ok(self.lease(connection, seat))
    }

    /// Closes all that nobody uses: they lead to a server that is gone, or no longer the one to ask.
    pub(super) fn forget(&self) {
        self.dialer.spares().clear();
    }

    /// From now on, each of those that nobody uses has to show that it lives.
    pub(super) fn doubt(&self) {
        self.dialer.spares().iter_mut().for_each(|spare| spare.is_doubted = true);
    }

    fn lease<'a>(&'a self, connection: MultiplexedConnection, seat: SemaphorePermit<'a>) -> Lease<'a> {
        Lease { pool: self, connection, _seat: seat }
    }

    async fn lives(&self, connection: &mut MultiplexedConnection) -> bool {
        let ping = redis::cmd("PING");
        // An error is an answer too: the call itself will hear it.
        let asked = timeout(self.patience, connection.req_packed_command(&ping)).await;
        asked.is_ok_and(|answer| answer.is_ok())
    }
}

impl Lease<'_> {
    pub(super) async fn request(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.connection.req_packed_command(command).await?.extract_error()
    }

    /// All that was asked is answered: the next call may have it.
    pub(super) fn give_back(self) {
        self.pool.dialer.keep(self.connection);
    }
}

struct Dialer {
    client: Client,
    config: AsyncConnectionConfig,
    runtime: Handle,
    dials: Arc<Semaphore>,
    /// The one heard last is at the end.
    spares: Mutex<Vec<Spare>>,
}

struct Spare {
    connection: MultiplexedConnection,
    heard: Instant,
    is_doubted: bool,
}

impl Spare {
    fn is_trusted(&self) -> bool {
        !self.is_doubted && self.heard.elapsed() < FRESH
    }
}

impl Dialer {
    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Spare> {
        self.spares().pop()
    }

    fn keep(&self, connection: MultiplexedConnection) {
        let mut spares = self.spares();
        if spares.len() < SIZE {
            spares.push(Spare { connection, heard: Instant::now(), is_doubted: false });
        }
    }

    async fn dial(self: &Arc<Self>) -> RedisResult<MultiplexedConnection> {
        let permit = Arc::clone(&self.dials).acquire_owned().await.map_err(ended)?;
        // While this one waited, another may have come up for somebody who did not.
        if let Some(spare) = self.take() {
            return Ok(spare.connection);
        }
        let (sender, receiver) = oneshot::channel();
        let dialer = Arc::clone(self);
        self.runtime.spawn(async move {
            let dialled = dialer.client.get_multiplexed_async_connection_with_config(&dialer.config).await;
            if let Err(Ok(connection)) = sender.send(dialled) {
                dialer.keep(connection);
            }
            drop(permit);
        });
        receiver.await.map_err(ended)?
    }
}

fn ended<E>(_: E) -> io::Error {
    io::Error::other("the runtime of the store's connections has ended")
}
