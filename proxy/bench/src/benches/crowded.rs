//! One room in a private Redis, with a line of any length: for benches of the store.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_bench::bench::{BenchError, Context};
use edge_bench::contest::{LOAD_CORE, SERVER_CORE};
use edge_bench::latency::Latencies;
use edge_bench::redis::{Figures, Redis};
use edge_bench::usage::pin_thread;
use room::ids::{Incarnation, NodeId, RoomName, TicketId, VisitorId};
use room::node::Node;
use room::queue::{Arrival, Arrived, Caller, Event, Head, Leave, Renewal, Report, Session, Survey};
use room::rules::{Draft, Rules};
use room::time::Micros;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use store::memory::Clock;
use store::redis::{RedisOptions, Topology};
use store::{Answer, Call, Store, StoreError};
use tokio::runtime::Runtime;

/// What an edge sends at most in one call.
pub(super) const BATCH: usize = store::batch::MOST;
/// 2026-01-01, in microseconds.
const START: u64 = 1_767_225_600_000_000;
/// Between two people of the crowd.
const APART_MICROS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the store's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// As in earnest.
    Redis,
    /// It stands still until [`Crowded::wait`].
    Bench,
}

/// The server and a store on it, both gone when dropped. The load runs on one core, Redis on the other.
pub(super) struct Server {
    pub(super) redis: Redis,
    pub(super) store: Arc<store::redis::Redis>,
    pub(super) runtime: Runtime,
    clock: Arc<AtomicU64>,
    /// What it costs Redis to be asked for its figures, in microseconds.
    asking: f64,
    /// Where this thread may run when the bench is over.
    cores: CpuSet,
}

/// Of which the cost is the mean.
const ASKED: u32 = 50;

impl Server {
    pub(super) fn start(context: &Context, time: Time) -> Result<Self, BenchError> {
        let redis = Redis::start(context, Some(SERVER_CORE))?;
        let cores = sched_getaffinity(None).map_err(io::Error::from)?;
        pin_thread(LOAD_CORE)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let clock = Arc::new(AtomicU64::new(START));
        let mut options = RedisOptions::new(Topology::Single { url: redis.url() });
        options.timeout = PATIENCE;
        options.clock = (time == Time::Bench).then(|| {
            let clock = Arc::clone(&clock);
            Box::new(move || Micros(clock.load(Ordering::Relaxed))) as Clock
        });
        let store = Arc::new(runtime.block_on(store::redis::Redis::connect(options)).map_err(failed)?);
        let mut server = Self { redis, store, runtime, clock, asking: 0.0, cores };
        let ask = |_| server.costs(|| Ok(())).map(|((), cost)| cost.micros);
        let asked = (0..ASKED).map(ask).collect::<Result<Vec<f64>, _>>()?;
        server.asking = asked.iter().sum::<f64>() / f64::from(ASKED);
        Ok(server)
    }

    /// What `act` cost the server.
    pub(super) fn costs<T>(
        &self,
        act: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<(T, Cost), BenchError> {
        let before = self.redis.figures()?;
        let value = act()?;
        let mut cost = Cost::between(&before, &self.redis.figures()?);
        cost.micros = (cost.micros - self.asking).max(0.0);
        Ok((value, cost))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A thread that stays on one core only makes the next bench slower.
        let _unchanged = sched_setaffinity(None, &self.cores);
    }
}

/// Of the Redis process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) micros: f64,
    /// As a client sends them; what scripts do is inside.
    pub(super) calls: u64,
    pub(super) commands: u64,
}

impl Cost {
    fn between(before: &Figures, after: &Figures) -> Self {
        let scripts = |figures: &Figures| figures.calls.get("evalsha").copied().unwrap_or(0);
        Self {
            micros: after.cpu_since(before).as_secs_f64() * 1e6,
            calls: scripts(after) - scripts(before),
            commands: after.commands_since(before),
        }
    }
}

/// A room with an edge that knows it.
pub(super) struct Crowded<'a> {
    server: &'a Server,
    pub(super) room: RoomName,
    pub(super) rules: Rules,
    id: NodeId,
    node: Node,
    /// No turns.
    pub(super) hold: bool,
    /// How long calls took.
    pub(super) took: Latencies,
}

impl<'a> Crowded<'a> {
    pub(super) fn open(server: &'a Server, name: &str, draft: Draft) -> Result<Self, BenchError> {
        let broken = |what: String| BenchError::Broken(what);
        let mut crowded = Self {
            server,
            room: name.parse().map_err(|error| broken(format!("{name}: {error}")))?,
            rules: Rules::new(draft).map_err(|error| broken(error.to_string()))?,
            id: NodeId::from_random([7; 12]),
            node: Node::default(),
            hold: true,
            took: Latencies::default(),
        };
        crowded.survey()?;
        Ok(crowded)
    }

