//! Where edges meet, and what each of them can do, of whichever release it is.

use std::cell::RefCell;
use std::time::Duration;

use redis::Connection;
use room::ids::RoomName;
use room::node::Heard;
use room::queue::{Arrival, Claim, Event, Leave, Renewal, Session};
use room::rules::{Draft, Rules};
use store::redis::Redis;
use tokio::runtime::Runtime;

use crate::support::servers::RedisServer;
use crate::support::world::{TestClock, connect, single};

pub(crate) const RATE: u32 = 120;
pub(crate) const BURST: u32 = 3;
pub(crate) const INSIDE: u32 = 5;

/// An edge.
pub(crate) trait Edge {
    fn survey(&mut self, at: &At<'_>);
    /// `None` for a spent ticket.
    fn arrive(&mut self, at: &At<'_>, arrivals: &[Arrival]) -> Vec<Option<Standing>>;
    fn tick(&mut self, at: &At<'_>);
    fn claim(&mut self, at: &At<'_>, claims: &[Claim]) -> Vec<Option<Session>>;
    fn renew(&mut self, at: &At<'_>, renewals: &[Renewal]) -> Vec<Option<Session>>;
    fn leave(&mut self, at: &At<'_>, leave: Leave);
    fn show_message(&mut self, at: &At<'_>, message: &str);
    fn hear(&mut self, event: &Event) -> Heard;
}

/// Where somebody stands, as an edge said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Out,
    Waiting,
    Turn,
    Inside(Session),
}

/// A room on the server.
pub(crate) struct At<'a> {
    pub(crate) site: &'a Site,
    pub(crate) room: RoomName,
}

impl At<'_> {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("vestibule:{{{}}}:{name}", self.room)
    }

    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        command.query(&mut *self.site.connection.borrow_mut()).expect("an answer")
    }
}

/// The server and a store of this release on it.
pub(crate) struct Site {
    pub(crate) runtime: Runtime,
    pub(crate) clock: TestClock,
    pub(crate) store: Redis,
    pub(crate) connection: RefCell<Connection>,
    pub(crate) rules: Rules,
}

impl Site {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let (runtime, clock) = (Runtime::new().unwrap(), TestClock::default());
        let store = runtime.block_on(connect(single(server.url()), &clock));
        let client = redis::Client::open(server.url()).unwrap();
        let rules = Draft {
            new_users_per_minute: RATE,
            burst: Some(BURST),
            total_active_users: INSIDE,
            session_duration: Duration::from_secs(6),
            session_max: Duration::from_secs(15),
            confirm_window: Duration::from_secs(5),
            claim_window: Duration::from_secs(4),
            ..Draft::default()
        };
        let connection = RefCell::new(client.get_connection().unwrap());
        Self { runtime, clock, store, connection, rules: Rules::new(rules).unwrap() }
    }
}
