//! From the start of the program to its first answer, and how large the program is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::edge::{EdgePlan, UNGATED};
use edge_bench::latency::Latencies;
use edge_bench::origin::Origin;
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};

pub(crate) const BENCH: Bench =
    Bench { name: "startup", about: "from exec to the first answer, and the size of the program", run };

const GOAL_MS: f64 = 200.0;
const GOAL_MB: f64 = 25.0;
const PATIENCE: Duration = Duration::from_secs(5);

fn run(context: &Context) -> Result<Report, BenchError> {
    let starts = if context.length.is_quick() { 5 } else { 20 };
    let origin = Origin::start(1)?;
    let redis = Redis::start(context, Some(1))?;
    let plan = EdgePlan::before(origin.address);
    let mut memory = first_answers(context, &plan, starts)?;
    let mut shared = first_answers(context, &plan.with_redis(redis.url()), starts)?;
    let bytes = std::fs::metadata(context.program("vestibule")?)?.len();
    let row = |name: &str, ours, unit, goal| Row::new(name, None, ours, unit).with_goal(Goal::AtMost(goal));
    let mut rows = vec![
        row("exec to first forwarded answer, store in memory, median", memory.ms(50.0), "ms", GOAL_MS),
        row("exec to first forwarded answer, store in memory, slowest", memory.ms(100.0), "ms", GOAL_MS),
        row("exec to first forwarded answer, Redis, median", shared.ms(50.0), "ms", GOAL_MS),
        row("exec to first forwarded answer, Redis, slowest", shared.ms(100.0), "ms", GOAL_MS),
    ];
    // Other profiles keep what debuggers need in the same file.
    if context.programs.ends_with("release") {
        rows.push(row("size of the program", bytes as f64 / 1e6, "MB", GOAL_MB));
    }
    Ok(Report::from(rows))
}

fn first_answers(context: &Context, plan: &EdgePlan, starts: u32) -> Result<Latencies, BenchError> {
    let mut all = Latencies::default();
    for _ in 0..starts {
        let edge = plan.start(context, "edge-startup")?;
        let asked = Instant::now();
        answered(edge.site)?;
        all.note(edge.started_in + asked.elapsed());
    }
    Ok(all)
}

fn answered(site: SocketAddr) -> Result<(), BenchError> {
    let failed = |cause| BenchError::Connection { to: "the edge".into(), cause };
    let mut stream = TcpStream::connect(site).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {UNGATED} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    if &start == b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(BenchError::Broken(format!("the first answer was {}", String::from_utf8_lossy(&start))))
}
