//! A running edge with one room, `bench`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::bench::{BenchError, Context};
use crate::process::{Launch, Process, folder, write};

/// So that edges of one fleet understand each other. They sign nothing outside of a bench.
pub const TICKET_SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const PASS_SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

/// The room: everything below `/shop`. What is outside goes to the same origin without a gate.
pub const ROOM: &str = "bench";
pub const GATED: &str = "/shop/item";
pub const UNGATED: &str = "/about/item";

/// An edge to be started.
#[derive(Debug, Clone, Default)]
pub struct EdgePlan {
    origin: String,
    redis: Option<String>,
    core: Option<usize>,
    server: String,
    room: String,
    more: String,
}

/// It ends when dropped.
#[derive(Debug)]
pub struct Edge {
    process: Process,
    _folder: TempDir,
    pub site: SocketAddr,
    pub operator: SocketAddr,
    /// From the start of the program until it wrote its addresses.
    pub started_in: Duration,
}

impl EdgePlan {
    /// In front of an origin, with a store in memory and limits that no bench reaches.
    pub fn before(origin: SocketAddr) -> Self {
        let mut plan = Self { origin: format!("http://{origin}"), ..Self::default() };
        plan.server = "trusted_proxies = [\"127.0.0.0/8\"]\n".into();
        plan
    }

    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Takes the URL of a Redis.
    #[must_use]
    pub fn with_redis(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    /// A setting of the room, as TOML: `with("new_users_per_minute", 600)`. Strings bring their quotes.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        // Writing to a string cannot fail.
        let _written = writeln!(self.room, "{name} = {value}");
        self
    }

    /// Another room, before the same origin, for paths below this one, where a client may ask so many times a second.
    #[must_use]
    pub fn with_limited_room(mut self, name: &str, path: &str, method: &str, per_second: u32) -> Self {
        let origin = self.origin.clone();
        self.add_room(name, path, &origin, &format!("queueing_method = \"{method}\""), per_second);
        self
    }

    /// Another room, before an origin of its own, for all paths that no room has yet.
    #[must_use]
    pub fn with_room(mut self, name: &str, origin: SocketAddr, settings: &str) -> Self {
        self.add_room(name, "/", &format!("http://{origin}"), settings, 1_000_000);
        self
    }

    fn add_room(&mut self, name: &str, path: &str, origin: &str, settings: &str, per_second: u32) {
        // Writing to a string cannot fail.
        let _written = write!(
            self.more,
            r#"
[room.{name}]
match = [{{ path = "{path}" }}]
upstream = ["{origin}"]
{settings}
[room.{name}.limits]
per_client = {{ per_second = {per_second}, burst = {per_second} }}
joins_per_address = {{ per_minute = 100000000, burst = 100000000 }}
"#
        );
    }

    pub fn start(&self, context: &Context, name: &str) -> Result<Edge, BenchError> {
        let folder = folder()?;
        let config = write(folder.path(), "edge.toml", &self.settings())?;
        let report = folder.path().join("addresses.json");
        let program = context.program("vestibule")?;
        let launch = self.core.map_or_else(|| Launch::new(&program), |core| Launch::on_core(core, &program));
        let launch = launch.args(["run", "--linger", "0s", "--drain", "1s", "--config"]).args([&config]);
        let launch = launch.args(["--report"]).args([&report]).log(context.log(name)?);
        let began = Instant::now();
        let mut process = launch.start()?;
        let addresses = process.await_ready(|| Addresses::read(&report).ok())?;
        let started_in = began.elapsed();
        let (site, operator) = (address(&addresses.site)?, address(&addresses.operator)?);
        Ok(Edge { process, _folder: folder, site, operator, started_in })
    }

    fn settings(&self) -> String {
        let store = self.redis.as_ref().map_or_else(String::new, |url| format!("[store]\nurl = \"{url}\"\n"));
        let Self { origin, server, room, more, .. } = self;
        format!(
            r#"
[server]
listen = "127.0.0.1:0"
default_upstream = ["{origin}"]
{server}
[operator]
listen = "127.0.0.1:0"

[[keys]]
kid = "ticket-1"
kind = "ticket"
secret = "{TICKET_SECRET}"

[[keys]]
kid = "pass-1"
kind = "pass"
secret = "{PASS_SECRET}"

{store}
[telemetry]
log_level = "error"

[room.{ROOM}]
match = [{{ path = "/shop" }}]
upstream = ["{origin}"]
{room}
[room.{ROOM}.limits]
per_client = {{ per_second = 1000000, burst = 1000000 }}
joins_per_address = {{ per_minute = 100000000, burst = 100000000 }}
{more}"#
        )
    }
}

impl Edge {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// What `--report` writes.
#[derive(Deserialize)]
struct Addresses {
    site: String,
    operator: String,
}

impl Addresses {
    fn read(report: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(report)?)?)
    }
}

fn address(url: &str) -> Result<SocketAddr, BenchError> {
    let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
    address.ok_or_else(|| BenchError::Broken(format!("the edge reported the address {url}")))
}
