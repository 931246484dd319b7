//! Which server has a room.
//!
//! A single server is always the one. The primary behind Sentinel and the shards of a cluster are looked up at the
//! start, now and then, and as soon as a call meets trouble. Calls never wait for that: they go by what is
//! known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, RedisResult};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::address::{DIAL, Kind, Servers};
use super::failure::unreachable;
use super::guides::{Guides, Round, SLOTS, Sighting, host_of};
use super::random::jittered;
use super::server::Server;
use crate::StoreError;

/// How often sentinels are asked who is primary. With [`PATIENCE`]: a promotion is followed within 2 s even when the
/// old primary goes on answering.
const SENTINEL_EVERY: Duration = Duration::from_millis(500);
/// Nodes of a cluster tell of moved slots by themselves.
const CLUSTER_EVERY: Duration = Duration::from_secs(5);
/// However much trouble there is, nobody is asked more often.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds of lower epochs before they are believed: longer than news of a failover takes to all sentinels.
const CONTRADICTED: u32 = 20;
/// What the slowest guide may take.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Directory {
    servers: Arc<Servers>,
    map: watch::Sender<Arc<Map>>,
    trouble: Arc<Notify>,
    looking: Option<AbortHandle>,
}

/// Who has which slots.
#[derive(Default)]
pub(super) struct Map {
    epoch: u64,
    shards: Vec<Shard>,
    /// Every server once, by address: those of the shards, and others that calls were sent on to.
    servers: BTreeMap<String, Arc<Server>>,
}

struct Shard {
    first: u16,
    last: u16,
    address: String,
}

impl Directory {
    pub(super) async fn open(servers: Arc<Servers>) -> Result<Self, StoreError> {
        let mut guides = Guides::new(Arc::clone(&servers));
        let sighting = match (&servers.kind, servers.seeds.first()) {
            (Kind::Single, Some(only)) => {
                Sighting { epoch: 0, shards: vec![(0, SLOTS - 1, only.addr().clone())] }
            }
            _ => first_sighting(&servers, guides.ask(&[], DIAL).await)?,
        };
        let map = Map::default().updated(&servers, &sighting);
        let map = map.map_err(|error| unreachable(&servers.address, &error))?;
        let mut directory =
            Self { servers, map: watch::Sender::new(Arc::new(map)), trouble: Arc::default(), looking: None };
        if !matches!(directory.servers.kind, Kind::Single) {
            directory.looking = Some(directory.keep_looking(guides));
        }
        Ok(directory)
    }

    /// The address of the whole, for errors.
    pub(super) fn address(&self) -> &str {
        &self.servers.address
    }

