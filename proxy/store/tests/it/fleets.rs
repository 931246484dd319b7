//! The same store behind Sentinel and on a Cluster.

use std::time::Duration;

use room::rules::Rules;
use store::Store;
use store::redis::Redis;

use crate::conformance::conforms;
use crate::support::edge::survey;
use crate::support::fleets::{Cluster, Sentinels};
use crate::support::servers::until;
use crate::support::world::{TestClock, call, caller, connect, eventually, new_room, waiter};

const FAILOVER: Duration = Duration::from_secs(100);

#[test]
fn behind_sentinel_it_does_the_same_as_memory() {
    let (fleet, clock) = (Sentinels::start(), TestClock::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(connect(fleet.options(), &clock));
    conforms(&runtime, &clock, &redis, 20, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_keeps_the_places_and_needs_no_help() {
    let (mut fleet, clock) = (Sentinels::start(), TestClock::default());
    let mut options = fleet.options();
    options.clock = Some(clock.as_clock());
    let store = Redis::connect(options).await.unwrap();
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let mut heard = store.listen(&room);
    let crowd: Vec<_> = (0..50).map(waiter).collect();
    let before = store.arrive(call, &crowd).await.unwrap();
    assert_eq!(fleet.primary.cli(&["WAIT", "1", "5000"]), "1");
    fleet.primary.kill();
    let survey = eventually("a call works", FAILOVER, async || survey(&store, call).await.ok()).await;
    assert_eq!(survey.head.incarnation, before.head.incarnation);
    assert_eq!(survey.counts.waiting, 50);
    assert!(fleet.replica.cli(&["ROLE"]).starts_with("master"));
    eventually("an event is heard from the new primary", FAILOVER, async || {
        store.admit(call).await.ok()?;
        heard.try_recv().ok()
    })
    .await;
}

#[test]
fn on_a_cluster_it_does_the_same_as_memory() {
    let (cluster, clock) = (Cluster::start(), TestClock::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(connect(cluster.options(), &clock));
    conforms(&runtime, &clock, &redis, 20, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_spread_over_a_cluster_and_a_lost_node_takes_only_its_own() {
    let (mut cluster, clock) = (Cluster::start(), TestClock::default());
    let one = connect(cluster.options(), &clock).await;
    let two = connect(cluster.options(), &clock).await;
    let rules = Rules::default();
    let rooms: Vec<_> = (0..12).map(|_| new_room()).collect();
    let mut listeners: Vec<_> = rooms.iter().map(|room| two.listen(room)).collect();
    for (room, heard) in rooms.iter().zip(&mut listeners) {
        let call = call(room, &rules, caller(0, None));
        one.arrive(call, &[waiter(1)]).await.unwrap();
        eventually("the other edge hears the room", FAILOVER, async || {
            one.admit(call).await.unwrap();
            heard.try_recv().ok()
        })
        .await;
    }
    let is_first = |room: &&room::ids::RoomName| {
        cluster.nodes[0].cli(&["EXISTS", &format!("vestibule:{{{room}}}:state")]) == "1"
    };
    let (lost, kept): (Vec<_>, Vec<_>) = rooms.iter().partition(is_first);
    assert!(!lost.is_empty() && !kept.is_empty(), "12 rooms on 3 nodes");
    cluster.nodes[0].kill();
    until("the others notice", FAILOVER, || cluster.nodes[1].cli(&["CLUSTER", "NODES"]).contains("fail"));
    for room in kept {
        let call = call(room, &rules, caller(0, None));
        eventually("a room of another node works", FAILOVER, async || survey(&one, call).await.ok()).await;
    }
    let call = call(lost[0], &rules, caller(0, None));
    assert!(survey(&one, call).await.is_err());
}
