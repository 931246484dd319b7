//! The store of a fleet: the queue in Lua, on one Redis, behind Sentinel or on a Cluster.
//!
//! | file | what it does |
//! |---|---|
//! | `address` | how the servers are arranged and how to log in |
//! | `directory`, `guides` | which server has a room, also after a failover |
//! | `link`, `server` | calls, each with a deadline |
//! | `pool`, `dialer` | connections to one server |
//! | `breaker` | leaves a server alone that does not answer |
//! | `failure` | what a failed call means |
//! | `scripts` | the Lua under `src/lua`, one file for each method |
//! | `ask`, `reply` | arguments of a script, and what it answers |
//! | `events` | the connection that hears what the scripts publish |
//! | `check` | is this server fit to keep a queue? |

mod address;
mod ask;
mod breaker;
mod check;
mod dialer;
mod directory;
mod events;
mod failure;
mod guides;
mod link;
mod pool;
mod random;
mod reply;
mod scripts;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use room::ids::RoomName;
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Event, Leave, Renewal, Renewed, Report, Survey,
};
use tokio::sync::broadcast;

pub use address::Topology;

use crate::memory::Clock;
use crate::{Answer, Call, Store, StoreError, TuneError};
use address::Servers;
use ask::{Ask, Item};
use directory::Directory;
use events::Events;
use link::Link;
use reply::Tuned;
use scripts::Script;

/// How long a call may take.
pub const TIMEOUT: Duration = Duration::from_millis(250);
/// What every key starts with.
pub const KEY_PREFIX: &str = "vestibule";
/// Items that one script works on; longer lists are several calls.
const ITEMS_A_CALL: usize = 1000;

/// How to reach the store.
pub struct RedisOptions {
    pub topology: Topology,
    /// Wins over the one in the URL.
    pub username: Option<String>,
    /// Wins over the one in the URL.
    pub password: Option<String>,
    /// Two fleets with different prefixes share a server.
    pub key_prefix: String,
    pub timeout: Duration,
    /// Tests bring their own time; otherwise the server's counts.
    pub clock: Option<Clock>,
}

impl RedisOptions {
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            username: None,
            password: None,
            key_prefix: KEY_PREFIX.into(),
            timeout: TIMEOUT,
            clock: None,
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("topology", &self.topology)
            .field("username", &self.username)
            .field("key_prefix", &self.key_prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Queues in Redis 7.0 or newer.
pub struct Redis {
    link: Link,
    events: Events,
    key_prefix: Arc<str>,
    /// PUBLISH, or SPUBLISH on a cluster.
    publish: &'static str,
    clock: Option<Clock>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.link.address())
    }
}

