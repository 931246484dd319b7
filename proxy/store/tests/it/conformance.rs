//! The store in Redis does the same as the queue in memory, step by step.

use std::sync::Arc;

use proptest::test_runner::{Config, TestRunner};
use room::queue::{Caller, Head, Leave, Report, Witness};
use room::rules::{Draft, Rules};
use store::Store;
use store::memory::Memory;
use store::redis::Redis;

use crate::support::backup::Backup;
use crate::support::history::histories;
use crate::support::play::{Stage, play};
use crate::support::servers::RedisServer;
use crate::support::world::{TestClock, call, caller, connect, edge, new_room, single, waiter};

/// Plays random histories on a store and on one in memory. `PROPTEST_CASES` asks for more of them.
pub(crate) fn conforms(
    runtime: &tokio::runtime::Runtime,
    clock: &TestClock,
    redis: &Redis,
    cases: u32,
    length: usize,
) {
    let memory = Memory::with_clock(clock.as_clock());
    let stage = Stage { clock, memory: &memory, redis, backup: None };
    conforms_on(runtime, &stage, cases, length);
}

fn conforms_on(runtime: &tokio::runtime::Runtime, stage: &Stage<'_>, cases: u32, length: usize) {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config { cases: asked.unwrap_or(cases), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&histories(length), |history| {
            let clock_before = stage.clock.now();
            let outcome = runtime.block_on(play(&new_room(), &history, stage));
            stage.clock.step(clock_before.0.cast_signed() - stage.clock.now().0.cast_signed());
            outcome
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_single_server_does_the_same_as_memory_in_any_history() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clock = TestClock::default();
    let redis = runtime.block_on(connect(single(server.url()), &clock));
    let memory = Memory::with_clock(clock.as_clock());
    let backup = Backup::of(&server);
    let stage = Stage { clock: &clock, memory: &memory, redis: &redis, backup: Some(&backup) };
    conforms_on(&runtime, &stage, 128, 60);
}

#[tokio::test]
async fn a_long_line_is_measured_and_served_alike() {
    let server = RedisServer::start();
    let clock = TestClock::default();
    let redis = connect(single(server.url()), &clock).await;
    let memory = Memory::with_clock(clock.as_clock());
    let room = new_room();
    let rules =
        Rules::new(Draft { new_users_per_minute: 180_000, total_active_users: 100_000, ..Draft::default() })
            .unwrap();
    let (present, silent) = (caller(0, None), caller(1, None));
    let crowd: Vec<_> = (0..4321).map(waiter).collect();
    let (front, back) = crowd.split_at(900);
    let presented = back.chunks(900).map(|arrivals| (present, arrivals));
    for (caller, arrivals) in std::iter::once((silent, front)).chain(presented) {
        let call = call(&room, &rules, caller);
        assert_eq!(redis.arrive(call, arrivals).await.unwrap(), memory.arrive(call, arrivals).await.unwrap());
    }
    // The room gives no turns until one of the edges has been silent for long.
    for tick in 0..45 {
        let holding = Caller { hold: tick < 30, ..edge(0, None) };
        let call = call(&room, &rules, &holding);
        let (left, right) = (redis.admit(call).await.unwrap(), memory.admit(call).await.unwrap());
        assert_eq!(left, right);
        assert_eq!(left.ruler.is_some(), left.counts.waiting > 0 && tick % 3 == 0);
        clock.step(400_000);
    }
    let survey = redis.survey(call(&room, &rules, present), false).await.unwrap();
    assert_eq!((survey.counts.set_aside, survey.counts.waiting), (900, 0));
}

/// Longer than what one tick moves, and with turns while some are still to be moved.
#[tokio::test]
async fn thousands_of_places_behind_the_front_of_the_life_before_are_returns_at_once_and_served_alike() {
    let server = RedisServer::start();
    let clock = TestClock::default();
    let redis = connect(single(server.url()), &clock).await;
    let memory = Memory::with_clock(clock.as_clock());
    let room = new_room();
    let rules =
        Rules::new(Draft { new_users_per_minute: 30_000, total_active_users: 100_000, ..Draft::default() })
            .unwrap();
    let crowd: Vec<_> = (0..4000).map(waiter).collect();
    for arrivals in crowd.chunks(500) {
        let call = call(&room, &rules, caller(0, None));
        assert_eq!(redis.arrive(call, arrivals).await.unwrap(), memory.arrive(call, arrivals).await.unwrap());
    }
    let before = redis.survey(call(&room, &rules, caller(0, None)), false).await.unwrap();
    let head = Head { step: before.head.step + 9, front: crowd[2999].score, ..before.head };
    let witness = Witness { head, nodes: before.nodes.clone(), control: before.control.clone() };
    let knowing = caller(0, Some(Arc::new(witness)));
    let survey = redis.survey(call(&room, &rules, knowing), false).await.unwrap();
    assert_eq!(survey, memory.survey(call(&room, &rules, knowing), false).await.unwrap());
    assert_eq!((survey.counts.waiting, survey.counts.returning), (1000, 3000));

    let all_told = Report { items: Vec::new(), complete: Some(survey.head.incarnation) };
    let call = call(&room, &rules, caller(0, None));
    assert_eq!(redis.restore(call, &all_told).await.unwrap(), memory.restore(call, &all_told).await.unwrap());
    for tick in 0..20 {
        clock.step(300_000);
        let (left, right) = (redis.admit(call).await.unwrap(), memory.admit(call).await.unwrap());
        assert_eq!(left, right);
        // Some of those behind come again, at another edge, some leave.
        let again = &crowd[tick * 190..][..190];
        let call = store::Call { caller: caller(1, None), ..call };
        assert_eq!(redis.arrive(call, again).await.unwrap(), memory.arrive(call, again).await.unwrap());
        let gone = again.iter().step_by(7).map(|arrival| Leave::Ended(arrival.visitor, None));
        let gone: Vec<_> = gone.chain([Leave::Absent(again[1].visitor)]).collect();
        assert_eq!(redis.leave(call, &gone).await.unwrap(), memory.leave(call, &gone).await.unwrap());
        let survey = redis.survey(call, true).await.unwrap();
        assert_eq!(survey, memory.survey(call, true).await.unwrap());
    }
    let survey = redis.survey(call, false).await.unwrap();
    assert!(survey.counts.admitted > 1000, "turns were given meanwhile: {survey:?}");
}
