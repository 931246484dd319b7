//! Live sockets: a fleet of edges on one Redis, a crowd from several processes that waits on them, and every promise to
//! those who wait held against what they saw.

mod fleet;
mod watch;

use std::time::Duration;

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::row::{Goal, Row};
use serde::Deserialize;

use self::fleet::Fleet;
use self::watch::{Readings, Watch};

pub(crate) const BENCH: Bench = Bench {
    name: "sockets",
    about: "tens of thousands of live sockets, each placed again on its cadence",
    run,
};

/// How large, and how long. Descriptors are limited by process: edges and crowds are several.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) edges: usize,
    pub(crate) processes: usize,
    /// Somewhat more than are to be held, as some leave and some get their turn.
    pub(crate) waves: &'static [u32],
    /// How many are held, in round numbers, once each wave has come.
    pub(crate) held: &'static [u64],
    pub(crate) a_second: u32,
    pub(crate) pause: Duration,
    /// After the last wave.
    pub(crate) stay: Duration,
    pub(crate) users_per_minute: u32,
}

const QUICK: Scale = Scale {
    edges: 2,
    processes: 2,
    waves: &[1_000, 4_300],
    held: &[1_000, 5_000],
    a_second: 1_000,
    pause: Duration::from_secs(5),
    stay: Duration::from_secs(24),
    users_per_minute: 240,
};
const USUAL: Scale = Scale {
    edges: 3,
    processes: 3,
    waves: &[10_500, 20_600],
    held: &[10_000, 30_000],
    a_second: 1_000,
    pause: Duration::from_secs(15),
    stay: Duration::from_secs(45),
    users_per_minute: 600,
};
const LONG: Scale = Scale {
    edges: 7,
    processes: 7,
    waves: &[10_600, 41_000, 53_000],
    held: &[10_000, 50_000, 100_000],
    a_second: 1_000,
    pause: Duration::from_secs(15),
    stay: Duration::from_secs(80),
    users_per_minute: 900,
};

impl Scale {
    fn lasts(&self) -> Duration {
        let people: u32 = self.waves.iter().sum();
        let pauses = u32::try_from(self.waves.len().saturating_sub(1)).unwrap_or(0);
        Duration::from_secs(u64::from(people / self.a_second)) + self.pause * pauses + self.stay
    }

    fn most_held(&self) -> f64 {
        self.held.last().map_or(0.0, |held| *held as f64)
    }

    /// When each wave has settled: shortly before the next begins, or the run ends.
    fn plateaus(&self) -> Vec<Duration> {
        let last = self.waves.len().saturating_sub(1);
        let mut come = Duration::ZERO;
        let ends = self.waves.iter().enumerate().map(|(index, people)| {
            come += Duration::from_secs_f64(f64::from(*people) / f64::from(self.a_second));
            let rest = if index == last { self.stay } else { self.pause };
            let settled = (come + rest).saturating_sub(Duration::from_secs(1));
            come += rest;
            settled
        });
        ends.collect()
    }
}

fn run(context: &Context) -> Result<Report, BenchError> {
    let scale = match context.length {
        length if length.is_quick() => QUICK,
        length if length.is_long() => LONG,
        _ => USUAL,
    };
    let mut fleet = Fleet::start(context, &scale)?;
    let watch = Watch::new(&fleet);
    let empty = watch.read()?;
    let (seen, readings) = fleet.visit(context, &scale, watch)?;
    Ok(Report::from(rows(&scale, &seen, &empty, &readings)))
}

/// What `crowd run --json` says at the end, as far as it is judged here.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    order_inversions: u64,
    order_compared: u64,
    over_limit_windows: Option<u64>,
    lost_places: u64,
    positions_wrong: u64,
    position_grew: u64,
    positions_compared: u64,
    forwarded_ungated: u64,
    off_cadence: Option<u64>,
    cadence_compared: u64,
    herd: Herd,
}

#[derive(Debug, Deserialize)]
struct Herd {
    most_open: u64,
    opened_per_second: u32,
    joined_ms: Quantiles,
    lag_ms: Quantiles,
    turn_lag_ms: Quantiles,
    late_ms: Quantiles,
    cpu_us_per_message: Option<f64>,
    bytes_per_message: f64,
}

