//! Calls: one script, one trip, one deadline.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, sleep};

use super::address::DIAL;
use super::ask::Ask;
use super::directory::Directory;
use super::failure::Failure;
use super::pool;
use super::server::{Refused, Server};
use crate::StoreError;

/// How often a call is sent on from one server to another.
const MOST_SENT_ON: usize = 3;
/// How long a call waits before it asks again for a room that is moving; most are quick.
const MOVING: Duration = Duration::from_millis(20);

pub(super) struct Link {
    directory: Arc<Directory>,
    timeout: Duration,
}

impl Link {
    pub(super) fn new(directory: Arc<Directory>, timeout: Duration) -> Self {
        Self { directory, timeout }
    }

    pub(super) fn address(&self) -> &str {
        self.directory.address()
    }

    /// One command on every server, with the patience of a start. Those of a cluster that are away are passed over as
    /// long as one answers.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Vec<Value>, StoreError> {
        let deadline = Instant::now() + DIAL;
        let mut answers = Vec::new();
        let mut lost = self.nowhere();
        for server in self.directory.map().servers() {
            match at_start(server, server.command(command, deadline).await) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    tracing::warn!(%error, "a server of the store does not answer");
                    lost = error;
                }
            }
        }
        if answers.is_empty() { Err(lost) } else { Ok(answers) }
    }

    /// Opens some connections before the first call needs them.
    pub(super) async fn warm(&self) {
        let deadline = Instant::now() + DIAL;
        for server in self.directory.map().servers() {
            if let Err(error) = at_start(server, server.warm(pool::WARM, deadline).await) {
                tracing::warn!(%error, "connections come up slowly");
            }
        }
    }

    /// Runs a script within the deadline, wherever the room is.
    pub(super) async fn run(&self, ask: &Ask) -> Result<Value, StoreError> {
        let outcome = self.follow(ask, Instant::now() + self.timeout).await;
        if outcome.as_ref().is_err_and(StoreError::is_outage) {
            self.directory.look_again();
        }
        outcome
    }

    async fn follow(&self, ask: &Ask, deadline: Instant) -> Result<Value, StoreError> {
        let key = ask.keys.first().map_or("", String::as_str);
        let mut server = self.directory.server(key).ok_or_else(|| self.nowhere())?;
        let mut sent_on = 0;
        loop {
            match server.call(ask, deadline).await {
                Ok(value) => return Ok(value),
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Elsewhere { address }) if sent_on < MOST_SENT_ON => {
                    sent_on += 1;
                    self.directory.look_again();
                    server = self.directory.sent_to(&address, &server).ok_or_else(|| self.nowhere())?;
                }
                Err(Refused::Elsewhere { .. }) => return Err(self.nowhere()),
                Err(Refused::Moving(error)) => {
                    // A last try must not fail for lack of time: silence would count against the server.
                    if deadline - Instant::now() < self.timeout / 3 {
                        return Err(error);
                    }
                    sleep(MOVING).await;
                }
            }
        }
    }

    fn nowhere(&self) -> StoreError {
        StoreError::Unreachable { address: self.address().into(), cause: "no server has this room".into() }
    }
}

/// Whatever goes wrong at start, the address has to be in the message.
fn at_start<T>(server: &Server, outcome: Result<T, Failure>) -> Result<T, StoreError> {
    outcome.map_err(|failure| match failure.explain(&server.address, DIAL) {
        StoreError::TimedOut(limit) => StoreError::Unreachable {
            address: server.address.clone(),
            cause: format!("no answer within {limit:?}"),
        },
        error => error,
    })
}
