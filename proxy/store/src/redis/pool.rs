//! Connections to one server. A call has one for itself, so that a long answer holds up nobody else's; whoever does
//! not give it back closes it, so a late answer is never read as the next call's.
//!
//! A keeper looks after those that nobody uses, so that calls find some that live: it asks each whether it does, more
//! often than calls would have to, and dials others for those that were lost. A call that comes too soon for it looks
//! for itself.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Cmd, RedisResult, Value};
use tokio::sync::{Notify, SemaphorePermit};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::address::{DIAL, Servers};
use super::dialer::{Dialer, ended, lives};

/// Calls that are under way at a time, each on a connection of its own.
pub(super) const SIZE: usize = 8;
/// Connections that are there before a call wants one.
pub(super) const WARM: usize = SIZE / 2;
/// How often the keeper looks.
const LOOK_EVERY: Duration = Duration::from_millis(400);

pub(super) struct Pool {
    dialer: Arc<Dialer>,
    /// Told when a call had no answer.
    lost: Arc<Notify>,
    keeper: AbortHandle,
    /// How long a connection may take to show a caller that it lives.
    patience: Duration,
}

/// A connection for one call.
pub(super) struct Lease<'a> {
    dialer: &'a Dialer,
    connection: MultiplexedConnection,
    _seat: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(client: Client, servers: &Servers) -> Self {
        let dialer = Arc::new(Dialer::new(client, servers));
        let lost = Arc::<Notify>::default();
        let keeper = servers.runtime.spawn(keep(Arc::clone(&dialer), Arc::clone(&lost))).abort_handle();
        Self { dialer, lost, keeper, patience: servers.timeout / 2 }
    }

    pub(super) async fn get(&self) -> RedisResult<Lease<'_>> {
        let seat = self.dialer.seats.acquire().await.map_err(ended)?;
        while let Some(spare) = self.dialer.take() {
            if spare.is_trusted() || lives(&spare.connection, self.patience).await {
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
        self.dialer.forget();
    }

    /// From now on, each of those that nobody uses has to show that it lives.
    pub(super) fn doubt(&self) {
        self.dialer.doubt();
        self.lost.notify_one();
    }

    fn lease<'a>(&'a self, connection: MultiplexedConnection, seat: SemaphorePermit<'a>) -> Lease<'a> {
        Lease { dialer: &self.dialer, connection, _seat: seat }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Lease<'_> {
    pub(super) async fn request(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.connection.req_packed_command(command).await?.extract_error()
    }

    /// All that was asked is answered: the next call may have it.
    pub(super) fn give_back(self) {
        self.dialer.keep(self.connection);
    }
}

/// Keeps some connections alive, for calls to come.
async fn keep(dialer: Arc<Dialer>, lost: Arc<Notify>) {
    loop {
        // In time, or as soon as one is lost.
        let _ = timeout(LOOK_EVERY, lost.notified()).await;
        let mut asked = JoinSet::new();
        for (number, connection) in dialer.silent_for(LOOK_EVERY) {
            let dialer = Arc::clone(&dialer);
            asked.spawn(async move { dialer.heard(number, lives(&connection, DIAL).await) });
        }
        asked.join_all().await;
        while dialer.is_short(WARM) && dialer.fill_up().await.is_ok() {}
    }
}