    /// Time goes by, where it is the bench's.
    pub(super) fn wait(&self, span: Duration) {
        self.server.clock.fetch_add(span.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Micros {
        Micros(self.server.clock.load(Ordering::Relaxed))
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            node: self.id,
            fresh: Incarnation::from_random([9; 12]),
            witness: self.node.witness(),
            hold: self.hold,
            alone: true,
        }
    }

    /// The people with these numbers come, so many in one call.
    pub(super) fn join(&mut self, people: std::ops::Range<u64>, batch: usize) -> Result<(), BenchError> {
        let crowd: Vec<Arrival> = people.map(person).collect();
        for arrivals in crowd.chunks(batch) {
            let answer = self.call(async |store, call| store.arrive(call, arrivals).await)?;
            if !answer.value.iter().all(|arrived| matches!(arrived, Arrived::Waiting(_))) {
                return Err(BenchError::Broken(format!("not all wait: {:?}", answer.value.first())));
            }
            self.node.answered(answer.head);
        }
        Ok(())
    }

    /// Their edge has not seen them for a while.
    pub(super) fn leave(&mut self, people: std::ops::Range<u64>) -> Result<(), BenchError> {
        let leaves: Vec<Leave> = people.map(|number| Leave::Absent(person(number).visitor)).collect();
        for leaves in leaves.chunks(BATCH) {
            let Answer { head, .. } = self.call(async |store, call| store.leave(call, leaves).await)?;
            self.node.answered(head);
        }
        Ok(())
    }

    /// Extends the sessions of these people; the room takes the passes it does not know for those of an earlier life.
    pub(super) fn renew(&mut self, people: std::ops::Range<u64>) -> Result<(), BenchError> {
        let end = self.now() + Duration::from_secs(600);
        let session = Session { ends: end, cap: end + Duration::from_secs(3600) };
        let renewal = |number| {
            let Arrival { visitor, ticket, .. } = person(number);
            Renewal { visitor, ticket, session }
        };
        let renewals: Vec<Renewal> = people.map(renewal).collect();
        for renewals in renewals.chunks(BATCH) {
            let Answer { head, .. } = self.call(async |store, call| store.renew(call, renewals).await)?;
            self.node.answered(head);
        }
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<Event, BenchError> {
        let event = self.call(async |store, call| store.admit(call).await)?;
        self.node.heard(&event);
        Ok(event)
    }

    pub(super) fn survey(&mut self) -> Result<Survey, BenchError> {
        let survey = self.call(async |store, call| store.survey(call, false).await)?;
        self.node.surveyed(&survey);
        Ok(survey)
    }

    /// This edge was told of a front further on than the store knows, as after a fail-over to an older copy.
    pub(super) fn hear_of_front(&mut self, front: u64) {
        if let Some(witness) = self.node.witness() {
            self.node.answered(Head { step: witness.head.step + 1, front, ..witness.head });
        }
    }

    /// It tells a room that settles all it knows.
    pub(super) fn report(&mut self) -> Result<(), BenchError> {
        let life = self.survey()?.head.incarnation;
        let report = Report { items: Vec::new(), complete: Some(life) };
        self.call(async |store, call| store.restore(call, &report).await).map(drop)
    }

    fn call<T>(
        &mut self,
        act: impl AsyncFnOnce(&store::redis::Redis, Call<'_>) -> Result<T, StoreError>,
    ) -> Result<T, BenchError> {
        let caller = self.caller();
        let call = Call { room: &self.room, rules: &self.rules, caller: &caller, at_most: Duration::MAX };
        let (answer, took) = self.server.runtime.block_on(async {
            let began = Instant::now();
            (act(&self.server.store, call).await, began.elapsed())
        });
        self.took.extend([took]);
        answer.map_err(failed)
    }
}

/// Somebody of the crowd, who only waits.
pub(super) fn person(number: u64) -> Arrival {
    let visitor = VisitorId::from_random(id(1, number));
    Arrival {
        visitor,
        ticket: TicketId::from_random(id(2, number)),
        score: START + number * APART_MICROS,
        confirmed_at: Micros(START),
        may_enter: false,
        may_wait: true,
        here: true,
    }
}

fn id(kind: u8, number: u64) -> [u8; 12] {
    let mut bytes = [kind; 12];
    for (byte, digit) in bytes.iter_mut().skip(4).zip(number.to_be_bytes()) {
        *byte = digit;
    }
    bytes
}

/// A room that gives turns when it is not held, and takes a crowd of any size.
pub(super) fn wide() -> Draft {
    Draft {
        new_users_per_minute: 60_000,
        total_active_users: 20_000_000,
        max_waiting: 20_000_000,
        ..Draft::default()
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Broken(format!("the store: {error}"))
}
