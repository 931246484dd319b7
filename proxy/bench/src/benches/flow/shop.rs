//! The box office behind the edge, and the crowd that buys there.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edge_bench::bench::{BenchError, Context};
use edge_bench::edge::Edge;
use edge_bench::process::{Launch, Process};
use serde::Deserialize;

/// More than any run sells.
const TICKETS: &str = "100000000";
/// Visitors come before the gate is measured, and the last ones are done after it.
const BESIDE: Duration = Duration::from_secs(1);

/// It ends when dropped.
#[derive(Debug)]
pub(super) struct Shop {
    _process: Process,
}

impl Shop {
    /// On the database that `BENCH_DATABASE` names.
    pub(super) fn start(context: &Context, address: SocketAddr, edge: &Edge) -> Result<Self, BenchError> {
        let database = std::env::var("BENCH_DATABASE").map_err(|_| {
            BenchError::Broken("BENCH_DATABASE names no database; ./scripts/bench flow starts one".into())
        })?;
        let keys = format!("http://{}/_queue/jwks.json", edge.site);
        let launch = Launch::new(context.program("box-office")?).args(["--listen", &address.to_string()]);
        let launch =
            launch.args(["--seed-name", "First night", "--seed-total", TICKETS, "--log-level", "error"]);
        let launch = launch.env("DB_URL", database).env("EVENT_ID", "e1").env("PASS_ROOM", "e1");
        let mut process = launch.env("PASS_JWKS_URL", keys).log(context.log("box-office")?).start()?;
        process.await_ready(|| TcpStream::connect(address).ok())?;
        Ok(Self { _process: process })
    }
}

/// Visitors under way.
#[derive(Debug)]
pub(super) struct Crowd {
    child: Child,
}

/// How they fared: what the program `crowd` says of a run, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Visit {
    pub(super) requests: u64,
    pub(super) p95_ms: f64,
    pub(super) paid: u64,
    pub(super) seconds: f64,
    #[serde(deserialize_with = "sum")]
    pub(super) errors: u64,
}

impl Visit {
    pub(super) fn errors_percent(&self) -> f64 {
        self.errors as f64 * 100.0 / self.requests.max(1) as f64
    }
}

fn sum<'de, D: serde::Deserializer<'de>>(counts: D) -> Result<u64, D::Error> {
    let counts = std::collections::BTreeMap::<String, u64>::deserialize(counts)?;
    Ok(counts.into_values().sum())
}

impl Crowd {
    /// Visitors who come so many a second, whatever happens to those before.
    pub(super) fn send(
        context: &Context,
        site: SocketAddr,
        per_second: u32,
        length: Duration,
    ) -> Result<Self, BenchError> {
        let seconds = (length + BESIDE).as_secs();
        let mut command = Command::new(context.program("crowd")?);
        command.args(["run", "--room", "e1", "--json", "--forwarded-for", "--spread", "poisson"]);
        command.args(["--target", &format!("http://{site}"), "--arrive", &format!("{per_second}/s")]);
        command.args(["--visitors", &(u64::from(per_second) * seconds).to_string()]);
        command.args(["--seconds", &(seconds + 2 * BESIDE.as_secs()).to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(context.log("crowd")?);
        let child = command.spawn().map_err(|cause| BenchError::Start { program: "crowd".into(), cause })?;
        Ok(Self { child })
    }

    /// Waits for the last of them. A promise that was broken is the end of the bench.
    pub(super) fn come_back(mut self) -> Result<Visit, BenchError> {
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        match self.child.wait()?.code() {
            Some(0) => {}
            Some(1) => return Err(BenchError::Invariant(said)),
            _ => return Err(BenchError::Broken(format!("the crowd could not visit: {said}"))),
        }
        let line = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(line)
            .map_err(|error| BenchError::Broken(format!("the crowd said {line}: {error}")))
    }
}
