//! The whole way of visitors while the gate is busy: come, wait, enter, buy, pay, on one machine with everything on it.

mod shop;

use std::time::Duration;

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::edge::{Edge, EdgePlan, GATED};
use edge_bench::load::{Load, Pace, Score};
use edge_bench::origin::Origin;
use edge_bench::plot::{Axis, Line, Plot};
use edge_bench::process::free_address;
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};

use self::shop::{Crowd, Shop, Visit};
use super::gate::{passes, request};

pub(crate) const BENCH: Bench = Bench {
    name: "flow",
    about: "join, wait, enter, buy and pay while the gate is busy, all on one machine",
    run,
};

/// Requests a second at the gate, one step after the other until one is too much.
const STEPS: [f64; 9] =
    [1_000.0, 2_000.0, 4_000.0, 8_000.0, 12_000.0, 16_000.0, 20_000.0, 25_000.0, 30_000.0];
/// Visitors a second who come to buy meanwhile.
const ARRIVALS: u32 = 50;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_secs(6);
const GATE_P95_MS: f64 = 120.0;
const CONFIRM_P95_MS: f64 = 500.0;
const MOST_ERRORS_PERCENT: f64 = 0.5;
const GOAL_PER_SECOND: f64 = 30_000.0;
/// Of the requests that were due, so many were answered in time: else the rate was not held.
const HELD: f64 = 0.98;

fn run(context: &Context) -> Result<Report, BenchError> {
    // Nothing is pinned: all share the machine, as they would on a small server.
    let origin = Origin::start_anywhere()?;
    let redis = Redis::start(context, None)?;
    let shop = free_address()?;
    let plan = EdgePlan::before(origin.address).with_redis(redis.url()).with("new_users_per_minute", 600_000);
    let plan =
        plan.with("total_active_users", 100_000).with("burst", 10_000).with_room("e1", shop, SALE_ROOM);
    let edge = plan.start(context, "edge-flow")?;
    let _shop = Shop::start(context, shop, &edge)?;
    let cookies = passes::of_visitors(&edge, CONNECTIONS)?;
    let length = SHORTEST.max(context.length.turn * 2);
    let mut steps = Vec::new();
    for per_second in STEPS {
        let step = Step::of(context, &edge, &cookies, per_second, length)?;
        context.say(format_args!("{step}"));
        let held = step.held();
        steps.push(step);
        if !held {
            break;
        }
    }
    let plots = vec![plot(&steps)];
    Ok(Report { rows: rows(&steps)?, plots })
}

/// Everybody gets in, after a wait of seconds: the line is longer than the first second's worth.
const SALE_ROOM: &str =
    "new_users_per_minute = 3600\ntotal_active_users = 2000\nburst = 20\nsettle_window = \"1s\"";

/// One rate at the gate, with visitors who buy meanwhile.
#[derive(Debug)]
struct Step {
    wanted: f64,
    gate_per_second: f64,
    gate_p95_ms: f64,
    visits: Visit,
}

impl Step {
    fn of(
        context: &Context,
        edge: &Edge,
        cookies: &[String],
        wanted: f64,
        length: Duration,
    ) -> Result<Self, BenchError> {
        let crowd = Crowd::send(context, edge.site, ARRIVALS, length)?;
        let requests = cookies.iter().map(|cookie| request(GATED, cookie)).collect();
        let load = Load { requests, pace: Pace::Open { per_second: wanted }, ..Load::nobody(edge.site) };
        let gate = load.run(WARM_UP, length, || ()).map(|(score, ..)| score);
        let visits = crowd.come_back()?;
        let Score { answers, seconds, mut latencies, .. } = gate?;
        Ok(Self {
            wanted,
            gate_per_second: answers as f64 / seconds,
            gate_p95_ms: latencies.ms(95.0),
            visits,
        })
    }

    fn held(&self) -> bool {
        self.gate_per_second >= self.wanted * HELD
            && self.gate_p95_ms < GATE_P95_MS
            && self.visits.p95_ms < CONFIRM_P95_MS
            && self.visits.errors_percent() < MOST_ERRORS_PERCENT
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wanted, gate_per_second, gate_p95_ms, visits } = self;
        let verdict = if self.held() { "held" } else { "too much" };
        write!(
            f,
            "{wanted:>6}/s at the gate: {gate_per_second:.0}/s, p95 {gate_p95_ms:.1} ms; visitors: {} paid, p95 {:.1} ms, \
             {} errors of {}: {verdict}",
            visits.paid, visits.p95_ms, visits.errors, visits.requests
        )
    }
}

/// Of the highest rate that was held; without one, of the lowest, and nothing was held.
fn rows(steps: &[Step]) -> Result<Vec<Row>, BenchError> {
    let held = steps.iter().rfind(|step| step.held());
    let per_second = held.map_or(0.0, |step| step.gate_per_second);
    let best = held.or(steps.first()).ok_or_else(|| BenchError::Broken("nothing was measured".into()))?;
    let row = |name: &str, ours, unit, goal| Row::new(name, None, ours, unit).with_goal(goal);
    let visits = &best.visits;
    Ok(vec![
        row("requests at the gate", per_second, "req/s", Goal::AtLeast(GOAL_PER_SECOND)),
        row("p95 at the gate", best.gate_p95_ms, "ms", Goal::AtMost(GATE_P95_MS)),
        row(
            "p95 of what buyers ask: page, join, enter, hold, pay",
            visits.p95_ms,
            "ms",
            Goal::AtMost(CONFIRM_P95_MS),
        ),
        row("errors of buyers' requests", visits.errors_percent(), "%", Goal::AtMost(MOST_ERRORS_PERCENT)),
        Row::new("visitors who paid meanwhile", None, visits.paid as f64 / visits.seconds, "/s"),
    ])
}

fn plot(steps: &[Step]) -> Plot {
    let line = |label: &str, figure: fn(&Step) -> f64| Line {
        label: label.into(),
        points: steps.iter().map(|step| (step.wanted, figure(step))).collect(),
    };
    let lines =
        vec![line("at the gate", |step| step.gate_p95_ms), line("of buyers", |step| step.visits.p95_ms)];
    let (x, y) = (Axis::linear("requests a second at the gate"), Axis::logarithmic("p95, ms"));
    Plot::lines("flow", "Latency by load, with everything on one machine", x, y, lines)
}