    pub(super) fn publish(&self) -> &'static str {
        self.servers.publish()
    }

    pub(super) fn config(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// Changes as servers come and go.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.borrow())
    }

    /// The server of a key; `None` for a slot that nobody serves.
    pub(super) fn server(&self, key: &str) -> Option<Arc<Server>> {
        self.map.borrow().server(key).cloned()
    }

    /// The server at an address that `from` sent us to, as `host:port`.
    pub(super) fn sent_to(&self, address: &str, from: &Server) -> Option<Arc<Server>> {
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" { host_of(from.at()) } else { host.into() };
        let at = self.servers.named(&host, port.parse().ok()?);
        let known = self.map.borrow().servers.get(&at.to_string()).cloned();
        known.or_else(|| self.learn(at).ok())
    }

    /// Something went wrong: looks again soon, in the background.
    pub(super) fn look_again(&self) {
        self.trouble.notify_one();
    }

    fn learn(&self, at: ConnectionAddr) -> RedisResult<Arc<Server>> {
        let server = Arc::new(Server::new(&self.servers, at)?);
        self.map.send_modify(|map| *map = Arc::new(map.with(Arc::clone(&server))));
        Ok(server)
    }

    fn keep_looking(&self, mut guides: Guides) -> AbortHandle {
        let (servers, map, trouble) =
            (Arc::clone(&self.servers), self.map.clone(), Arc::clone(&self.trouble));
        let every = match servers.kind {
            Kind::Sentinel { .. } => SENTINEL_EVERY,
            Kind::Single | Kind::Cluster => CLUSTER_EVERY,
        };
        let look = async move {
            let mut contradicted = 0;
            loop {
                sleep(PAUSE).await;
                // In time, or as soon as there is trouble.
                let _ = timeout(jittered(every), trouble.notified()).await;
                let learned = map.borrow().addresses();
                let round = guides.ask(&learned, PATIENCE).await;
                adopt(&servers, &map, round, &mut contradicted);
            }
        };
        tokio::spawn(look).abort_handle()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

fn first_sighting(servers: &Servers, round: Round) -> Result<Sighting, StoreError> {
    let nobody = || match round.error {
        Some(error) => unreachable(&servers.address, &error),
        None => StoreError::Unreachable { address: servers.address.clone(), cause: "nobody answered".into() },
    };
    round.best.ok_or_else(nobody)
}

/// Believes the highest epoch. `contradicted` counts the rounds on end in which most knew only a lower one: those who
/// were told last, or, if it stays like that, all of them after a reset.
fn adopt(servers: &Servers, map: &watch::Sender<Arc<Map>>, round: Round, contradicted: &mut u32) {
    let Some(sighting) = round.best else {
        return;
    };
    let is_lower = sighting.epoch < map.borrow().epoch;
    *contradicted = if is_lower { *contradicted + u32::from(round.is_majority) } else { 0 };
    if is_lower && *contradicted < CONTRADICTED {
        return;
    }
    map.send_if_modified(|map| {
        if map.shows(&sighting) {
            return false;
        }
        match map.updated(servers, &sighting) {
            Ok(updated) => *map = Arc::new(updated),
            Err(error) => {
                tracing::warn!(store = servers.address, %error, "a server cannot be used");
                return false;
            }
        }
        let now: Vec<_> = map.servers.keys().collect();
        tracing::info!(store = servers.address, epoch = map.epoch, ?now, "the store's servers changed");
        true
    });
}

impl Map {
    pub(super) fn server(&self, key: &str) -> Option<&Arc<Server>> {
        let slot = slot(key);
        let shard = self.shards.iter().find(|shard| (shard.first..=shard.last).contains(&slot))?;
        self.servers.get(&shard.address)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }

    fn addresses(&self) -> Vec<ConnectionAddr> {
        self.servers.values().map(|server| server.at().clone()).collect()
    }

    fn shows(&self, sighting: &Sighting) -> bool {
        let mine = self.shards.iter().map(|shard| (shard.first, shard.last, shard.address.clone()));
        let theirs = sighting.shards.iter().map(|(first, last, at)| (*first, *last, at.to_string()));
        self.epoch == sighting.epoch && mine.eq(theirs)
    }

    /// As somebody saw it. Servers that stay keep their connections.
    fn updated(&self, servers: &Servers, sighting: &Sighting) -> RedisResult<Self> {
        let mut next = Self { epoch: sighting.epoch, ..Self::default() };
        for (first, last, at) in &sighting.shards {
            let address = at.to_string();
            if !next.servers.contains_key(&address) {
                let server = match self.servers.get(&address) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(Server::new(servers, at.clone())?),
                };
                next.servers.insert(address.clone(), server);
            }
            next.shards.push(Shard { first: *first, last: *last, address });
        }
        Ok(next)
    }

    fn with(&self, server: Arc<Server>) -> Self {
        let mut servers = self.servers.clone();
        servers.insert(server.address.clone(), server);
        let shards = self.shards.iter().map(|shard| Shard { address: shard.address.clone(), ..*shard });
        Self { epoch: self.epoch, shards: shards.collect(), servers }
    }
}

/// The slot of a key: CRC-16 (XMODEM) of what stands between its first braces.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    tag.bytes().fold(0, crc) % SLOTS
}

fn crc(sum: u16, byte: u8) -> u16 {
    let sum = sum ^ (u16::from(byte) << 8);
    (0..8).fold(sum, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_slot_that_redis_computes() {
        // As CLUSTER KEYSLOT says.
        for (key, expected) in [
            ("foo", 12182),
            ("123456789", 12739),
            ("vestibule:{e1}:state", 4781),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
        ] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }
}
