//! Joins through the store layer as an edge makes them: callers one by one, batches under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_bench::bench::BenchError;
use edge_bench::latency::Latencies;
use edge_bench::usage::cpu_time;
use room::queue::{Arrival, Arrived, Caller};
use room::rules::Rules;
use store::batch::Batch;
use store::{Call, Store as _, StoreError};
use tokio::task::JoinSet;

use crate::benches::crowded::{Crowded, Server, failed, person, wide};

/// Visitors who come at the same time, each again as soon as it has its answer.
const AT_ONCE: u64 = 4000;
/// How finely arrivals are spread.
const STEP: Duration = Duration::from_millis(1);

/// What the layer did in a while.
pub(super) struct Busy {
    pub(super) per_second: f64,
    /// Microseconds of the Redis process, and of this one with its callers, for each join.
    pub(super) redis_micros: f64,
    pub(super) client_micros: f64,
}

/// As many joins as go through.
pub(super) fn saturate(server: &Server, room: &str, length: Duration) -> Result<Busy, BenchError> {
    let joins = joins(server, room)?;
    let (began, own) = (Instant::now(), cpu_time(std::process::id()));
    let (count, cost) = server.costs(|| server.runtime.block_on(run(&joins, length)))?;
    let (seconds, own) = (began.elapsed().as_secs_f64(), cpu_time(std::process::id()).saturating_sub(own));
    let each = |micros: f64| micros / count.max(1) as f64;
    Ok(Busy {
        per_second: count as f64 / seconds,
        redis_micros: each(cost.micros),
        client_micros: each(own.as_secs_f64() * 1e6),
    })
}

async fn run(joins: &Batch<Arrival, Arrived>, length: Duration) -> Result<u64, BenchError> {
    let (next, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (joins, next, over) = (joins.clone(), Arc::clone(&next), Arc::clone(&over));
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                joins.call(person(next.fetch_add(1, Ordering::Relaxed))).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    tokio::time::sleep(length).await;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.map_err(failed)?.map_err(failed)?;
    }
    Ok(next.load(Ordering::Relaxed))
}

/// From the moment each was to come, at a set rate, whatever the layer does.
pub(super) fn paced(
    server: &Server,
    room: &str,
    per_second: u64,
    length: Duration,
) -> Result<Latencies, BenchError> {
    let joins = joins(server, room)?;
    server.runtime.block_on(async {
        let began = tokio::time::Instant::now();
        let due = |number: u64| began + Duration::from_nanos(number * 1_000_000_000 / per_second);
        let mut callers = JoinSet::new();
        let (mut number, mut steps) = (0, tokio::time::interval(STEP));
        while began.elapsed() < length {
            steps.tick().await;
            while due(number) <= tokio::time::Instant::now() {
                let (joins, due) = (joins.clone(), due(number));
                callers.spawn(async move { joins.call(person(number)).await.map(|_| due.elapsed()) });
                number += 1;
            }
        }
        let mut latencies = Latencies::default();
        while let Some(ended) = callers.join_next().await {
            latencies.note(ended.map_err(failed)?.map_err(failed)?);
        }
        Ok(latencies)
    })
}

/// An edge's batches of arrivals in a new room.
fn joins(server: &Server, room: &str) -> Result<Batch<Arrival, Arrived>, BenchError> {
    let crowded = Crowded::open(server, room, wide())?;
    let trip =
        Arc::new(Trip { room: crowded.room.clone(), rules: crowded.rules.clone(), caller: crowded.caller() });
    let store = Arc::clone(&server.store);
    let _runtime = server.runtime.enter();
    Ok(Batch::spawn(move |items: Vec<Arrival>| {
        let (trip, store) = (Arc::clone(&trip), Arc::clone(&store));
        async move { store.arrive(trip.call(), &items).await.map(|answer| answer.value) }
    }))
}

struct Trip {
    room: room::ids::RoomName,
    rules: Rules,
    caller: Caller,
}

impl Trip {
    fn call(&self) -> Call<'_> {
        Call { room: &self.room, rules: &self.rules, caller: &self.caller, at_most: Duration::MAX }
    }
}
