//! Several edges on one Redis, each with its own connections, clocks and waiters.

mod alone;
mod away;
mod budget;
mod forgetting;
mod gathering;
mod hearing;
mod moved;
mod together;

use std::sync::Arc;
use std::time::Duration;

use room::ids::Incarnation;
use room::node::Node;
use vestibule::hall::Reach;

use crate::rig::{Origin, soon};
use crate::site::{RedisServer, Screen, Site, Visitor, until, until_within};

/// Long enough for an edge to notice, to settle and to bring everybody back, several times over.
const HEALED: Duration = Duration::from_secs(15);
/// For tests that look often.
const MANY: &str = "[room.e1.limits]\njoins_per_address = { per_minute = 100000, burst = 100000 }\n\
    per_client = { per_second = 100000, burst = 100000 }";

/// Edges before one origin. The server goes with it.
struct Fleet {
    edges: Vec<Site>,
    origin: Arc<Origin>,
    redis: RedisServer,
}

impl Fleet {
    async fn open(count: usize, room: &str) -> Self {
        let redis = RedisServer::start();
        let origin = Arc::new(Origin::start().await);
        let mut edges = Vec::new();
        for _ in 0..count {
            edges.push(Site::of_fleet(&redis, &origin, room).await);
        }
        let fleet = Self { edges, origin, redis };
        until_within("the edges know of each other", HEALED, || fleet.knows_itself()).await;
        fleet
    }

    /// Whether every edge could call the roll of all.
    fn knows_itself(&self) -> bool {
        let nodes =
            |edge: &Site| edge.hall().link.ask(Node::witness).map_or(0, |witness| witness.nodes.len());
        self.edges.iter().all(|edge| nodes(edge) == self.edges.len())
    }

    /// A number that `redis-cli` prints.
    fn number(&self, command: &[&str]) -> u64 {
        let printed = self.redis.cli(command);
        printed.parse().unwrap_or_else(|_| panic!("{command:?}: {printed}"))
    }

    /// Places in the line, as the store has them.
    fn in_line(&self) -> u64 {
        self.number(&["ZCARD", "vestibule:{e1}:queue"])
    }

    /// The life of the store, as each edge heard it last.
    fn lives(&self) -> Vec<Option<Incarnation>> {
        let life = |edge: &Site| edge.hall().known().map(|known| known.head.incarnation);
        self.edges.iter().map(life).collect()
    }

    /// Waits until every edge has heard of another life than `before` and told it all, and it gives turns.
    async fn heal(&self, before: &[Option<Incarnation>]) {
        until_within("every edge heard of another life", HEALED, || {
            self.lives().iter().zip(before).all(|(now, before)| now != before)
        })
        .await;
        until_within("the new life has settled", HEALED, || self.edges.iter().all(Site::is_settled)).await;
        self.told().await;
    }

    /// Waits until the store lacks nothing that an edge knows.
    async fn told(&self) {
        let is_telling = |edge: &Site| edge.hall().healing.is_telling();
        until_within("the store was told all", HEALED, || !self.edges.iter().any(is_telling)).await;
    }

    async fn empty(&self) {
        let before = self.lives();
        assert_eq!(self.redis.cli(&["FLUSHALL"]), "OK");
        self.heal(&before).await;
    }

    async fn reach(&self, reach: Reach) {
        let reached = || self.edges.iter().all(|edge| edge.hall().reach() == reach);
        until_within(&format!("{reach:?} at every edge"), HEALED, reached).await;
    }
}

/// Somebody who waits, at an edge, with an open screen.
struct Waiter {
    visitor: Visitor,
    screen: Screen,
}

impl Waiter {
    async fn at(edge: &Site) -> Self {
        let mut visitor = edge.visitor();
        visitor.join().await;
        let screen = visitor.watch().await;
        Self { visitor, screen }
    }
}

/// Waits until it is later at one edge than it is now at another: on a busy machine two clocks that have just been set
/// are not alike.
async fn later(at: &Site, than: &Site) {
    let now = than.hall().now() + Duration::from_millis(100);
    until("it is later at the other edge", || at.hall().now() > now).await;
}

/// Somebody inside who has come back with the pass: the session is a whole one. A store that is slow this moment lets
/// nobody in at once, but soon.
async fn shopper(edge: &Site) -> Visitor {
    let mut visitor = edge.visitor();
    let entered = async {
        while visitor.visit("/").await.shows() != "GET /" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("somebody is let in", entered).await;
    assert_eq!(visitor.visit("/again").await.shows(), "GET /again");
    visitor
}
