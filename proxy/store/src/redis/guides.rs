//! Asks those who know where the data is: sentinels, or nodes of the cluster.
//!
//! Some of them may be cut off and believe what is long past. So several are asked at once, and the one with the
//! highest epoch is believed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Value,
    from_redis_value,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::{Kind, Servers};
use super::random;

/// The slots of a cluster; a single server has them all.
pub(super) const SLOTS: u16 = 16_384;
/// Guides that are asked at a time.
const MOST_ASKED: usize = 7;

/// Where the data is, as somebody saw it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sighting {
    /// Higher is newer.
    pub(super) epoch: u64,
    /// First and last slot, and who has them.
    pub(super) shards: Vec<(u16, u16, ConnectionAddr)>,
}

/// What a round of questions came to.
pub(super) struct Round {
    pub(super) best: Option<Sighting>,
    /// Whether more than half of those asked answered.
    pub(super) is_majority: bool,
    pub(super) error: Option<RedisError>,
}

/// Keeps a connection to each guide between the rounds.
pub(super) struct Guides {
    servers: Arc<Servers>,
    connections: HashMap<String, MultiplexedConnection>,
}

impl Guides {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self { servers, connections: HashMap::new() }
    }

    /// Asks the guides of the settings, and on a cluster the nodes learned since. Takes `patience` at most.
    pub(super) async fn ask(&mut self, learned: &[ConnectionAddr], patience: Duration) -> Round {
        let guides = self.choose(learned);
        let asked = guides.len();
        let mut answers = JoinSet::new();
        for (address, guide) in guides {
            let (servers, kept) = (Arc::clone(&self.servers), self.connections.remove(&address));
            answers.spawn(async move {
                let answer = timeout(patience, ask(&servers, &guide, kept)).await;
                (address, answer.unwrap_or_else(|_| Err(silent())))
            });
        }
        let mut round = Round { best: None, is_majority: false, error: None };
        let mut sightings = 0;
        while let Some(Ok((address, answer))) = answers.join_next().await {
            match answer {
                Ok((sighting, connection)) => {
                    sightings += 1;
                    self.connections.insert(address, connection);
                    round.keep_best(sighting);
                }
                Err(error) => round.error = Some(error),
            }
        }
        round.is_majority = sightings * 2 > asked;
        round
    }

    /// The sentinels, or nodes of the cluster, each time some others of many.
    fn choose(&self, learned: &[ConnectionAddr]) -> BTreeMap<String, ConnectionInfo> {
        let seeds = self.servers.seeds.iter().cloned();
        let mut guides: BTreeMap<_, _> = seeds.map(|seed| (seed.addr().to_string(), seed)).collect();
        if let (Kind::Cluster, Some(seed)) = (&self.servers.kind, self.servers.seeds.first()) {
            let learned = learned.iter().map(|at| (at.to_string(), seed.clone().set_addr(at.clone())));
            guides.extend(learned);
        }
        let begin = random::below(guides.len());
        let asked = guides.len().min(MOST_ASKED);
        guides.iter().cycle().skip(begin).take(asked).map(|(at, guide)| (at.clone(), guide.clone())).collect()
    }
}

impl Round {
    fn keep_best(&mut self, sighting: Sighting) {
        if self.best.as_ref().is_none_or(|best| best.epoch < sighting.epoch) {
            self.best = Some(sighting);
        }
    }
}

async fn ask(
    servers: &Servers,
    guide: &ConnectionInfo,
    kept: Option<MultiplexedConnection>,
) -> RedisResult<(Sighting, MultiplexedConnection)> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => servers.guide(guide)?.get_multiplexed_async_connection_with_config(&servers.config()).await?,
    };
    let sighting = match &servers.kind {
        Kind::Sentinel { master } => primary(servers, master, &mut connection).await?,
        Kind::Single | Kind::Cluster => slots(servers, guide.addr(), &mut connection).await?,
    };
    Ok((sighting, connection))
}

async fn primary(
    servers: &Servers,
    master: &str,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Sighting> {
    let mut command = redis::cmd("SENTINEL");
    let told: HashMap<String, String> = command.arg("MASTER").arg(master).query_async(connection).await?;
    let number = |name: &str| told.get(name).and_then(|text| text.parse::<u64>().ok());
    let port = number("port").and_then(|port| u16::try_from(port).ok());
    let (Some(host), Some(port), Some(epoch)) = (told.get("ip"), port, number("config-epoch")) else {
        return Err(strange("a sentinel tells no address of the primary"));
    };
    Ok(Sighting { epoch, shards: vec![(0, SLOTS - 1, servers.named(host, port))] })
}

async fn slots(
    servers: &Servers,
    asked: &ConnectionAddr,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Sighting> {
    let mut both = Pipeline::with_capacity(2);
    both.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let answers = connection.req_packed_commands(&both, 0, 2).await?;
    let answers: Result<Vec<Value>, _> = answers.into_iter().map(Value::extract_error).collect();
    let (info, ranges): (String, Vec<Vec<Value>>) = from_redis_value(Value::Array(answers?))?;
    let shards: RedisResult<Vec<_>> = ranges.into_iter().map(|range| shard(servers, asked, range)).collect();
    Ok(Sighting { epoch: epoch(&info)?, shards: shards? })
}

fn epoch(info: &str) -> RedisResult<u64> {
    let told = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
    told.and_then(|epoch| epoch.trim().parse().ok()).ok_or_else(|| strange("a node tells no epoch"))
}

/// `[first, last, [host, port, …], replicas…]`; without a host it is the one that was asked.
fn shard(
    servers: &Servers,
    asked: &ConnectionAddr,
    range: Vec<Value>,
) -> RedisResult<(u16, u16, ConnectionAddr)> {
    let mut fields = range.into_iter();
    let (first, last) = (read(fields.next())?, read(fields.next())?);
    let mut primary = read::<Vec<Value>>(fields.next())?.into_iter();
    let host: Option<String> = read(primary.next())?;
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) => host,
        None => host_of(asked),
    };
    Ok((first, last, servers.named(&host, read(primary.next())?)))
}

fn read<T: FromRedisValue>(value: Option<Value>) -> RedisResult<T> {
    Ok(from_redis_value(value.unwrap_or(Value::Nil))?)
}

pub(super) fn host_of(at: &ConnectionAddr) -> String {
    match at {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => "localhost".into(),
    }
}

fn silent() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}

fn strange(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}
