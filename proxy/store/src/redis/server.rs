//! One server: its connections, and whether it answers.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{
    Cmd, ConnectionAddr, ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::time::{Instant, timeout_at};

use super::address::Servers;
use super::ask::Ask;
use super::breaker::{Breaker, Pass};
use super::failure::{Failure, Moved};
use super::pool::{Lease, Pool};
use super::random;
use crate::StoreError;

pub(super) struct Server {
    pub(super) address: String,
    at: ConnectionAddr,
    pool: Pool,
    breaker: Mutex<Breaker>,
    timeout: Duration,
}

/// Why a server did not do what was asked.
pub(super) enum Refused {
    /// Another server has the room.
    Elsewhere {
        address: String,
    },
    /// The room is on its way to another server.
    Moving(StoreError),
    Error(StoreError),
}

impl Server {
    pub(super) fn new(servers: &Servers, at: ConnectionAddr) -> RedisResult<Self> {
        let client = servers.client(&at, ProtocolVersion::RESP2)?;
        Ok(Self {
            address: at.to_string(),
            at,
            pool: Pool::new(client, servers),
            breaker: Mutex::default(),
            timeout: servers.timeout,
        })
    }

    pub(super) fn at(&self) -> &ConnectionAddr {
        &self.at
    }

    /// Runs a script within the deadline.
    pub(super) async fn call(&self, ask: &Ask, deadline: Instant) -> Result<Value, Refused> {
        let pass = self.breaker().admit(Instant::now()).map_err(|refusal| Refused::Error(refusal.into()))?;
        let report = Report { server: self, pass: Some(pass) };
        let outcome = self.try_twice(ask, deadline).await;
        report.conclude(outcome)
    }

    /// One command, without the breaker.
    pub(super) async fn command(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let mut lease = within(deadline, self.pool.get()).await?;
        let answer = within(deadline, lease.request(command)).await?;
        lease.give_back();
        Ok(answer)
    }

    /// Opens connections before the first call needs them.
    pub(super) async fn warm(&self, connections: usize, deadline: Instant) -> Result<(), Failure> {
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            opened.push(within(deadline, self.pool.get()).await?);
        }
        opened.into_iter().for_each(Lease::give_back);
        Ok(())
    }

    /// When the connection proves dead, another is tried: all scripts may be repeated.
    async fn try_twice(&self, ask: &Ask, deadline: Instant) -> Result<Value, Failure> {
        match self.attempt(ask, deadline).await {
            Err(failure) if failure.is_dead() => self.attempt(ask, deadline).await,
            outcome => outcome,
        }
    }

    async fn attempt(&self, ask: &Ask, deadline: Instant) -> Result<Value, Failure> {
        let outcome = match within(deadline, self.pool.get()).await {
            Ok(mut lease) => {
                let outcome = within(deadline, invoke(&mut lease, ask)).await;
                if !outcome.as_ref().is_err_and(|failure| failure.is_dead() || failure.is_late()) {
                    lease.give_back();
                }
                outcome
            }
            Err(failure) => Err(failure),
        };
        match &outcome {
            Err(failure) if failure.is_dead() => self.pool.forget(),
            Err(failure) if failure.is_late() => self.pool.doubt(),
            _ => {}
        }
        outcome
    }

    fn answered(&self) {
        if self.breaker().answered() {
            tracing::info!(store = self.address, "the server answers again");
        }
    }

    fn silent(&self, pass: Pass, error: &StoreError) {
        if self.breaker().failed(pass, Instant::now(), error, random::share()) {
            tracing::warn!(store = self.address, %error, "the server is left alone but for probes");
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the breaker how a call ended, also when its caller went away.
struct Report<'a> {
    server: &'a Server,
    pass: Option<Pass>,
}

impl Report<'_> {
    fn conclude(mut self, outcome: Result<Value, Failure>) -> Result<Value, Refused> {
        let pass = self.pass.take();
        let failure = match outcome {
            Ok(value) => {
                self.server.answered();
                return Ok(value);
            }
            Err(failure) => failure,
        };
        let error = failure.explain(&self.server.address, self.server.timeout);
        match pass {
            Some(pass) if failure.is_silence() => {
                self.server.silent(pass, &error);
            }
            _ => self.server.answered(),
        }
        Err(match failure.moved() {
            Some(Moved::To(address)) => Refused::Elsewhere { address: address.into() },
            Some(Moved::Half) => Refused::Moving(error),
            None => Refused::Error(error),
        })
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.server.breaker().abandoned(pass, Instant::now());
        }
    }
}

/// By its hash; a server that does not know the script gets the whole of it.
async fn invoke(lease: &mut Lease<'_>, ask: &Ask) -> RedisResult<Value> {
    match lease.request(&command("EVALSHA", ask.script.hash(), ask)).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            lease.request(&command("EVAL", ask.script.source(), ask)).await
        }
        outcome => outcome,
    }
}

fn command(verb: &str, script: &str, ask: &Ask) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(ask.keys.len()).arg(&ask.keys).arg(&ask.args);
    command
}

async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(outcome) => outcome.map_err(Failure::Redis),
        Err(_) => Err(Failure::Late),
    }
}
