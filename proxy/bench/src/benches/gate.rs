//! The admitted path: what a request costs that the gate lets through, beside proxies without a gate.

pub(super) mod passes;
mod trips;

use std::net::SocketAddr;
use std::time::Duration;

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::contest::{Contestant, LOAD_CORE, Outcome, SERVER_CORE, hold};
use edge_bench::edge::{Edge, EdgePlan, GATED, UNGATED};
use edge_bench::flame::Stacks;
use edge_bench::load::{Load, Pace};
use edge_bench::origin::Origin;
use edge_bench::peers::Peer;
use edge_bench::plot::Plot;
use edge_bench::row::{Goal, Row};

use crate::profile::{Scene, while_driven};

pub(crate) const BENCH: Bench =
    Bench { name: "gate", about: "a request with a valid pass, beside proxies without a gate", run };

const CONNECTIONS: usize = 64;
/// For latencies: what every contestant can do on one core.
const CALM_PER_SECOND: f64 = 5_000.0;

fn run(context: &Context) -> Result<Report, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let edge = open_room(origin.address).start(context, "edge-gate")?;
    let plain = Peer::plain_pingora(context, origin.address, SERVER_CORE)?;
    let nginx = Peer::nginx(context, origin.address, SERVER_CORE)?;
    let haproxy = Peer::haproxy(context, origin.address, SERVER_CORE)?;
    let cookies = passes::of_visitors(&edge, CONNECTIONS)?;
    let field = |pace| Field {
        edge: &edge,
        plain: &plain,
        nginx: &nginx,
        haproxy: &haproxy,
        cookies: &cookies,
        pace,
    };

    let saturated = Outcomes::of(hold(context, field(Pace::Closed).contestants())?)?;
    let calm = field(Pace::Open { per_second: CALM_PER_SECOND });
    let calm = Outcomes::of(hold(context, calm.contestants())?)?;
    drop(edge);
    let mut rows = saturated.rows();
    rows.extend(calm.latency_rows());
    rows.extend(trips::rows(context, origin.address)?);
    rows.extend(passes::verification_rows(context)?);
    let bars = [
        saturated.gated.bar(true),
        saturated.ungated.bar(true),
        saturated.plain.bar(false),
        saturated.nginx.bar(false),
        saturated.haproxy.bar(false),
    ];
    let plot = Plot::bars("gate", "CPU a forwarded request", "µs, user and system", bars.into());
    Ok(Report { rows, plots: vec![plot] })
}

pub(crate) const SCENE: Scene =
    Scene { name: "gate", about: "requests with a valid pass are forwarded", record };

fn record(context: &Context) -> Result<Stacks, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let edge = open_room(origin.address).start(context, "edge-gate")?;
    let load = admitted(&edge, &passes::of_visitors(&edge, CONNECTIONS)?);
    while_driven(context, edge.pid(), |length| load.run(Duration::ZERO, length, || ()).map(drop))
}

/// A room that lets everybody in.
fn open_room(origin: SocketAddr) -> EdgePlan {
    let plan = EdgePlan::before(origin).on_core(SERVER_CORE);
    plan.with("new_users_per_minute", 600_000).with("total_active_users", 100_000).with("burst", 10_000)
}

/// A request as a browser sends it, with the cookie of a pass; the same bytes to everybody but for the path.
pub(super) fn request(path: &str, cookie: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: tickets.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: en\r\nCookie: {cookie}\r\n\r\n"
    )
    .into_bytes()
}

/// Who takes part.
struct Field<'a> {
    edge: &'a Edge,
    plain: &'a Peer,
    nginx: &'a Peer,
    haproxy: &'a Peer,
    cookies: &'a [String],
    pace: Pace,
}

impl Field<'_> {
    fn contestants(&self) -> Vec<Contestant> {
        vec![
            self.contestant("edge, valid pass", self.edge.pid(), self.edge.site, GATED),
            self.contestant("edge, path without a room", self.edge.pid(), self.edge.site, UNGATED),
            self.contestant("plain Pingora", self.plain.pid(), self.plain.address, GATED),
            self.contestant("nginx", self.nginx.pid(), self.nginx.address, GATED),
            self.contestant("HAProxy", self.haproxy.pid(), self.haproxy.address, GATED),
        ]
    }

    fn contestant(&self, name: &str, pid: u32, to: SocketAddr, path: &str) -> Contestant {
        Contestant::new(name, pid, Load { pace: self.pace, ..with_cookies(to, path, self.cookies) })
    }
}

struct Outcomes {
    gated: Outcome,
    ungated: Outcome,
    plain: Outcome,
    nginx: Outcome,
    haproxy: Outcome,
}

impl Outcomes {
    fn of(outcomes: Vec<Outcome>) -> Result<Self, BenchError> {
        let [gated, ungated, plain, nginx, haproxy] = <[Outcome; 5]>::try_from(outcomes)
            .map_err(|all| BenchError::Broken(format!("{} contestants instead of five", all.len())))?;
        Ok(Self { gated, ungated, plain, nginx, haproxy })
    }

    fn rows(&self) -> Vec<Row> {
        let cpu = |name: &str, yardstick: &Outcome| {
            Row::new(name, Some(yardstick.cpu_us()), self.gated.cpu_us(), "us")
        };
        let through = (self.ungated.per_second(), self.gated.per_second());
        let added = self.gated.cpu_us() - self.ungated.cpu_us();
        let plain = (self.plain.per_second(), self.gated.per_second());
        vec![
            Row::new(
                "requests with a pass, beside the same edge without the gate",
                Some(through.0),
                through.1,
                "req/s",
            )
            .with_goal(Goal::RatioAtLeast(0.97)),
            Row::new("CPU that the gate adds to a request", None, added, "us").with_goal(Goal::AtMost(1.0)),
            cpu("CPU a forwarded request, beside plain Pingora", &self.plain)
                .with_goal(Goal::RatioAtMost(1.0)),
            cpu("CPU a forwarded request, beside nginx", &self.nginx).with_goal(Goal::RatioAtMost(1.5)),
            cpu("CPU a forwarded request, beside HAProxy", &self.haproxy),
            Row::new("requests with a pass, beside plain Pingora", Some(plain.0), plain.1, "req/s"),
        ]
    }

    /// Latencies at a rate that leaves all of them idle at times.
    fn latency_rows(mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for percent in [50.0, 95.0, 99.0] {
            let ours = self.gated.latencies.ms(percent);
            let peers = [("plain Pingora", &mut self.plain), ("nginx", &mut self.nginx)];
            for (name, peer) in peers {
                let name = format!("p{percent} of requests at {CALM_PER_SECOND}/s, beside {name}");
                rows.push(Row::new(name, Some(peer.latencies.ms(percent)), ours, "ms"));
            }
        }
        rows
    }
}

fn admitted(edge: &Edge, cookies: &[String]) -> Load {
    with_cookies(edge.site, GATED, cookies)
}

/// One connection for each cookie.
fn with_cookies(to: SocketAddr, path: &str, cookies: &[String]) -> Load {
    let requests = cookies.iter().map(|cookie| request(path, cookie)).collect();
    Load { requests, core: Some(LOAD_CORE), ..Load::nobody(to) }
}
