//! Those who are not let in: the waiting page to a first contact, refusals, and what they cost beside nginx.

use std::net::SocketAddr;
use std::time::Duration;

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::contest::{Contestant, LOAD_CORE, Outcome, SERVER_CORE, hold};
use edge_bench::edge::{Edge, EdgePlan, GATED, UNGATED};
use edge_bench::flame::Stacks;
use edge_bench::load::Load;
use edge_bench::origin::Origin;
use edge_bench::peers::Peer;
use edge_bench::plot::Plot;
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};
use edge_bench::store_trips::StoreTrips;

use crate::profile::{Scene, while_driven};

pub(crate) const BENCH: Bench =
    Bench { name: "shed", about: "waiting page, 429 and 503, beside nginx `return 503`", run };

const CONNECTIONS: usize = 64;
const REFUSED: &str = "/refused/item";
const LIMITED: &str = "/limited/item";
/// Nothing that varies from answer to answer but a few digits.
const FIXED: Goal = Goal::RatioAtMost(1.2);
const WITH_TICKET: Goal = Goal::RatioAtMost(2.0);
/// Beside a request that is forwarded.
const HALF: Goal = Goal::RatioAtMost(0.5);
/// A tick more or less in a turn, over the answers of the turn.
const NOISE_PER_THOUSAND: f64 = 1.0;

fn run(context: &Context) -> Result<Report, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let redis = Redis::start(context, Some(LOAD_CORE))?;
    let edge = full_house(origin.address).with_redis(redis.url()).start(context, "edge-shed")?;
    let nginx = Peer::nginx(context, origin.address, SERVER_CORE)?;
    let all = Outcomes::of(hold(context, contestants(&edge, &nginx))?)?;
    let mut rows = all.rows();
    rows.extend(store_rows(context, &edge, &redis)?);
    let bars =
        [&all.page, &all.queued, &all.closed, &all.limited, &all.forwarded].map(|outcome| outcome.bar(true));
    let bars = bars.into_iter().chain([all.nginx.bar(false)]).collect();
    let plot = Plot::bars("shed", "CPU an answer to those who are not let in", "µs, user and system", bars);
    Ok(Report { rows, plots: vec![plot] })
}

pub(crate) const SCENE: Scene =
    Scene { name: "shed", about: "first contacts are given the waiting page", record };

fn record(context: &Context) -> Result<Stacks, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let edge = full_house(origin.address).start(context, "edge-shed")?;
    let load = page(&edge);
    while_driven(context, edge.pid(), |length| load.run(Duration::ZERO, length, || ()).map(drop))
}

/// One room in which everybody waits, one that is closed, one that limits.
fn full_house(origin: SocketAddr) -> EdgePlan {
    let plan = EdgePlan::before(origin).on_core(SERVER_CORE).with("queue_all", true);
    let plan = plan.with_limited_room("refused", "/refused", "reject", 1_000_000);
    plan.with_limited_room("limited", "/limited", "passthrough", 1)
}

fn contestants(edge: &Edge, nginx: &Peer) -> Vec<Contestant> {
    let ours = |name, load| Contestant::new(name, edge.pid(), load);
    let nginx_503 = load(nginx.address, "/503", BROWSER).expecting("HTTP/1.1 503");
    vec![
        ours("waiting page to a first contact", page(edge)),
        ours("503 `queued` to an app", load(edge.site, GATED, APP).expecting("HTTP/1.1 503")),
        ours("503 `closed`", load(edge.site, REFUSED, APP).expecting("HTTP/1.1 503")),
        ours("429", load(edge.site, LIMITED, APP).expecting("HTTP/1.1 429").tolerating("HTTP/1.1 200")),
        ours("forwarded", load(edge.site, UNGATED, APP)),
        Contestant::new("nginx `return 503`", nginx.pid(), nginx_503),
    ]
}

const BROWSER: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
const APP: &str = "Accept: application/json\r\n";

fn load(to: SocketAddr, path: &str, accept: &str) -> Load {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: tickets.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         {accept}Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\n\r\n"
    );
    Load::alike(to, &request, CONNECTIONS, LOAD_CORE)
}

fn page(edge: &Edge) -> Load {
    load(edge.site, GATED, BROWSER)
}

/// First contacts leave nothing in the store.
fn store_rows(context: &Context, edge: &Edge, redis: &Redis) -> Result<Vec<Row>, BenchError> {
    let trips = StoreTrips::of(&page(edge), context.length.turn, redis)?;
    let row = |name: &str, value, most| Row::new(name, None, value, "").with_goal(Goal::AtMost(most));
    Ok(vec![
        row("store commands added by 1,000 first contacts", trips.per_thousand(), NOISE_PER_THOUSAND),
        row("keys added by all of them", trips.keys.max(0.0), 0.0),
    ])
}

struct Outcomes {
    page: Outcome,
    queued: Outcome,
    closed: Outcome,
    limited: Outcome,
    forwarded: Outcome,
    nginx: Outcome,
}

impl Outcomes {
    fn of(outcomes: Vec<Outcome>) -> Result<Self, BenchError> {
        let [page, queued, closed, limited, forwarded, nginx] = <[Outcome; 6]>::try_from(outcomes)
            .map_err(|all| BenchError::Broken(format!("{} contestants instead of six", all.len())))?;
        Ok(Self { page, queued, closed, limited, forwarded, nginx })
    }

    fn rows(&self) -> Vec<Row> {
        let beside_nginx = |outcome: &Outcome, goal| {
            let name = format!("CPU of {}, beside nginx `return 503`", outcome.name);
            Row::new(name, Some(self.nginx.cpu_us()), outcome.cpu_us(), "us").with_goal(goal)
        };
        let beside_forwarded = |outcome: &Outcome| {
            let name = format!("CPU of {}, beside a forwarded request", outcome.name);
            Row::new(name, Some(self.forwarded.cpu_us()), outcome.cpu_us(), "us").with_goal(HALF)
        };
        let shed = [&self.page, &self.queued, &self.closed, &self.limited];
        let closed: u64 = shed.map(|outcome| outcome.closed).iter().sum();
        let pages = (self.nginx.per_second(), self.page.per_second());
        vec![
            beside_nginx(&self.page, WITH_TICKET),
            beside_nginx(&self.queued, WITH_TICKET),
            beside_nginx(&self.closed, FIXED),
            beside_nginx(&self.limited, FIXED),
            beside_forwarded(&self.page),
            beside_forwarded(&self.queued),
            beside_forwarded(&self.closed),
            beside_forwarded(&self.limited),
            Row::new("waiting pages, beside 503 of nginx", Some(pages.0), pages.1, "/s"),
            Row::new(
                "bytes of a waiting page, beside 503 of nginx",
                Some(self.nginx.answer_bytes as f64),
                self.page.answer_bytes as f64,
                "bytes",
            ),
            Row::new("connections closed by such answers", None, closed as f64, "")
                .with_goal(Goal::AtMost(0.0)),
        ]
    }
}
