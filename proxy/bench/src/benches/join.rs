//! Joins: what they cost Redis beside one Lua call each, how many a second, how soon.

mod layer;
mod plain;

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::plot::{Bar, Plot};
use edge_bench::row::{Goal, Row};
use edge_bench::turns::{in_turns, median};

use super::crowded::{BATCH, Crowded, Server, Time, wide};
use plain::{Plain, Way};

pub(crate) const BENCH: Bench =
    Bench { name: "join", about: "joins in batches beside one Lua call for each, in CPU of Redis", run };

const PACE: u64 = 10_000;

/// Who joins, and what it cost so far.
enum Contestant<'a> {
    Plain(Plain),
    Ours { server: &'a Server, batch: usize, rooms: u32 },
}

impl Contestant<'_> {
    fn join(&mut self, people: u64) -> Result<(), BenchError> {
        match self {
            Self::Plain(plain) => plain.join(people),
            Self::Ours { server, batch, rooms } => {
                *rooms += 1;
                let room = format!("batch-{batch}-{rooms}");
                Crowded::open(server, &room, wide())?.join(0..people, *batch)
            }
        }
    }
}

fn run(context: &Context) -> Result<Report, BenchError> {
    let server = Server::start(context, Time::Redis)?;
    let people = if context.length.is_quick() { 20_000 } else { 100_000 };
    let ours = |batch| Contestant::Ours { server: &server, batch, rooms: 0 };
    let mut contestants = [
        Contestant::Plain(Plain::connect(&server.redis, Way::Pipeline)?),
        Contestant::Plain(Plain::connect(&server.redis, Way::Pool)?),
        ours(BATCH),
        ours(50),
        ours(1),
    ];
    let costs = in_turns(context.length.turns, &mut contestants, |contestant| {
        // Calls one by one are dear, and alike.
        let people =
            if matches!(contestant, Contestant::Ours { batch: 1, .. }) { people / 20 } else { people };
        let ((), cost) = server.costs(|| contestant.join(people))?;
        server.redis.ask("FLUSHALL")?;
        Ok::<_, BenchError>(cost.micros / people as f64)
    })?;
    let mut costs = costs.into_iter().map(|costs| median(costs).unwrap_or(0.0));
    let mut next = || costs.next().unwrap_or(0.0);
    let (pipelined, pooled, full, fifty, one) = (next(), next(), next(), next(), next());
    let row = |name: &str, yardstick, ours| Row::new(name, Some(yardstick), ours, "µs Redis");
    let mut rows = vec![
        row(&format!("a join in batches of {BATCH}, beside Lua calls pipelined"), pipelined, full)
            .with_goal(Goal::RatioAtMost(0.25)),
        row(&format!("a join in batches of {BATCH}, beside Lua calls of 64 clients"), pooled, full),
        row("a join in batches of 50, beside Lua calls of 64 clients", pooled, fifty),
        row("a join by itself, beside a Lua call of 64 clients", pooled, one),
    ];
    rows.extend(through_the_layer(context, &server)?);
    let bars = vec![
        Bar::yardstick("one Lua call each, 64 clients", pooled),
        Bar::yardstick("one Lua call each, pipelined", pipelined),
        Bar::ours("batches of 50", fifty),
        Bar::ours(&format!("batches of {BATCH}"), full),
    ];
    Ok(Report { rows, plots: vec![Plot::bars("join", "A join", "µs of CPU of Redis", bars)] })
}

fn through_the_layer(context: &Context, server: &Server) -> Result<Vec<Row>, BenchError> {
    let busy = layer::saturate(server, "saturated", context.length.turn)?;
    server.redis.ask("FLUSHALL")?;
    let mut calm = layer::paced(server, "paced", PACE, context.length.turn)?;
    server.redis.ask("FLUSHALL")?;
    let row = |name: &str, ours, unit| Row::new(name, None, ours, unit);
    let all_of_a_core = 1e6 / busy.redis_micros.max(f64::MIN_POSITIVE);
    Ok(vec![
        row("joins through the store layer, one core for callers and layer", busy.per_second, "joins/s"),
        row("joins that one core of Redis takes at that cost", all_of_a_core, "joins/s")
            .with_goal(Goal::AtLeast(100_000.0)),
        row("Redis for a join through the layer", busy.redis_micros, "µs Redis"),
        row("callers and layer for a join", busy.client_micros, "µs client"),
        row("p50 of a join through the layer at 10,000 a second", calm.ms(50.0), "ms"),
        row("p95 of a join through the layer at 10,000 a second", calm.ms(95.0), "ms")
            .with_goal(Goal::AtMost(20.0)),
        row("p99.9 of a join through the layer at 10,000 a second", calm.ms(99.9), "ms"),
    ])
}
