//! Several edges on one Redis, each with its own connections, clocks and waiters.

mod budget;
mod forgetting;
mod together;

use std::sync::Arc;

use crate::rig::Origin;
use crate::site::{RedisServer, Site};

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
        Self { edges, origin, redis }
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
}
