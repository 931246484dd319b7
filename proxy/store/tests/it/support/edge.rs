//! One edge and its store, with a link between them that can be made bad, and the clock on what follows.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use room::ids::RoomName;
use room::queue::Survey;
use room::rules::Rules;
use store::redis::{Redis, RedisOptions};
use store::{Call, Store, StoreError};

use super::fault_link::FaultLink;
use super::servers::{RedisServer, free_port};
use super::world::{TestClock, call, caller, eventually, new_room, single};

/// The deadline of a call, and what a busy machine may add.
pub(crate) const DEADLINE: Duration = store::redis::TIMEOUT;
pub(crate) const SLACK: Duration = Duration::from_millis(750);
/// A store that is back is used again within this.
pub(crate) const HEALED: Duration = Duration::from_secs(1);
/// Tests leave a busy machine more time than the promise does.
pub(crate) const TIMES: u32 = 5;

/// An edge with the deadline of production.
pub(crate) struct Edge {
    pub(crate) server: RedisServer,
    pub(crate) link: FaultLink,
    pub(crate) store: Redis,
    pub(crate) room: RoomName,
    pub(crate) rules: Rules,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments for the server.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let server = RedisServer::start_with(free_port(), arguments);
        let link = FaultLink::start(([127, 0, 0, 1], server.port()).into()).await;
        let store = production(single(format!("redis://{}", link.address()))).await;
        Self { server, link, store, room: new_room(), rules: Rules::default() }
    }

    pub(crate) fn call(&self) -> Call<'_> {
        call(&self.room, &self.rules, caller(0, None))
    }

    pub(crate) async fn ask(&self) -> Asked {
        ask(&self.store, self.call()).await
    }

    /// Asks until the server is left alone.
    pub(crate) async fn opens(&self, fault: &str) -> StoreError {
        opens(fault, &self.store, self.call()).await
    }

    /// Orders the server something that takes long.
    pub(crate) fn order(&self, order: &[&str]) -> Child {
        let socket = self.server.url().replace("unix://", "");
        let mut command = Command::new("redis-cli");
        command.args(["-s", &socket]).args(order).stdout(Stdio::null()).spawn().expect("redis-cli")
    }

    /// Asks until there is an answer again; prints and bounds how long that took.
    pub(crate) async fn heals(&self, fault: &str) {
        heals(fault, HEALED, &self.store, self.call()).await;
    }
}

/// A store with the deadline of production, on a clock of the test.
pub(crate) async fn production(mut options: RedisOptions) -> Redis {
    options.clock = Some(TestClock::default().as_clock());
    options.timeout = DEADLINE;
    Redis::connect(options).await.expect("a store")
}

pub(crate) async fn survey(store: &Redis, call: Call<'_>) -> Result<Survey, StoreError> {
    store.survey(call, false).await
}

/// How a call ended, and what it took.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The label of the error.
    pub(crate) kind: &'static str,
    pub(crate) error: Option<StoreError>,
    pub(crate) took: Duration,
}

pub(crate) async fn ask(store: &Redis, call: Call<'_>) -> Asked {
    let began = Instant::now();
    let error = survey(store, call).await.err();
    let took = began.elapsed();
    assert!(took < DEADLINE + SLACK, "a call took {took:?}: {error:?}");
    Asked { kind: error.as_ref().map_or("ok", StoreError::kind), error, took }
}

/// Asks until the server is left alone, which takes a few calls that fail.
pub(crate) async fn opens(fault: &str, store: &Redis, call: Call<'_>) -> StoreError {
    for _ in 0..20 {
        if let Some(error @ StoreError::Open { .. }) = ask(store, call).await.error {
            return error;
        }
    }
    panic!("{fault}: the breaker never opens");
}

/// Asks until a call works; prints how long that took, and panics when it is more than the promise allows.
pub(crate) async fn heals(fault: &str, promise: Duration, store: &Redis, call: Call<'_>) {
    let began = Instant::now();
    eventually(fault, promise * TIMES, async || (ask(store, call).await.kind == "ok").then_some(())).await;
    println!("{fault}: healed after {:?}", began.elapsed());
}
