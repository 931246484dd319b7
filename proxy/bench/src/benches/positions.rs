//! Positions of all who wait: commands and CPU of the store for a second, beside a `ZRANK` for each.

mod ranks;

use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::plot::{Axis, Line, Plot};
use edge_bench::row::{Goal, Row};
use room::ruler::Ruler;

use super::crowded::{BATCH, Cost, Crowded, Server, Time, person, wide};
use ranks::Ranks;

pub(crate) const BENCH: Bench =
    Bench { name: "positions", about: "everybody's position, beside a ZRANK for each of them", run };

const LENGTHS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const TICK_EVERY: Duration = Duration::from_millis(100);
/// Everybody's position costs at most this part of the yardstick, with so many people.
const GOAL: (u64, f64) = (100_000, 0.01);
/// Positions beyond the first hundred are at most so wrong.
const MOST_WRONG: f64 = 0.02;
const SAMPLES: u64 = 2_000;

/// One length of the line.
struct Measured {
    people: u64,
    /// Of the ticks of a second.
    ours: Cost,
    ticks: u32,
    /// A `ZRANK` for each.
    theirs_micros: f64,
    wrong: Wrong,
}

/// How far positions are off, as a share of the rank.
#[derive(Default)]
struct Wrong {
    most: f64,
    sum: f64,
}

fn run(context: &Context) -> Result<Report, BenchError> {
    let server = Server::start(context, Time::Redis)?;
    let mut measured = Vec::new();
    for people in LENGTHS {
        context.say(format_args!("{people} wait"));
        measured.push(measure(context, &server, people)?);
        server.redis.ask("FLUSHALL")?;
    }
    let rows = measured.iter().flat_map(rows).collect();
    let line = |label: &str, value: fn(&Measured) -> f64| Line {
        label: label.into(),
        points: measured.iter().map(|measured| (measured.people as f64, value(measured))).collect(),
    };
    let lines = vec![
        line("ZRANK for each", |measured| measured.theirs_micros / 1e3),
        line("the ruler, with its ticks", |measured| measured.ours.micros / 1e3),
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
    // The longer a turn, the more seconds; the first measures everything.
    let seconds = context.length.turn.as_secs().max(1) as u32;
    let ticks = 10 * seconds;
    let mut ruler = None;
    let ((), cost) = server.costs(|| {
        let began = Instant::now();
        for number in 0..ticks {
            ruler = crowded.tick()?.ruler.or(ruler.take());
            std::thread::sleep((TICK_EVERY * (number + 1)).saturating_sub(began.elapsed()));
        }
        Ok(())
    })?;
    let share = |total: f64| total / f64::from(seconds);
    let ours = Cost { micros: share(cost.micros), ..cost };
    let ruler = ruler.ok_or_else(|| BenchError::Broken("no tick measured the line".into()))?;
    let mut ranks = Ranks::connect(&server.redis, &format!("vestibule:{{{}}}:queue", crowded.room))?;
    let (_, theirs) = server.costs(|| ranks.of(0..people))?;
    let wrong = compare(&ruler, &mut ranks, people)?;
    Ok(Measured { people, ours, ticks, theirs_micros: theirs.micros, wrong })
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
    let Measured { people, ours, ticks, theirs_micros, wrong } = measured;
    let row = |what: &str, yardstick, ours, unit| {
        Row::new(format!("{what}, {people} waiting"), yardstick, ours, unit)
    };
    let (ticks, cost) = (f64::from(*ticks), ours.micros / 1e3);
    let everybody = row("all positions each second", Some(theirs_micros / 1e3), cost, "ms Redis");
    let with_goal = everybody.clone().with_goal(Goal::RatioAtMost(GOAL.1));
    vec![
        row("calls of a tick", None, ours.calls as f64 / ticks, "calls").with_goal(Goal::AtMost(1.0)),
        row("commands inside a tick", None, (ours.commands - ours.calls) as f64 / ticks, "commands"),
        if *people == GOAL.0 { with_goal } else { everybody },
        row("worst position", None, wrong.most * 100.0, "% off").with_goal(Goal::AtMost(MOST_WRONG * 100.0)),
        row("mean position", None, wrong.sum * 100.0, "% off"),
    ]
}
