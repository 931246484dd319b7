//! What a visitor who waits, or is idle, costs the edge in memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::contest::LOAD_CORE;
use edge_bench::edge::{Edge, EdgePlan, UNGATED};
use edge_bench::flame::Stacks;
use edge_bench::origin::Origin;
use edge_bench::plot::{Axis, Line, Plot};
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};
use edge_bench::ticket::tickets;
use edge_bench::usage::{memory_bytes, pin_thread};
use edge_bench::waiters::Waiters;

use crate::profile::{Scene, while_driven};

pub(crate) const BENCH: Bench =
    Bench { name: "memory", about: "process memory of a waiter on a socket, and of an idle connection", run };

/// A process may have 20,000 descriptors on the smallest systems this is for.
const WAITING: [u64; 5] = [0, 1_000, 5_000, 10_000, 18_000];
const IDLE: u64 = 5_000;
/// Until everybody was placed, and what a crowd of arrivals needed is given back.
const REST: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(5);
const GOAL_KIB: f64 = 4.0;
/// The figure from 10,000 up stays within this of the one below.
const CONSTANT: f64 = 1.15;

fn run(context: &Context) -> Result<Report, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    // On any core but with one worker, as an edge on a core of its own.
    let plan = EdgePlan::before(origin.address).on_core(0).with("queue_all", true);
    let edge = plan.start(context, "edge-memory")?;
    pin_thread(LOAD_CORE)?;
    let waiting = waiting(context, &edge)?;
    drop(edge);
    let idle = idle(&plan.start(context, "edge-memory-idle")?)?;
    Ok(Report { rows: rows(&waiting, idle), plots: vec![plot(&waiting)] })
}

pub(crate) const HUB: Scene = Scene {
    name: "hub",
    about: "10,000 visitors who wait on sockets are placed and told",
    record: record_hub,
};
pub(crate) const STORE: Scene =
    Scene { name: "store", about: "Redis while thousands come to wait", record: record_store };

/// Those who wait while samples are taken, and those who come meanwhile.
const HUB_WAITERS: u64 = 10_000;
const COMING: u64 = 18_000;

fn record_hub(context: &Context) -> Result<Stacks, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let plan = EdgePlan::before(origin.address).on_core(0).with("new_users_per_minute", 60_000);
    let edge = plan
        .with("total_active_users", 100_000)
        .with("claim_window", "\"10m\"")
        .start(context, "edge-hub")?;
    let mut waiters = Waiters::new(edge.site)?;
    waiters.come(&tickets(0..HUB_WAITERS)?, &mut |_, _| {})?;
    while_driven(context, edge.pid(), |length| waiters.listen(length, &mut |_, _| {}))
}

fn record_store(context: &Context) -> Result<Stacks, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let redis = Redis::start(context, Some(LOAD_CORE))?;
    let plan = EdgePlan::before(origin.address).on_core(0).with("queue_all", true).with_redis(redis.url());
    let edge = plan.start(context, "edge-store")?;
    let tickets = tickets(0..COMING)?;
    while_driven(context, redis.pid(), |length| {
        let (mut waiters, began) = (Waiters::new(edge.site)?, Instant::now());
        for some in tickets.chunks(1000) {
            if began.elapsed() < length {
                waiters.come(some, &mut |_, _| {})?;
            }
        }
        waiters.listen(length.saturating_sub(began.elapsed()), &mut |_, _| {})
    })
}

/// Bytes of the process with so many waiters.
#[derive(Debug, Clone, Copy)]
struct Held {
    waiters: u64,
    bytes: u64,
}

fn waiting(context: &Context, edge: &Edge) -> Result<Vec<Held>, BenchError> {
    let mut waiters = Waiters::new(edge.site)?;
    let mut held = Vec::new();
    let mut from = 0;
    for count in WAITING {
        waiters.come(&tickets(from..count)?, &mut |_, _| {})?;
        waiters.listen(REST, &mut |_, _| {})?;
        if waiters.open() as u64 != count {
            return Err(BenchError::Invariant(format!(
                "of {count} waiters {} are still there",
                waiters.open()
            )));
        }
        from = count;
        let step = Held { waiters: count, bytes: memory_bytes(edge.pid()) };
        context.say(format_args!(
            "{:>6} waiters: {:.1} MiB",
            step.waiters,
            step.bytes as f64 / 1024.0 / 1024.0
        ));
        held.push(step);
    }
    Ok(held)
}

/// Bytes a connection, each of which asked once and stays open.
fn idle(edge: &Edge) -> Result<f64, BenchError> {
    let before = memory_bytes(edge.pid());
    let lines = (0..IDLE).map(|_| asked_once(edge.site)).collect::<Result<Vec<_>, _>>()?;
    let after = memory_bytes(edge.pid());
    Ok(after.saturating_sub(before) as f64 / lines.len() as f64)
}

fn asked_once(site: SocketAddr) -> Result<TcpStream, BenchError> {
    let mut stream = TcpStream::connect(site)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {UNGATED} HTTP/1.1\r\nHost: tickets.example.com\r\n\r\n").as_bytes())?;
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer)?;
    if read == 0 {
        return Err(BenchError::Broken("the edge closed a connection that was to idle".into()));
    }
    Ok(stream)
}

fn rows(held: &[Held], idle_bytes: f64) -> Vec<Row> {
    let each = |from: u64, to: u64| {
        let at =
            |waiters| held.iter().find(|held| held.waiters == waiters).map_or(0.0, |held| held.bytes as f64);
        (at(to) - at(from)) / (to - from) as f64 / 1024.0
    };
    let (below, above) = (each(1_000, 10_000), each(10_000, 18_000));
    vec![
        Row::new("a waiter, from 1,000 to 10,000", None, below, "KiB").with_goal(Goal::AtMost(GOAL_KIB)),
        Row::new("a waiter, from 10,000 to 18,000", None, above, "KiB").with_goal(Goal::AtMost(GOAL_KIB)),
        Row::new("a waiter above 10,000, beside one below", Some(below), above, "KiB")
            .with_goal(Goal::RatioAtMost(CONSTANT)),
        Row::new("an idle connection kept alive after a forwarded request", None, idle_bytes / 1024.0, "KiB"),
    ]
}

fn plot(held: &[Held]) -> Plot {
    let points = held.iter().map(|held| (held.waiters as f64, held.bytes as f64 / 1024.0 / 1024.0)).collect();
    let line = Line { label: "one edge".into(), points };
    let (x, y) = (Axis::linear("visitors who wait on a socket"), Axis::linear("memory of the process, MiB"));
    Plot::lines("memory", "Memory of an edge by those who wait", x, y, vec![line])
}
