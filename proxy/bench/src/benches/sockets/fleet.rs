//! The edges, their store, and the crowd that visits them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use edge_bench::bench::{BenchError, Context};
use edge_bench::origin::Origin;
use edge_bench::process::{Launch, Process, folder, write};
use edge_bench::redis::Redis;
use serde::Deserialize;
use tempfile::TempDir;

use super::watch::{Readings, Watch};
use super::{Scale, Seen};

/// It ends when dropped, edges first.
pub(super) struct Fleet {
    pub(super) edges: Vec<Member>,
    _redis: Redis,
    _origin: Origin,
    _folder: TempDir,
}

/// One edge.
pub(super) struct Member {
    process: Process,
    site: String,
    pub(super) operator: SocketAddr,
}

/// What an edge writes for `--report`.
#[derive(Deserialize)]
struct Addresses {
    site: String,
    operator: String,
}

const ROOM: &str = "herd";
/// Visitors of an ordinary kind that flow through the herd: the first places, and some between.
const ORDINARY: &str = "100";
/// So that edges of one fleet understand each other. They sign nothing outside of a bench.
const KEYS: &str = r#"
[[keys]]
kid = "ticket-1"
kind = "ticket"
secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[[keys]]
kid = "pass-1"
kind = "pass"
secret = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
"#;

impl Fleet {
    /// The whole site is one room. Limits by address are the defaults: the crowd has many addresses.
    pub(super) fn start(context: &Context, scale: &Scale) -> Result<Self, BenchError> {
        let (origin, redis, folder) = (Origin::start(1)?, Redis::start(context, None)?, folder()?);
        let config = write(folder.path(), "edge.toml", &settings(scale, origin.address, &redis.url()))?;
        let edges = (1..=scale.edges).map(|number| Member::start(context, &config, number));
        Ok(Self { edges: edges.collect::<Result<_, _>>()?, _redis: redis, _origin: origin, _folder: folder })
    }

    /// Sends the crowd, and reads the edges' figures meanwhile.
    pub(super) fn visit(
        &mut self,
        context: &Context,
        scale: &Scale,
        watch: Watch,
    ) -> Result<(Seen, Readings), BenchError> {
        let targets: Vec<_> = self.edges.iter().map(|edge| edge.site.as_str()).collect();
        let waves: Vec<_> = scale.waves.iter().map(u32::to_string).collect();
        let (name, pause) = ("crowd-sockets", format!("{}ms", scale.pause.as_millis()));
        let crowd = Launch::new(context.program("crowd")?)
            .args(["run", "--json", "--room", ROOM, "--spread", "poisson", "--target", &targets.join(",")])
            .args([
                "--processes",
                &scale.processes.to_string(),
                "--seconds",
                &scale.lasts().as_secs().to_string(),
            ])
            .args(["--herd", &waves.join(","), "--herd-arrive", &format!("{}/s", scale.a_second)])
            .args(["--herd-pause", &pause, "--visitors", ORDINARY, "--arrive", "4/s", "--event", "none"])
            .args(["--leave", "1%", "--dropoff", "2%", "--refresh", "2%", "--polling", "0%"])
            .log(context.log(name)?)
            .start()?;
        let reading = watch.start();
        crowd.wait()?;
        let readings = reading.finish();
        let log = context.logs.join(format!("{name}.log"));
        let text = fs::read_to_string(&log).map_err(|cause| BenchError::file(&log, cause))?;
        // Also a run that found a promise broken is a result.
        let line = text.lines().rfind(|line| line.starts_with('{'));
        let seen = line.and_then(|line| serde_json::from_str(line).ok());
        let untold = || BenchError::Broken(format!("the crowd gave no summary; see {}", log.display()));
        Ok((seen.ok_or_else(untold)?, readings))
    }
}

impl Member {
    fn start(context: &Context, config: &Path, number: usize) -> Result<Self, BenchError> {
        let report = config.with_file_name(format!("edge-{number}.json"));
        let launch = Launch::new(context.program("vestibule")?)
            .args(["run", "--linger", "0s", "--drain", "1s", "--config"])
            .args([config.as_os_str(), "--report".as_ref(), report.as_os_str()])
            .log(context.log(&format!("edge-sockets-{number}"))?);
        let mut process = launch.start()?;
        let read = || serde_json::from_slice::<Addresses>(&fs::read(&report).ok()?).ok();
        let Addresses { site, operator } = process.await_ready(read)?;
        let address = operator.strip_prefix("http://").and_then(|address| address.parse().ok());
        let unknown = || BenchError::Broken(format!("the edge reported the address {operator}"));
        Ok(Self { process, site, operator: address.ok_or_else(unknown)? })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn settings(scale: &Scale, origin: SocketAddr, redis: &str) -> String {
    let users = scale.users_per_minute;
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[operator]
listen = "127.0.0.1:0"
{KEYS}
[store]
url = "{redis}"
[telemetry]
log_level = "warn"
[room.{ROOM}]
upstream = ["http://{origin}"]
new_users_per_minute = {users}
total_active_users = 2000
settle_window = "2s"
claim_window = "20s"
"#
    )
}
