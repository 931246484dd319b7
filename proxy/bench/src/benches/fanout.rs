//! Pushes to all who wait: what the hub takes to place them, and what a push costs beside a bare `send`.

mod readers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::contest::{LOAD_CORE, SERVER_CORE};
use edge_bench::process::{Launch, Process, free_address};
use edge_bench::row::{Goal, Row};
use edge_bench::turns::{in_turns, median};
use edge_bench::usage::{cpu_time, pin_thread, resident_bytes};
use edge_bench::waiting::Waiting;
use rustix::process::{Pid, Signal, kill_process};
use vestibule::hub::Hub;
use vestibule::mailbox::Mailbox;

use self::readers::Readers;

pub(crate) const BENCH: Bench = Bench {
    name: "fanout",
    about: "pushes to all who wait, beside a bare send loop over as many sockets",
    run,
};

const SOCKETS: u64 = 8_000;
const SOCKETS_QUICK: u64 = 2_000;
/// Between two rounds of pushes to everybody.
const ROUND: Duration = Duration::from_millis(100);
/// The ruler comes this often; so many of them are heard.
const TICK: Duration = Duration::from_secs(1);
const TICKS: usize = 120;
const GOAL_TICK_MS: f64 = 5.0;
const GOAL_WAITER_KIB: f64 = 4.0;

fn run(context: &Context) -> Result<Report, BenchError> {
    let mut rows = Vec::new();
    for people in [10_000, 100_000, 1_000_000] {
        if people <= 100_000 || !context.length.is_quick() {
            rows.extend(place(context, people)?);
        }
    }
    rows.extend(push(context)?);
    Ok(Report::from(rows))
}

/// Ticks of a hub whose waiters have mailboxes that keep what they are sent.
fn place(context: &Context, people: u64) -> Result<Vec<Row>, BenchError> {
    let (mut waiting, hub) = (Waiting::of(people)?, Hub::of_parts(1));
    let before = resident_bytes(std::process::id());
    let mut mailboxes = Vec::new();
    for place in 0..people {
        let mailbox = Arc::new(Mailbox::default());
        hub.attach(waiting.keep(&hub, place), &mailbox, waiting.view());
        mailboxes.push(mailbox);
    }
    let bytes = resident_bytes(std::process::id()).saturating_sub(before);
    // The first minute brings everybody into step.
    let mut ticks: Vec<f64> = (0..TICKS).map(|_| timed(|| waiting.measure_after(TICK, &hub))).collect();
    let mut usual = ticks.split_off(TICKS / 2);
    usual.sort_by(f64::total_cmp);
    let idle = timed(|| waiting.measure_after(Duration::ZERO, &hub));
    told(&mailboxes);
    waiting.measure_after(TICK, &hub);
    let due = told(&mailboxes);
    waiting.measure_after(61 * TICK, &hub);
    let all = timed(|| waiting.measure_after(61 * TICK, &hub));
    let mean = usual.iter().sum::<f64>() / usual.len() as f64;
    let ns_each = |ms: f64, of: u64| ms * 1e6 / of.max(1) as f64;
    context.say(format_args!("{people} placed: {mean:.2} ms a tick for {due} due, all at once {all:.1} ms"));
    let row =
        |name: &str, ours: f64, unit: &str| Row::new(format!("{people} waiting: {name}"), None, ours, unit);
    let tick = row("a tick on their cadence, mean", mean, "ms");
    Ok(vec![
        if people == 100_000 { tick.with_goal(Goal::AtMost(GOAL_TICK_MS)) } else { tick },
        row("due in a tick", due as f64, "waiters"),
        row("a tick for each who is due", ns_each(mean, due), "ns"),
        row("a tick for each who is not", ns_each(idle, people), "ns"),
        row("the slowest tick", usual.last().copied().unwrap_or_default(), "ms"),
        row("a tick with nobody due", idle, "ms"),
        row("a tick with everybody due", all, "ms"),
        row("entry and mailbox with an update kept", bytes as f64 / people as f64 / 1024.0, "KiB"),
    ])
}

