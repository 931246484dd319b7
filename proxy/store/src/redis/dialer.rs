//! Brings connections to one server up, and has those that nobody uses.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use super::address::Servers;
use super::pool::SIZE;

/// A connection that was silent for longer is asked whether it lives before it is used.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct Dialer {
    client: Client,
    config: AsyncConnectionConfig,
    /// Where connections live, whichever runtime asks for them.
    runtime: Handle,
    /// One for each call that is under way.
    pub(super) seats: Semaphore,
    dials: Arc<Semaphore>,
    spares: Mutex<Spares>,
}

/// The one used last is at the end.
#[derive(Default)]
struct Spares {
    list: Vec<Spare>,
    /// The number of the next.
    next: u64,
}

pub(super) struct Spare {
    pub(super) connection: MultiplexedConnection,
    number: u64,
    /// `None` when there is reason to doubt that it lives.
    heard: Option<Instant>,
}

impl Spare {
    pub(super) fn is_trusted(&self) -> bool {
        self.was_heard_within(FRESH)
    }

    fn was_heard_within(&self, span: Duration) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() < span)
    }
}

impl Dialer {
    pub(super) fn new(client: Client, servers: &Servers) -> Self {
        Self {
            client,
            config: servers.config(),
            runtime: servers.runtime.clone(),
            seats: Semaphore::new(SIZE),
            dials: Arc::new(Semaphore::new(SIZE)),
            spares: Mutex::default(),
        }
    }

    pub(super) fn take(&self) -> Option<Spare> {
        self.spares().list.pop()
    }

    pub(super) fn keep(&self, connection: MultiplexedConnection) {
        let mut spares = self.spares();
        if spares.list.len() < SIZE {
            let number = spares.next;
            spares.next += 1;
            spares.list.push(Spare { connection, number, heard: Some(Instant::now()) });
        }
    }

    pub(super) fn forget(&self) {
        self.spares().list.clear();
    }

    pub(super) fn doubt(&self) {
        self.spares().list.iter_mut().for_each(|spare| spare.heard = None);
    }

    /// Those that said nothing for so long. They stay where they are: what is asked of them is answered in order.
    pub(super) fn silent_for(&self, span: Duration) -> Vec<(u64, MultiplexedConnection)> {
        let spares = self.spares();
        let silent = spares.list.iter().filter(|spare| !spare.was_heard_within(span));
        silent.map(|spare| (spare.number, spare.connection.clone())).collect()
    }

    /// Whether a spare that was asked has answered; if not, it goes.
    pub(super) fn heard(&self, number: u64, has_answered: bool) {
        let mut spares = self.spares();
        if !has_answered {
            spares.list.retain(|spare| spare.number != number);
        } else if let Some(spare) = spares.list.iter_mut().find(|spare| spare.number == number) {
            spare.heard = Some(Instant::now());
        }
    }

    /// Whether there are fewer connections than wanted, and nobody dials.
    pub(super) fn is_short(&self, wanted: usize) -> bool {
        let in_use = SIZE - self.seats.available_permits();
        self.dials.available_permits() == SIZE && self.spares().list.len() + in_use < wanted
    }

    /// One spare more.
    pub(super) async fn fill_up(&self) -> RedisResult<()> {
        let _permit = self.permit().await?;
        self.keep(self.client.get_multiplexed_async_connection_with_config(&self.config).await?);
        Ok(())
    }

    /// One that comes up after its caller stopped waiting becomes a spare.
    pub(super) async fn dial(self: &Arc<Self>) -> RedisResult<MultiplexedConnection> {
        let permit = self.permit().await?;
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

    async fn permit(&self) -> RedisResult<OwnedSemaphorePermit> {
        Ok(Arc::clone(&self.dials).acquire_owned().await.map_err(ended)?)
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection answers in time. An error is an answer too: the call itself will hear it.
pub(super) async fn lives(connection: &MultiplexedConnection, patience: Duration) -> bool {
    let (ping, mut connection) = (redis::cmd("PING"), connection.clone());
    timeout(patience, connection.req_packed_command(&ping)).await.is_ok_and(|answer| answer.is_ok())
}

pub(super) fn ended<E>(_: E) -> io::Error {
    io::Error::other("the runtime of the store's connections has ended")
}
