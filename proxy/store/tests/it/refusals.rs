//! What a server says when it cannot do its work: told as what it is, in time, and over as soon as the server is well.

use std::time::Duration;

use room::rules::Rules;
use store::{Store, StoreError};

use crate::support::edge::{Edge, HEALED, heals, opens, production};
use crate::support::servers::{RedisServer, free_port, until};
use crate::support::world::{call, caller, eventually, new_room, single, waiter};

const SOON: Duration = Duration::from_secs(10);

/// Asks until the breaker opens; every error has to be of an outage that `word` tells.
async fn is_away(edge: &Edge, fault: &str, word: &str) {
    let first = edge.ask().await;
    println!("{fault}: noticed after {:?} as {}", first.took, first.kind);
    let error = first.error.unwrap_or_else(|| panic!("{fault} goes unnoticed"));
    assert!(matches!(error, StoreError::Unreachable { .. }), "{fault}: {error:?}");
    assert!(error.to_string().contains(word), "{fault}: {error}");
    let error = edge.opens(fault).await;
    assert!(error.to_string().contains(word), "{fault}: {error}");
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_away_until_it_is_one_again() {
    let edge = Edge::start().await;
    edge.server.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    is_away(&edge, "READONLY", "READONLY").await;
    edge.server.cli(&["REPLICAOF", "NO", "ONE"]);
    edge.heals("READONLY").await;
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_away_for_readers_too() {
    let edge = Edge::start().await;
    edge.server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    edge.server.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let error = edge.store.missed(&edge.room, 0).await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("MASTERDOWN"), "{error}");
    edge.server.cli(&["REPLICAOF", "NO", "ONE"]);
    edge.heals("MASTERDOWN").await;
}

#[tokio::test]
async fn a_primary_without_the_replicas_it_needs_is_away() {
    let edge = Edge::start().await;
    edge.server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    is_away(&edge, "NOREPLICAS", "NOREPLICAS").await;
    edge.server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    edge.heals("NOREPLICAS").await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_away_until_it_has() {
    let edge = Edge::start_with(&["--enable-debug-command", "local"]).await;
    edge.server.cli(&["DEBUG", "POPULATE", "3000"]);
    edge.heals("before").await;
    // 1 ms a key, and a look at its clients in between.
    edge.server.cli(&["CONFIG", "SET", "key-load-delay", "1000"]);
    edge.server.cli(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
    let reload = edge.order(&["DEBUG", "RELOAD"]);
    until("it loads", SOON, || edge.server.cli(&["PING"]).contains("LOADING"));
    is_away(&edge, "LOADING", "LOADING").await;
    assert!(reload.wait_with_output().unwrap().status.success());
    edge.heals("LOADING").await;
}

#[tokio::test]
async fn a_server_busy_with_a_script_is_away_until_that_is_killed() {
    let edge = Edge::start_with(&["--busy-reply-threshold", "1500"]).await;
    let endless = edge.order(&["EVAL", "while true do end", "0"]);
    // First it says nothing at all, then that it is busy.
    let mut kinds = Vec::new();
    eventually("it says that it is busy", SOON, async || {
        let asked = edge.ask().await;
        let Some(error) = asked.error else {
            assert!(kinds.is_empty(), "it works in between: {kinds:?}");
            return None;
        };
        assert!(error.is_outage(), "{error:?}");
        kinds.push(asked.kind);
        error.to_string().contains("BUSY").then_some(())
    })
    .await;
    println!("a busy script: told as {}, then BUSY", kinds[0]);
    assert_eq!(kinds[0], "timeout");
    assert_eq!(edge.server.cli(&["SCRIPT", "KILL"]), "OK");
    edge.heals("a busy script").await;
    endless.wait_with_output().unwrap();
}

#[tokio::test]
async fn a_server_that_answers_is_never_left_alone_whatever_it_says() {
    let edge = Edge::start().await;
    edge.server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let full = async || edge.store.arrive(edge.call(), &[waiter(1)]).await.unwrap_err();
    for _ in 0..20 {
        let error = full().await;
        assert!(matches!(error, StoreError::Full), "{error:?}");
        assert_eq!(edge.ask().await.kind, "ok");
    }
    edge.server.cli(&["ACL", "SETUSER", "default", "-evalsha"]);
    for _ in 0..20 {
        let asked = edge.ask().await;
        assert_eq!(asked.kind, "failed", "{asked:?}");
        assert!(asked.error.unwrap().to_string().contains("NOPERM"));
    }
    edge.server.cli(&["ACL", "SETUSER", "default", "+evalsha"]);
    assert_eq!(edge.ask().await.kind, "ok");
}

#[tokio::test]
async fn a_store_that_is_emptied_or_forgets_its_scripts_costs_no_call() {
    let edge = Edge::start().await;
    for order in [&["SCRIPT", "FLUSH"][..], &["FLUSHALL"], &["SCRIPT", "FLUSH", "SYNC"]] {
        assert_eq!(edge.ask().await.kind, "ok");
        edge.server.cli(order);
        let asked = edge.ask().await;
        assert_eq!(asked.kind, "ok", "{order:?}: {asked:?}");
    }
}

#[tokio::test]
async fn a_killed_server_is_used_again_within_a_second_of_its_restart() {
    let mut edge = Edge::start().await;
    for _ in 0..2 {
        edge.server.kill();
        edge.opens("killed").await;
        edge.server.restart();
        edge.heals("kill and restart").await;
    }
}

#[tokio::test]
async fn a_frozen_server_is_used_again_within_a_second_of_its_thaw() {
    let server = RedisServer::start();
    let store = production(single(server.url())).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    for _ in 0..2 {
        server.freeze();
        opens("frozen", &store, call).await;
        server.thaw();
        heals("freeze", HEALED, &store, call).await;
    }
}
