//! What everyone in a run shares.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use room::ids::RoomName;

use crate::args::Target;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::stop::Stop;

/// A target with the address its name resolved to.
#[derive(Debug, Clone)]
pub struct Edge {
    pub target: Target,
    pub address: SocketAddr,
}

/// One per run, behind an `Arc`.
#[derive(Debug)]
pub struct World {
    pub edges: Vec<Edge>,
    pub room: RoomName,
    pub clock: Clock,
    pub stop: Stop,
    pub meter: Meter,
    pub journal: Journal,
    /// Set by the command line or by whoever sees the list of events first.
    pub event: OnceLock<String>,
}

/// A request that takes longer is given up.
pub const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// So is a connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

impl World {
    /// The edge with this number, counted around.
    pub fn edge(&self, index: usize) -> Option<&Edge> {
        self.edges.get(index % self.edges.len().max(1))
    }

    /// A path of the waiting room's API, for this room.
    pub fn queue_path(&self, call: &str) -> String {
        format!("/_queue/{call}?room={}", self.room)
    }
}
