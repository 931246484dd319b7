//! How the cost of each part grows with the line, from a thousand to a million: cost ~ a · n^b, and b is printed. And
//! how long calls take at a million.

mod fit;
mod pushes;

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::plot::{Axis, Line, Plot};
use edge_bench::row::{Goal, Row};
use room::queue::RULER_EVERY;

use super::crowded::{BATCH, Crowded, Server, Time, person, wide};
use fit::exponent;

pub(crate) const BENCH: Bench =
    Bench { name: "growth", about: "how costs grow from a thousand who wait to a million", run };

/// The last in long runs only.
const LENGTHS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// At which calls are timed.
const CROWD: u64 = 1_000_000;
/// Batches of joins and of departures, and ticks, of which a cost is the mean.
const ROUNDS: u64 = 40;
const TICK: Duration = Duration::from_millis(100);
/// No call takes longer, 999 times in 1,000.
const MOST_MS: f64 = 5.0;
/// Calls of each kind of which that is said.
const CALLS: u64 = 1_000;

/// One part of the whole, and what it cost at each length of the line.
struct Part {
    name: &'static str,
    unit: &'static str,
    costs: Vec<(f64, f64)>,
}

/// In the order of what [`measure`] finds.
const PARTS: [(&str, &str); 10] = [
    ("a join in a batch", "µs Redis"),
    ("the same presented again", "µs Redis"),
    ("an absence in a batch", "µs Redis"),
    ("a renewal in a batch", "µs Redis"),
    ("a tick without the ruler", "µs Redis"),
    ("a tick with the ruler", "µs Redis"),
    ("memory of Redis for a waiter", "bytes"),
    ("placing a waiter by the ruler", "ns client"),
    ("updates to all at 1,800 turns a minute", "pushes/s"),
    ("updates to all at 60,000 turns a minute", "pushes/s"),
];

fn run(context: &Context) -> Result<Report, BenchError> {
    let server = Server::start(context, Time::Bench)?;
    let mut parts = PARTS.map(|(name, unit)| Part { name, unit, costs: Vec::new() });
    let mut calls = Vec::new();
    let most = if context.length.is_long() { 10 * CROWD } else { CROWD };
    for people in LENGTHS.into_iter().filter(|people| *people <= most) {
        context.say(format_args!("{people} wait"));
        let used = used_memory(&server)?;
        let mut crowded = Crowded::open(&server, &format!("growth-{people}"), wide())?;
        crowded.join(0..people, BATCH)?;
        let memory = (used_memory(&server)? - used) / people as f64;
        let costs = measure(&server, &mut crowded, people, memory)?;
        for (part, cost) in parts.iter_mut().zip(costs) {
            part.costs.push((people as f64, cost));
        }
        if people == CROWD {
            calls = slow_calls(&mut crowded, people)?;
        }
        server.redis.ask("FLUSHALL")?;
    }
    let mut rows: Vec<Row> = parts.iter().flat_map(part_rows).collect();
    rows.append(&mut calls);
    rows.push(Row::new("an update on the wire, without its frame", None, pushes::bytes()?, "bytes"));
    let lines = parts.iter().map(|part| Line { label: part.name.into(), points: part.costs.clone() }).take(6);
    let (x, y) = (Axis::logarithmic("waiting"), Axis::logarithmic("µs of CPU of Redis"));
    let plot = Plot::lines("growth", "Costs as the line grows", x, y, lines.collect());
    Ok(Report { rows, plots: vec![plot] })
}

