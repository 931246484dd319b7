//! What goes wrong between an edge and its store.

use std::time::{Duration, Instant};

use room::queue::{Arrived, Change, Claim, Claimed, Leave, Renewal, Renewed};
use room::rules::Rules;
use store::redis::{Redis, RedisOptions, Topology};
use store::{Store, StoreError, TuneError};

use crate::support::edge::survey;
use crate::support::servers::{RedisServer, free_port};
use crate::support::world::{
    TestClock, call, caller, connect, eventually, new_room, single, visitor, waiter,
};

/// The deadline of a call in these tests, and what a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(750);
const RECOVERY: Duration = Duration::from_secs(10);

/// A store with the deadline of production.
async fn impatient(server: &RedisServer, clock: &TestClock) -> Redis {
    let mut options = single(server.url());
    options.clock = Some(clock.as_clock());
    Redis::connect(options).await.unwrap()
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named_with_its_address() {
    let port = free_port();
    let error = Redis::connect(single(format!("redis://:hush@127.0.0.1:{port}"))).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unreachable { address, .. } if *address == format!("127.0.0.1:{port}")),
        "{error:?}"
    );
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn a_fleet_that_is_not_there_is_named_with_its_addresses() {
    let urls: Vec<String> = [free_port(), free_port()].map(|port| format!("redis://127.0.0.1:{port}")).into();
    let sentinel = Topology::Sentinel { urls: urls.clone(), master: "queue".into() };
    for topology in [sentinel, Topology::Cluster { urls: urls.clone() }] {
        let shown = format!("{topology:?}");
        let began = Instant::now();
        let error = Redis::connect(RedisOptions::new(topology)).await.unwrap_err();
        assert!(began.elapsed() < RECOVERY, "{shown} took {:?}", began.elapsed());
        let StoreError::Unreachable { address, .. } = &error else {
            panic!("{shown}: {error:?}");
        };
        assert!(urls.iter().all(|url| address.contains(&url["redis://".len()..])), "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_for_who_wants_it() {
    let server = RedisServer::start_with(free_port(), &[]);
    let url = server.tcp_url().replace("redis://", "rediss://");
    let error = Redis::connect(single(url)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_password_opens_the_store_and_is_never_shown() {
    let server = RedisServer::start_with(0, &["--requirepass", "hush-hush", "--masteruser", "default"]);
    let mut options = single(server.url());
    options.password = Some("wrong-hush".into());
    assert!(!format!("{options:?}").contains("hush"), "{options:?}");
    let error = Redis::connect(options).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(!error.to_string().contains("hush"), "{error}");
    let mut options = single(server.url());
    options.password = Some("hush-hush".into());
    let store = Redis::connect(options).await.unwrap();
    assert!(!format!("{store:?}").contains("hush"));
}

#[tokio::test]
async fn a_store_that_evicts_is_refused_with_the_cure() {
    let server = RedisServer::start_with(0, &["--maxmemory-policy", "allkeys-lru"]);
    let error = Redis::connect(single(server.url())).await.unwrap_err();
    assert!(error.to_string().contains("set it to noeviction"), "{error}");
}

#[tokio::test]
async fn a_key_prefix_with_braces_is_refused() {
    let mut options = single("redis://127.0.0.1:1".into());
    options.key_prefix = "{all}".into();
    let error = Redis::connect(options).await.unwrap_err();
    assert!(error.to_string().contains("without braces"), "{error}");
}

#[tokio::test]
async fn calls_to_a_killed_store_fail_in_time_and_work_again_after_its_restart() {
    let (mut server, clock) = (RedisServer::start(), TestClock::default());
    let store = impatient(&server, &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let mut events = store.listen(&room);
    store.arrive(call, &[waiter(1)]).await.unwrap();
    server.kill();
    for _ in 0..5 {
        let began = Instant::now();
        let error = survey(&store, call).await.unwrap_err();
        assert!(error.is_outage(), "{error}");
        assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    }
    server.restart();
    eventually("a call works", RECOVERY, async || survey(&store, call).await.ok()).await;
    // The listening connection comes back too.
    eventually("an event is heard", RECOVERY, async || {
        store.admit(call).await.ok()?;
        events.try_recv().ok()
    })
    .await;
}

#[tokio::test]
async fn a_frozen_store_costs_a_caller_no_more_than_the_deadline() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = impatient(&server, &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    survey(&store, call).await.unwrap();
    server.freeze();
    for _ in 0..3 {
        let began = Instant::now();
        let error = survey(&store, call).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut(_)), "{error}");
        assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    }
    server.thaw();
    eventually("a call works", RECOVERY, async || survey(&store, call).await.ok()).await;
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_gets_them_again() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    store.arrive(call, &[waiter(1)]).await.unwrap();
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.arrive(call, &[waiter(2)]).await.unwrap().waiting, 2);
}

#[tokio::test]
async fn a_full_store_takes_nobody_but_drains() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    store.arrive(call, &[waiter(1), waiter(2), waiter(3)]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);

    assert!(matches!(store.arrive(call, &[waiter(4)]).await, Err(StoreError::Full)));
    let change = Change { new_users_per_minute: Some(5), ..Change::default() };
    let refused = store.tune(call, &change).await;
    assert!(matches!(refused, Err(TuneError::Store(StoreError::Full))), "{refused:?}");

    let turns = store.admit(call).await.unwrap().turns;
    assert_eq!(turns.len(), 3);
    let claim = Claim { visitor: visitor(1), ticket: waiter(1).ticket };
    let claimed = store.claim(call, &[claim]).await.unwrap().value;
    let [Claimed::Session(session)] = claimed[..] else {
        panic!("{claimed:?}");
    };
    let renewal = Renewal { visitor: visitor(1), ticket: waiter(1).ticket, session };
    let renewed = store.renew(call, &[renewal]).await.unwrap().value;
    assert!(matches!(renewed[..], [Renewed::Session(_)]), "{renewed:?}");
    store.leave(call, &[Leave::Ended(visitor(1), None), Leave::Ended(visitor(2), None)]).await.unwrap();
    assert_eq!(survey(&store, call).await.unwrap().counts.abandoned, 1);

    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let back = store.arrive(call, &[waiter(4)]).await.unwrap().value;
    assert!(matches!(back[..], [Arrived::Waiting(_)]), "{back:?}");
}

#[tokio::test]
async fn calls_that_take_no_place_leave_nothing_behind() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    survey(&store, call).await.unwrap();
    let keys =
        || server.cli(&["KEYS", "*"]).lines().map(String::from).collect::<std::collections::BTreeSet<_>>();
    let fields = || server.cli(&["HLEN", &format!("vestibule:{{{room}}}:state")]);
    let before = (keys(), fields());
    let strangers: Vec<_> =
        (0..5000).map(|number| room::queue::Arrival { may_wait: false, ..waiter(number) }).collect();
    let answers = store.arrive(call, &strangers).await.unwrap().value;
    assert!(answers.iter().all(|answer| *answer == Arrived::Busy));
    let absent: Vec<_> = (0..5000).map(|number| Leave::Absent(visitor(number))).collect();
    store.leave(call, &absent).await.unwrap();
    assert_eq!((keys(), fields()), before);
}
