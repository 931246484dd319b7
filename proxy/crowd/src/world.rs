//! What everyone in a run shares.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use room::ids::RoomName;
use tokio::net::TcpStream;

use crate::args::Target;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::stop::Stop;
use crate::tls::{Tls, Wire};

/// A target with the address its name resolved to. Copies share whether it is in rotation.
#[derive(Debug, Clone)]
pub struct Edge {
    pub target: Target,
    pub address: SocketAddr,
    /// How it is spoken to, if not plainly.
    pub tls: Option<Tls>,
    /// Whether a load balancer in front has taken it out: new connections go to the others.
    out: Arc<AtomicBool>,
}

impl Edge {
    /// Spoken to without TLS.
    pub fn new(target: Target, address: SocketAddr) -> Self {
        Self { target, address, tls: None, out: Arc::default() }
    }

    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// A bare connection.
    pub async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => tls.wrap(stream).await,
            None => Ok(Box::new(stream)),
        }
    }

    /// Takes it out of rotation or puts it back; connections that exist go on.
    pub fn rotate(&self, is_in: bool) {
        self.out.store(!is_in, Relaxed);
    }

    pub fn is_in(&self) -> bool {
        !self.out.load(Relaxed)
    }
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
    /// The edge with this number, counted around; the next one in rotation if it is out.
    pub fn edge(&self, index: usize) -> Option<&Edge> {
        self.edges_from(index).find(|edge| edge.is_in()).or_else(|| self.edges_from(index).next())
    }

    /// All edges once, from this number on.
    pub fn edges_from(&self, index: usize) -> impl Iterator<Item = &Edge> {
        let edges = self.edges.len();
        self.edges.iter().cycle().skip(index % edges.max(1)).take(edges)
    }

    /// The same, with what the screen shows, so that another edge tells no larger place.
    pub fn screen_path(&self, call: &str, shown: Option<u64>) -> String {
        shown
            .map_or_else(|| self.queue_path(call), |place| format!("{}&shown={place}", self.queue_path(call)))
    }

    /// A path of the waiting room's API, for this room.
    pub fn queue_path(&self, call: &str) -> String {
        format!("/_queue/{call}?room={}", self.room)
    }
}