/// In the order of [`PARTS`].
fn measure(
    server: &Server,
    crowded: &mut Crowded<'_>,
    people: u64,
    memory: f64,
) -> Result<[f64; 10], BenchError> {
    let batch = BATCH as u64;
    let (mut join, mut leave) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let newcomers = people..people + batch;
        join += server.costs(|| crowded.join(newcomers.clone(), BATCH))?.1.micros;
        leave += server.costs(|| crowded.leave(newcomers))?.1.micros;
    }
    let (presented, again) = in_rounds(server, 0..people, |some| crowded.join(some, BATCH))?;
    let ((), short) = server.costs(|| {
        (0..5 * ROUNDS).try_for_each(|_| {
            crowded.wait(RULER_EVERY / 1000);
            crowded.tick().map(drop)
        })
    })?;
    let (ruler, long) = server.costs(|| {
        let mut ruler = None;
        for _ in 0..ROUNDS {
            crowded.wait(RULER_EVERY);
            ruler = crowded.tick()?.ruler;
        }
        ruler.ok_or_else(|| BenchError::Broken("a tick did not measure the line".into()))
    })?;
    // As many sessions as people wait.
    let inside = 2 * people..3 * people;
    crowded.renew(inside.clone())?;
    let (renewed, renew) = in_rounds(server, inside, |some| crowded.renew(some))?;
    let began = Instant::now();
    let placed: u64 = (0..people).map(|number| ruler.place(black_box(person(number).score))).sum();
    black_box(placed);
    let place = began.elapsed().as_secs_f64() * 1e9 / people as f64;
    let (each, rounds) = ((ROUNDS * batch) as f64, ROUNDS as f64);
    Ok([
        join / each,
        again / presented,
        leave / each,
        renew / renewed,
        short.micros / (5.0 * rounds),
        long.micros / rounds,
        memory,
        place,
        pushes::a_second(people, 1_800),
        pushes::a_second(people, 60_000),
    ])
}

/// Does it to a batch of these people at a time, here and there in the line. How many it was, and what it cost.
fn in_rounds(
    server: &Server,
    people: Range<u64>,
    mut act: impl FnMut(Range<u64>) -> Result<(), BenchError>,
) -> Result<(f64, f64), BenchError> {
    let length = people.end - people.start;
    let (count, cost) = server.costs(|| {
        let mut count = 0;
        for round in 0..ROUNDS {
            let first = people.start + round * BATCH as u64 * 7 % length;
            let some = first..(first + BATCH as u64).min(people.end);
            count += some.end - some.start;
            act(some)?;
        }
        Ok(count)
    })?;
    Ok((count as f64, cost.micros))
}

fn part_rows(part: &Part) -> Vec<Row> {
    let Part { name, unit, costs } = part;
    let row = |&(people, cost): &(f64, f64)| Row::new(format!("{name}, {people} waiting"), None, cost, unit);
    let mut rows: Vec<Row> = costs.iter().map(row).collect();
    rows.push(Row::new(format!("{name}: exponent"), None, exponent(costs), "n^b"));
    rows
}

/// How long calls take while as many wait, of each kind.
fn slow_calls(crowded: &mut Crowded<'_>, people: u64) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    let mut slowest = |what: &str, crowded: &mut Crowded<'_>| {
        let ms = std::mem::take(&mut crowded.took).ms(99.9);
        let row = Row::new(format!("p99.9 of {what}, {people} waiting"), None, ms, "ms");
        rows.push(row.with_goal(Goal::AtMost(MOST_MS)));
    };
    let batch = BATCH as u64;
    crowded.took = edge_bench::latency::Latencies::default();
    crowded.join(people..people + CALLS, 1)?;
    slowest("a join by itself", crowded);
    crowded.join(people + CALLS..people + CALLS + CALLS * batch, BATCH)?;
    slowest(&format!("{BATCH} joins"), crowded);
    crowded.leave(people..people + CALLS * batch)?;
    slowest(&format!("{BATCH} absences"), crowded);
    crowded.renew(2 * people..2 * people + CALLS * batch)?;
    slowest(&format!("{BATCH} renewals"), crowded);
    crowded.hold = false;
    for _ in 0..CALLS {
        crowded.wait(TICK);
        crowded.tick()?;
    }
    slowest("ticks that give 100 turns, one in ten with the ruler", crowded);
    for _ in 0..CALLS {
        crowded.survey()?;
    }
    slowest("a survey", crowded);
    // The store is an older copy: others were told of a front half a million places on.
    crowded.hear_of_front(person(people / 2).score);
    crowded.survey()?;
    crowded.report()?;
    for _ in 0..CALLS {
        crowded.wait(TICK);
        crowded.tick()?;
    }
    slowest("calls and ticks with half of the line behind the front", crowded);
    Ok(rows)
}

fn used_memory(server: &Server) -> Result<f64, BenchError> {
    let info = server.redis.ask("INFO memory")?;
    let value = info.lines().find_map(|line| line.trim_end().strip_prefix("used_memory:"));
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| BenchError::Broken("INFO without used_memory".into()))
}
