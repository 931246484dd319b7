//! On a Cluster: what happens to one shard is no matter to rooms on others.

use std::time::{Duration, Instant};

use room::ids::RoomName;
use room::rules::Rules;
use store::redis::Redis;
use store::{Call, Store, StoreError};

use crate::support::edge::{DEADLINE, HEALED, ask, heals, production, survey};
use crate::support::fleets::Cluster;
use crate::support::world::{call, caller, eventually, new_room, waiter};

const SOON: Duration = Duration::from_secs(10);

/// A room on each node, in the order of the nodes.
async fn one_room_each(cluster: &Cluster, store: &Redis, rules: &Rules) -> Vec<RoomName> {
    let mut rooms = vec![None; cluster.nodes.len()];
    while rooms.contains(&None) {
        let room = new_room();
        store.arrive(call(&room, rules, caller(0, None)), &[waiter(1)]).await.unwrap();
        let at = cluster.nodes.iter().position(|node| node.cli(&["EXISTS", &key(&room, "state")]) == "1");
        rooms[at.unwrap()].get_or_insert(room);
    }
    rooms.into_iter().flatten().collect()
}

fn key(room: &RoomName, name: &str) -> String {
    format!("vestibule:{{{room}}}:{name}")
}

async fn hears(store: &Redis, call: Call<'_>) -> Duration {
    let mut heard = store.listen(call.room);
    let began = Instant::now();
    eventually("a tick is heard", SOON, async || {
        store.admit(call).await.ok()?;
        heard.try_recv().ok()
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stalls_or_dies_is_no_matter_to_rooms_on_others() {
    let (mut cluster, rules) = (Cluster::start(), Rules::default());
    let store = production(cluster.options()).await;
    let rooms = one_room_each(&cluster, &store, &rules).await;
    let calls: Vec<_> = rooms.iter().map(|room| call(room, &rules, caller(0, None))).collect();
    for call in &calls {
        hears(&store, *call).await;
    }
    cluster.nodes[0].freeze();
    others_go_on("a shard frozen", &store, &calls).await;
    cluster.nodes[0].thaw();
    cluster.wait_until_serves(0);
    heals("a shard frozen", HEALED, &store, calls[0]).await;
    hears(&store, calls[0]).await;

    cluster.nodes[0].kill();
    others_go_on("a shard killed", &store, &calls).await;
    // An edge can start meanwhile.
    let late = production(cluster.options()).await;
    assert_eq!(ask(&late, calls[1]).await.kind, "ok");
    assert_ne!(ask(&late, calls[0]).await.kind, "ok");
    cluster.nodes[0].restart();
    cluster.wait_until_serves(0);
    heals("a shard killed", HEALED, &store, calls[0]).await;
    heals("a shard that was not there at the start", HEALED, &late, calls[0]).await;
    hears(&store, calls[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_nobody_serves_is_away_by_itself_and_used_again_when_it_is_served() {
    let (cluster, rules) = (Cluster::start(), Rules::default());
    let store = production(cluster.options()).await;
    let rooms = one_room_each(&cluster, &store, &rules).await;
    let neighbour = new_room();
    let calls = [&rooms[0], &rooms[1], &rooms[2], &neighbour].map(|room| call(room, &rules, caller(0, None)));
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &key(&rooms[0], "state")]);
    let owner = &cluster.nodes[cluster.owner(&slot)];
    assert_eq!(owner.cli(&["CLUSTER", "DELSLOTS", &slot]), "OK");
    for _ in 0..20 {
        let asked = ask(&store, calls[0]).await;
        assert!(matches!(asked.error, Some(StoreError::Unreachable { .. })), "{asked:?}");
        for other in &calls[1..] {
            assert_eq!(ask(&store, *other).await.kind, "ok");
        }
    }
    assert_eq!(owner.cli(&["CLUSTER", "ADDSLOTS", &slot]), "OK");
    heals("a slot that nobody served", HEALED, &store, calls[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_manual_names_are_enough() {
    let (cluster, rules) = (Cluster::start(), Rules::default());
    let order = "ACL SETUSER edge on >hush ~vestibule:* &vestibule:* -@all +@read +@write +@pubsub +@scripting \
                 +@connection +time -@dangerous +info +cluster|slots +cluster|info";
    for node in &cluster.nodes {
        assert_eq!(node.cli(&order.split_whitespace().collect::<Vec<_>>()), "OK");
    }
    let mut options = cluster.options();
    (options.username, options.password) = (Some("edge".into()), Some("hush".into()));
    let store = production(options).await;
    for room in one_room_each(&cluster, &store, &rules).await {
        hears(&store, call(&room, &rules, caller(0, None))).await;
    }
}

/// Calls for the first shard fail for some seconds; the others keep their pace and are heard.
async fn others_go_on(fault: &str, store: &Redis, calls: &[Call<'_>]) {
    let (lost, kept) = calls.split_first().unwrap();
    let (mut kinds, mut slowest) = (Vec::new(), Duration::ZERO);
    let mut heard: Vec<_> = kept.iter().map(|call| store.listen(call.room)).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let (first, second, third) =
            tokio::join!(ask(store, *lost), ask(store, kept[0]), ask(store, kept[1]));
        for other in [second, third] {
            assert_eq!(other.kind, "ok", "{fault}: {other:?}");
            slowest = slowest.max(other.took);
        }
        assert_ne!(first.kind, "ok", "{fault}");
        kinds.push(first.kind);
        for (call, heard) in kept.iter().zip(&mut heard) {
            store.admit(*call).await.unwrap();
            eventually("a room of another shard is heard", DEADLINE, async || heard.try_recv().ok()).await;
        }
    }
    println!("{fault}: first told as {}, the others' slowest call took {slowest:?}", kinds[0]);
    assert!(slowest < DEADLINE, "{fault}: {slowest:?}");
    assert!(kinds.contains(&"open"), "{fault}: {kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_moves_to_another_shard_is_away_meanwhile_and_heard_there() {
    let (cluster, rules) = (Cluster::start(), Rules::default());
    let store = production(cluster.options()).await;
    let room = new_room();
    let call = call(&room, &rules, caller(0, None));
    let crowd: Vec<_> = (0..20).map(waiter).collect();
    store.arrive(call, &crowd).await.unwrap();
    hears(&store, call).await;
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &key(&room, "state")]);
    let from = cluster.owner(&slot);
    let to = (from + 1) % cluster.nodes.len();
    let neighbour = &one_room_each(&cluster, &store, &rules).await[from];
    let neighbours = Call { room: neighbour, ..call };

    cluster.begin_to_move(&slot, from, to);
    for _ in 0..5 {
        let asked = ask(&store, call).await;
        let error = asked.error.expect("half of a room cannot be worked on");
        assert!(
            matches!(&error, StoreError::Unreachable { cause, .. } if cause.contains("TRYAGAIN")),
            "{error:?}"
        );
        // The server is well, and so are its other rooms.
        assert_eq!(ask(&store, neighbours).await.kind, "ok");
    }
    // A call that is made before the move ends is answered after it.
    let (asked, ()) = tokio::join!(ask(&store, call), async { cluster.move_slot(&slot, from, to) });
    assert_eq!(asked.kind, "ok", "{asked:?}");
    for _ in 0..5 {
        let asked = ask(&store, call).await;
        assert_eq!(asked.kind, "ok", "after it moved: {asked:?}");
    }
    println!("a room moved: heard {:?} after", hears(&store, call).await);
    let counts = survey(&store, call).await.unwrap().counts;
    assert_eq!(counts.waiting + counts.turns, 20, "{counts:?}");
}