/// How many were told something since the last look.
fn told(mailboxes: &[Arc<Mailbox>]) -> u64 {
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    let has_mail = |mailbox: &&Arc<Mailbox>| mailbox.poll_mail(&cx).is_ready();
    mailboxes.iter().filter(has_mail).count() as u64
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e3
}

/// One that pushes, and those who read.
struct Contestant {
    process: Process,
    readers: Readers,
    kib_each: f64,
}

fn push(context: &Context) -> Result<Vec<Row>, BenchError> {
    let people = if context.length.is_quick() { SOCKETS_QUICK } else { SOCKETS };
    pin_thread(LOAD_CORE)?;
    let mut contestants =
        [Contestant::start(context, "send", people)?, Contestant::start(context, "hub", people)?];
    for contestant in &contestants {
        contestant.signal(Signal::STOP)?;
    }
    let scores = in_turns(context.length.turns, &mut contestants, |contestant| contestant.turn(context))?;
    let cost = |at: usize| median(scores.get(at).into_iter().flatten().copied()).unwrap_or_default();
    let (send, hub) = (cost(0), cost(1));
    context.say(format_args!("{people} sockets: send {send:.2} µs, hub {hub:.2} µs of CPU a push"));
    let kib = contestants.get(1).map_or(0.0, |contestant| contestant.kib_each);
    Ok(vec![
        Row::new(format!("{people} sockets: CPU a push"), Some(send), hub, "µs")
            .with_goal(Goal::RatioAtMost(2.0)),
        Row::new(format!("{people} sockets: process memory a waiter"), None, kib, "KiB")
            .with_goal(Goal::AtMost(GOAL_WAITER_KIB)),
    ])
}

impl Contestant {
    fn start(context: &Context, mode: &str, people: u64) -> Result<Self, BenchError> {
        let address = free_address()?;
        let args = [mode.to_owned(), address.to_string(), people.to_string(), ROUND.as_millis().to_string()];
        let mut process = Launch::on_core(SERVER_CORE, context.program("pusher")?)
            .args(args)
            .log(context.log(&format!("pusher-{mode}"))?)
            .start()?;
        let first = process.await_ready(|| Readers::connect(address, 1, mode == "hub").ok())?;
        let before = resident_bytes(process.pid());
        let rest = Readers::connect(address, people - 1, mode == "hub")?;
        let readers = first.and(rest);
        readers.await_frames(people, Duration::from_secs(30))?;
        let bytes = resident_bytes(process.pid()).saturating_sub(before);
        Ok(Self { process, readers, kib_each: bytes as f64 / 1024.0 / (people - 1) as f64 })
    }

    /// Microseconds of CPU a push.
    fn turn(&mut self, context: &Context) -> Result<f64, BenchError> {
        self.signal(Signal::CONT)?;
        std::thread::sleep(ROUND * 2);
        let (cpu, frames) = (cpu_time(self.process.pid()), self.readers.frames());
        std::thread::sleep(context.length.turn * 2);
        let (cpu_after, frames_after) = (cpu_time(self.process.pid()), self.readers.frames());
        self.signal(Signal::STOP)?;
        let pushes = frames_after - frames;
        if pushes == 0 {
            return Err(BenchError::Broken("nothing was pushed".into()));
        }
        Ok(cpu_after.saturating_sub(cpu).as_secs_f64() * 1e6 / pushes as f64)
    }

    fn signal(&self, signal: Signal) -> Result<(), BenchError> {
        let pid = i32::try_from(self.process.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| BenchError::Broken("a process without a number".into()))?;
        kill_process(pid, signal).map_err(|error| BenchError::Io(error.into()))
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // One that stands still would not hear that it is to end.
        let _running = self.signal(Signal::CONT);
    }
}
