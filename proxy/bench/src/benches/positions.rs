//! Positions of all who wait: what the ruler costs the store, beside a `ZRANK` for each.
//!
//! The ruler is read in one tick of a second, so what positions cost is what such a tick costs more than one without,
//! with an edge that listens. What a whole second of ticks takes, with turns and all, stands beside it.

mod ranks;

use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::plot::{Axis, Line, Plot};
use edge_bench::row::{Goal, Row};
use edge_bench::turns::{in_turns, median};
use room::queue::RULER_EVERY;
use room::ruler::Ruler;
use store::Store as _;

use super::crowded::{BATCH, Cost, Crowded, Server, Time, person, wide};
use ranks::Ranks;

pub(crate) const BENCH: Bench =
    Bench { name: "positions", about: "everybody's position, beside a ZRANK for each of them", run };

const LENGTHS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const TICK_EVERY: Duration = Duration::from_millis(100);
/// Ticks of a turn, of which a cost is the mean.
const TICKS: u32 = 50;
/// Everybody's position costs at most this part of the yardstick, with so many people.
const GOAL: (u64, f64) = (100_000, 0.01);
/// Positions beyond the first hundred are at most so wrong.
const MOST_WRONG: f64 = 0.02;
const SAMPLES: u64 = 2_000;

/// One length of the line.
struct Measured {
    people: u64,
    /// What the ruler adds to a tick.
    ruler_micros: f64,
    /// Of a second of ticks at their pace, one of them with the ruler.
    second: Cost,
    /// A `ZRANK` for each.
    theirs_micros: f64,
    wrong: Wrong,
}

/// Who takes turns.
enum Contestant {
    /// So far apart.
    Ticks(Duration),
    Ranks,
}

/// How far positions are off, as a share of the rank.
#[derive(Default)]
struct Wrong {
    most: f64,
    sum: f64,
}

fn run(context: &Context) -> Result<Report, BenchError> {
    let server = Server::start(context, Time::Bench)?;
    let ((), idle) = server.costs(|| {
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    let mut measured = Vec::new();
    for people in LENGTHS {
        context.say(format_args!("{people} wait"));
        measured.push(measure(context, &server, people)?);
        server.redis.ask("FLUSHALL")?;
    }
    let mut rows: Vec<Row> = measured.iter().flat_map(rows).collect();
    rows.push(Row::new("a second in which nobody calls", None, idle.micros / 1e3, "ms Redis"));
    let line = |label: &str, value: fn(&Measured) -> f64| Line {
        label: label.into(),
        points: measured.iter().map(|measured| (measured.people as f64, value(measured))).collect(),
    };
    let lines = vec![
        line("ZRANK for each", |measured| measured.theirs_micros / 1e3),
        line("the ruler", |measured| measured.ruler_micros / 1e3),
    ];
    let (x, y) = (Axis::logarithmic("waiting"), Axis::logarithmic("ms of CPU of Redis a second"));
    Ok(Report {
        rows,
        plots: vec![Plot::lines("positions", "Everybody's position, each second", x, y, lines)],
    })
}

fn measure(context: &Context, server: &Server, people: u64) -> Result<Measured, BenchError> {
    let mut crowded = Crowded::open(server, &format!("positions-{people}"), wide())?;
    crowded.join(0..people, BATCH)?;
    let _edge = server.store.listen(&crowded.room);
    let mut ranks = Ranks::connect(&server.redis, &format!("vestibule:{{{}}}:queue", crowded.room))?;
    let mut contestants =
        [Contestant::Ticks(RULER_EVERY / 1000), Contestant::Ticks(RULER_EVERY), Contestant::Ranks];
    let costs = in_turns(context.length.turns, &mut contestants, |contestant| match contestant {
        Contestant::Ticks(apart) => {
            let ((), cost) = server.costs(|| ticks(&mut crowded, *apart))?;
            Ok::<_, BenchError>(cost.micros / f64::from(TICKS))
        }
        Contestant::Ranks => Ok(server.costs(|| ranks.of(0..people))?.1.micros),
    })?;
    let mut costs = costs.into_iter().map(|costs| median(costs).unwrap_or(0.0));
    let mut next = || costs.next().unwrap_or(0.0);
    let (without, with, theirs_micros) = (next(), next(), next());
    let (ruler, second) = server.costs(|| at_their_pace(&mut crowded))?;
    let wrong = compare(&ruler, &mut ranks, people)?;
    let ruler_micros = (with - without).max(0.0);
    Ok(Measured { people, ruler_micros, second, theirs_micros, wrong })
}

/// Ticks so far apart: with a second between them each measures the line, with less none.
fn ticks(crowded: &mut Crowded<'_>, apart: Duration) -> Result<(), BenchError> {
    (0..TICKS).try_for_each(|_| {
        crowded.wait(apart);
        crowded.tick().map(drop)
    })
}

/// The ticks of a second; one of them measures the line.
fn at_their_pace(crowded: &mut Crowded<'_>) -> Result<Ruler, BenchError> {
    let (began, mut ruler) = (Instant::now(), None);
    for number in 1..=ticks_a_second() {
        crowded.wait(TICK_EVERY);
        ruler = crowded.tick()?.ruler.or(ruler.take());
        std::thread::sleep((TICK_EVERY * number).saturating_sub(began.elapsed()));
    }
    ruler.ok_or_else(|| BenchError::Broken("no tick measured the line".into()))
}

fn ticks_a_second() -> u32 {
    (RULER_EVERY.as_millis() / TICK_EVERY.as_millis()) as u32
}

fn compare(ruler: &Ruler, ranks: &mut Ranks, people: u64) -> Result<Wrong, BenchError> {
    let mut wrong = Wrong::default();
    let step = (people / SAMPLES).max(1);
    for number in (0..people).step_by(step as usize) {
        let rank = ranks.of(number..number + 1)?.first().copied().unwrap_or(0) + 1;
        let off = ruler.place(person(number).score).abs_diff(rank) as f64 / rank as f64;
        wrong.most = wrong.most.max(off);
        wrong.sum += off / people.div_ceil(step) as f64;
    }
    Ok(wrong)
}

fn rows(measured: &Measured) -> Vec<Row> {
    let Measured { people, ruler_micros, second, theirs_micros, wrong } = measured;
    let row = |what: &str, yardstick, ours, unit| {
        Row::new(format!("{what}, {people} waiting"), yardstick, ours, unit)
    };
    let everybody =
        row("all positions each second", Some(theirs_micros / 1e3), ruler_micros / 1e3, "ms Redis");
    let with_goal = everybody.clone().with_goal(Goal::RatioAtMost(GOAL.1));
    let each = |count: u64| count as f64 / f64::from(ticks_a_second());
    vec![
        row("calls of a tick", None, each(second.calls), "calls").with_goal(Goal::AtMost(1.0)),
        row("commands inside a tick", None, each(second.commands - second.calls), "commands"),
        if *people == GOAL.0 { with_goal } else { everybody },
        row("the ticks of a second at their pace, ruler and all", None, second.micros / 1e3, "ms Redis"),
        row("worst position", None, wrong.most * 100.0, "% off").with_goal(Goal::AtMost(MOST_WRONG * 100.0)),
        row("mean position", None, wrong.sum * 100.0, "% off"),
    ]
}