impl Redis {
    /// Connects and makes sure that the server can keep a queue. The connections, also those opened later, live in
    /// the runtime that calls this.
    pub async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::open(Arc::new(Servers::new(&options)?)).await?);
        let link = Link::new(Arc::clone(&directory), options.timeout);
        check::servers(&link).await?;
        link.warm().await;
        Ok(Self {
            publish: directory.publish(),
            events: Events::spawn(directory),
            key_prefix: options.key_prefix.into(),
            clock: options.clock,
            link,
        })
    }

    fn ask(&self, script: &'static Script, call: &Call<'_>) -> Ask {
        let now = self.clock.as_ref().map(|clock| clock());
        Ask::new(script, &self.key_prefix, call, now, self.publish)
    }

    async fn present(
        &self,
        call: &Call<'_>,
        arrivals: &[Arrival],
    ) -> Result<Answer<Vec<Arrived>>, StoreError> {
        let ask = self.ask(&scripts::ARRIVE, call).presenting(arrivals);
        reply::arrived(self.run(&ask).await?, arrivals)
    }

    async fn run(&self, ask: &Ask) -> Result<Value, StoreError> {
        self.link.run(ask).await
    }

    /// Runs a script for all items, in as many calls as they need.
    async fn each<T: Item, R>(
        &self,
        script: &'static Script,
        call: &Call<'_>,
        items: &[T],
        read: fn(&str, &[u64]) -> Option<R>,
    ) -> Result<Answer<Vec<R>>, StoreError> {
        let mut chunks = items.chunks(ITEMS_A_CALL);
        let first = chunks.next().unwrap_or_default();
        let ask = self.ask(script, call).with(first);
        let mut answer = reply::items(self.run(&ask).await?, read)?;
        for chunk in chunks {
            let ask = self.ask(script, call).with(chunk);
            let mut next = reply::items(self.run(&ask).await?, read)?;
            answer.value.append(&mut next.value);
            (answer.head, answer.waiting) = (next.head, next.waiting);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Store for Redis {
    async fn arrive(&self, call: Call<'_>, arrivals: &[Arrival]) -> Result<Answer<Vec<Arrived>>, StoreError> {
        let mut chunks = arrivals.chunks(ITEMS_A_CALL);
        let mut answer = self.present(&call, chunks.next().unwrap_or_default()).await?;
        for chunk in chunks {
            let mut next = self.present(&call, chunk).await?;
            answer.value.append(&mut next.value);
            (answer.head, answer.waiting) = (next.head, next.waiting);
        }
        Ok(answer)
    }

    async fn admit(&self, call: Call<'_>) -> Result<Event, StoreError> {
        let answer = self.run(&self.ask(&scripts::ADMIT, &call)).await?;
        reply::json(answer)
    }

    async fn claim(&self, call: Call<'_>, claims: &[Claim]) -> Result<Answer<Vec<Claimed>>, StoreError> {
        self.each(&scripts::CLAIM, &call, claims, reply::claimed).await
    }

    async fn leave(&self, call: Call<'_>, leaves: &[Leave]) -> Result<Answer<()>, StoreError> {
        let answer = self.each(&scripts::LEAVE, &call, leaves, |_, _| Some(())).await?;
        Ok(Answer { head: answer.head, waiting: answer.waiting, value: () })
    }

    async fn renew(&self, call: Call<'_>, renewals: &[Renewal]) -> Result<Answer<Vec<Renewed>>, StoreError> {
        self.each(&scripts::RENEW, &call, renewals, reply::renewed).await
    }

    async fn restore(&self, call: Call<'_>, report: &Report) -> Result<Answer<()>, StoreError> {
        let (first, last) = report.items.split_at(before_last_call(report.items.len()));
        for items in first.chunks(ITEMS_A_CALL) {
            let ask = self.ask(&scripts::RESTORE, &call).led_by(String::new()).with(items);
            self.run(&ask).await?;
        }
        let complete = report.complete.map_or_else(String::new, |life| life.to_string());
        let ask = self.ask(&scripts::RESTORE, &call).led_by(complete).with(last);
        reply::nothing(self.run(&ask).await?)
    }

    async fn survey(&self, call: Call<'_>, whole: bool) -> Result<Survey, StoreError> {
        let answer = self.run(&self.ask(&scripts::SURVEY, &call).led_by(ask::flag(whole))).await?;
        reply::json(answer)
    }

    async fn tune(&self, call: Call<'_>, change: &Change) -> Result<Control, TuneError> {
        let ask = self.ask(&scripts::TUNE, &call).with(std::slice::from_ref(change));
        match reply::tuned(self.run(&ask).await?)? {
            Tuned::Control(control) => Ok(control),
            Tuned::Conflict(conflict) => Err(conflict.into()),
        }
    }

    fn listen(&self, room: &RoomName) -> broadcast::Receiver<Arc<Event>> {
        self.events.listen(scripts::channel(&self.key_prefix, room))
    }

    async fn missed(&self, room: &RoomName, seq: u64) -> Result<Option<Vec<Event>>, StoreError> {
        let ask = Ask::missed(&self.key_prefix, room, seq);
        reply::events(self.run(&ask).await?)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// How many of so many items come before those of the last call.
fn before_last_call(items: usize) -> usize {
    items.saturating_sub(1) / ITEMS_A_CALL * ITEMS_A_CALL
}
