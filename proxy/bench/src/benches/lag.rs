//! From a slot that becomes free to the bytes of "your turn" at the next visitor in line.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use edge_bench::bench::{Bench, BenchError, Context, Report};
use edge_bench::contest::{LOAD_CORE, SERVER_CORE};
use edge_bench::edge::{Edge, EdgePlan, ROOM};
use edge_bench::latency::Latencies;
use edge_bench::origin::Origin;
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};
use edge_bench::ticket::tickets;
use edge_bench::usage::pin_thread;
use edge_bench::waiters::Waiters;

pub(crate) const BENCH: Bench =
    Bench { name: "lag", about: "from a free slot to \"your turn\" at the next in line", run };

const SLOTS: usize = 20;
/// How often one of those who have a turn gives it back. Not a multiple of the ticks, so that slots come free at any
/// moment between two of them.
const FREE_EVERY: Duration = Duration::from_millis(23);
/// Until the line has settled and the first turns are given.
const SETTLE: Duration = Duration::from_secs(4);
const SHORTEST: Duration = Duration::from_secs(6);
const GOAL_P99_MS: f64 = 250.0;

fn run(context: &Context) -> Result<Report, BenchError> {
    let origin = Origin::start(LOAD_CORE)?;
    let redis = Redis::start(context, Some(LOAD_CORE))?;
    pin_thread(LOAD_CORE)?;
    let plan = EdgePlan::before(origin.address).on_core(SERVER_CORE).with("total_active_users", SLOTS);
    let plan = plan
        .with("new_users_per_minute", 600_000)
        .with("claim_window", "\"10m\"")
        .with("settle_window", "\"1s\"");
    let length = SHORTEST.max(context.length.turn * context.length.turns);
    let mut rows = Vec::new();
    for (store, plan) in [("store in memory", plan.clone()), ("Redis", plan.with_redis(redis.url()))] {
        for waiting in [1_000, 5_000] {
            redis.ask("FLUSHALL")?;
            let edge = plan.start(context, "edge-lag")?;
            let mut lags = Line::form(&edge, waiting)?.give_back(length)?;
            let name = |percent| format!("p{percent} from free to told, {waiting} waiting, {store}");
            rows.push(Row::new(name(50), None, lags.ms(50.0), "ms"));
            rows.push(Row::new(name(99), None, lags.ms(99.0), "ms").with_goal(Goal::AtMost(GOAL_P99_MS)));
            context.say(format_args!("{waiting} waiting, {store}: {} turns", lags.len()));
        }
    }
    Ok(Report::from(rows))
}

/// A line of waiters, and the connection on which turns are given back.
struct Line {
    waiters: Waiters,
    tickets: Vec<String>,
    control: TcpStream,
    /// Who has a turn, the first told first.
    turns: VecDeque<usize>,
}

impl Line {
    fn form(edge: &Edge, waiting: u64) -> Result<Self, BenchError> {
        let (tickets, mut turns) = (tickets(0..waiting)?, VecDeque::new());
        let mut waiters = Waiters::new(edge.site)?;
        let mut heard = |number, text: &[u8]| {
            if is_turn(text) {
                turns.push_back(number);
            }
        };
        waiters.come(&tickets, &mut heard)?;
        waiters.listen(SETTLE, &mut heard)?;
        let control = TcpStream::connect(edge.site)?;
        control.set_nonblocking(true)?;
        if turns.len() != SLOTS {
            return Err(BenchError::Invariant(format!("{} turns were given for {SLOTS} slots", turns.len())));
        }
        Ok(Self { waiters, tickets, control, turns })
    }

    /// Slots come free one by one; the n-th that came free is the n-th that was given again.
    fn give_back(mut self, length: Duration) -> Result<Latencies, BenchError> {
        let (mut lags, mut free, end) = (Latencies::default(), VecDeque::new(), Instant::now() + length);
        while Instant::now() < end {
            if let Some(number) = self.turns.pop_front() {
                free.push_back(Instant::now());
                self.leave(number)?;
            }
            let turns = &mut self.turns;
            self.waiters.listen(FREE_EVERY, &mut |number, text| {
                if is_turn(text) {
                    turns.push_back(number);
                    if let Some(since) = free.pop_front() {
                        lags.note(since.elapsed());
                    }
                }
            })?;
        }
        if lags.is_empty() { Err(BenchError::Broken("no slot was given again".into())) } else { Ok(lags) }
    }

    fn leave(&mut self, number: usize) -> Result<(), BenchError> {
        let ticket = self.tickets.get(number).map_or("", String::as_str);
        let request = format!(
            "POST /_queue/leave?room={ROOM} HTTP/1.1\r\nHost: tickets.example.com\r\nContent-Length: 0\r\n\
             Cookie: vestibule_ticket_{ROOM}={ticket}\r\n\r\n"
        );
        self.control.write_all(request.as_bytes())?;
        // Answers to those before; what they say shows in the turns.
        let mut answers = [0; 4096];
        match self.control.read(&mut answers) {
            Ok(0) => Err(BenchError::Broken("the edge closed the connection of those who leave".into())),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_turn(text: &[u8]) -> bool {
    const TURN: &[u8] = b"\"queue.turn\"";
    text.windows(TURN.len()).any(|bytes| bytes == TURN)
}