#[derive(Debug, Deserialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
}

fn rows(scale: &Scale, seen: &Seen, empty: &watch::Reading, readings: &Readings) -> Vec<Row> {
    let Seen { herd, .. } = seen;
    let least =
        |name: &str, ours, unit, goal| Row::new(name, None, ours, unit).with_goal(Goal::AtLeast(goal));
    let most = |name: &str, ours, unit, goal| Row::new(name, None, ours, unit).with_goal(Goal::AtMost(goal));
    let plain = |name: &str, ours, unit| Row::new(name, None, ours, unit);
    let mut rows = vec![
        least("live sockets at once", herd.most_open as f64, "sockets", scale.most_held()),
        plain("edge processes", scale.edges as f64, ""),
        plain("sockets opened, best second", f64::from(herd.opened_per_second), "1/s"),
        plain("due instant to confirmed place, p50", herd.joined_ms.p50, "ms"),
        plain("due instant to confirmed place, p99", herd.joined_ms.p99, "ms"),
        plain("due instant to confirmed place, p99.9", herd.joined_ms.p999, "ms"),
        plain("place measured to heard, p50", herd.lag_ms.p50, "ms"),
        most("place measured to heard, p99", herd.lag_ms.p99, "ms", 1000.0),
        most("turn given to heard, p99", herd.turn_lag_ms.p99, "ms", 250.0),
        plain("placed later than announced, p99", herd.late_ms.p99, "ms"),
    ];
    let on_cadence = seen.off_cadence.map_or(0.0, |off| share(seen.cadence_compared, off));
    rows.push(least("waiters always placed on their cadence", on_cadence, "%", 100.0));
    rows.extend(memory(scale, empty, readings));
    let cpu = readings.cpu_us_per_push(scale.lasts().saturating_sub(scale.stay) + Duration::from_secs(15));
    rows.push(plain("edge CPU per push, ticks and all", cpu, "us"));
    let reader = herd.cpu_us_per_message.unwrap_or(f64::INFINITY);
    rows.push(most("crowd CPU per message", reader, "us", 3.0));
    rows.push(plain("bytes per push", herd.bytes_per_message, "B"));
    rows.extend([
        most("places lost", seen.lost_places as f64, "", 0.0),
        most("overtaken", seen.order_inversions as f64, "", 0.0),
        least("visitors whose order was compared", seen.order_compared as f64, "", scale.most_held() * 0.5),
        most("windows over the limit", seen.over_limit_windows.map_or(f64::INFINITY, |n| n as f64), "", 0.0),
        most("positions wrong", seen.positions_wrong as f64, "", 0.0),
        most("positions that grew", seen.position_grew as f64, "", 0.0),
        least("positions compared", seen.positions_compared as f64, "", scale.most_held()),
        most("past the gate", seen.forwarded_ungated as f64, "", 0.0),
    ]);
    rows
}

fn share(all: u64, without: u64) -> f64 {
    if all == 0 { 0.0 } else { (all - without.min(all)) as f64 * 100.0 / all as f64 }
}

/// Per waiter at every plateau, and from the first to the last: the part that grows with them.
fn memory(scale: &Scale, empty: &watch::Reading, readings: &Readings) -> Vec<Row> {
    const GOAL_KIB: f64 = 4.0;
    let plateaus: Vec<_> = scale.plateaus().into_iter().filter_map(|at| readings.last_before(at)).collect();
    let row = |name: String, yardstick, kib| {
        Row::new(name, yardstick, kib, "KiB").with_goal(Goal::AtMost(GOAL_KIB))
    };
    let mut rows: Vec<Row> = plateaus
        .iter()
        .zip(scale.held)
        .map(|(at, held)| row(format!("edge memory per waiter at {held}"), None, empty.kib_per_socket(at)))
        .collect();
    if let (Some(first), Some(last)) = (plateaus.first(), plateaus.last()) {
        let at_first = empty.kib_per_socket(first);
        rows.push(row(
            "edge memory for each waiter more, to the last".into(),
            Some(at_first),
            first.kib_per_socket(last),
        ));
    }
    rows
}
