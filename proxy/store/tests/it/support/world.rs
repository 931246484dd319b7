//! Rooms, visitors and calls of the tests, and a clock that they set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use room::ids::{Incarnation, NodeId, RoomName, TicketId, VisitorId};
use room::queue::{Arrival, Caller, Witness};
use room::rules::Rules;
use room::time::Micros;
use store::Call;
use store::memory::Clock;
use store::redis::{Redis, RedisOptions, Topology};

/// 2026-01-01.
pub(crate) const START: Micros = Micros(1_767_225_600_000_000);

/// Time that only moves when told to; the same for all stores that share it.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(START.0)))
    }
}

impl TestClock {
    pub(crate) fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn step(&self, micros: i64) {
        let next = self.now().0.checked_add_signed(micros).expect("time stays positive");
        self.0.store(next, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.step(i64::try_from(span.as_micros()).expect("a short span"));
    }

    pub(crate) fn as_clock(&self) -> Clock {
        let clock = self.clone();
        Box::new(move || clock.now())
    }
}

pub(crate) fn visitor(number: u32) -> VisitorId {
    VisitorId::from_random(bytes(1, number))
}

pub(crate) fn ticket(number: u32) -> TicketId {
    TicketId::from_random(bytes(2, number))
}

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::from_random(bytes(3, number))
}

pub(crate) fn incarnation(number: u32) -> Incarnation {
    Incarnation::from_random(bytes(4, number))
}

fn bytes(kind: u8, number: u32) -> [u8; 12] {
    let mut bytes = [kind; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A room that no other test of this process uses.
pub(crate) fn new_room() -> RoomName {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("r{number}").parse().expect("a room name")
}

/// An edge with what it knows. It lives as long as the process, so that a call with it can be kept in a variable.
pub(crate) fn caller(number: u32, witness: Option<Arc<Witness>>) -> &'static Caller {
    Box::leak(Box::new(edge(number, witness)))
}

/// An edge with what it knows, for whom the store is the only one's: a new life gives turns at once.
pub(crate) fn edge(number: u32, witness: Option<Arc<Witness>>) -> Caller {
    Caller { node: node(number), fresh: incarnation(number), witness, hold: false, alone: true }
}

pub(crate) fn call<'a>(room: &'a RoomName, rules: &'a Rules, caller: &'a Caller) -> Call<'a> {
    Call { room, rules, caller, at_most: Duration::MAX }
}

/// Somebody who came at the n-th microsecond and only waits.
pub(crate) fn waiter(number: u32) -> Arrival {
    Arrival {
        visitor: visitor(number),
        ticket: ticket(number),
        score: START.0 + u64::from(number),
        confirmed_at: START,
        may_enter: false,
        may_wait: true,
        here: true,
    }
}

pub(crate) fn single(url: String) -> RedisOptions {
    RedisOptions::new(Topology::Single { url })
}

/// A store on the test's clock, with time enough for a busy machine.
pub(crate) async fn connect(mut options: RedisOptions, clock: &TestClock) -> Redis {
    options.clock = Some(clock.as_clock());
    options.timeout = Duration::from_secs(5);
    Redis::connect(options).await.expect("a store")
}

/// Asks again until there is an answer; panics when there is none within `limit`.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
