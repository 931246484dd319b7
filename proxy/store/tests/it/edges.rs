//! Several edges at once, and the least they need.

use std::collections::HashSet;
use std::sync::Arc;

use room::queue::{Arrival, Arrived};
use room::rules::{Draft, Rules};
use store::Store;

use crate::support::servers::RedisServer;
use crate::support::world::{TestClock, call, caller, connect, new_room, single, waiter};

const EDGES: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_let_people_in_at_once_share_the_slots_and_number_their_events_without_gaps() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let room = new_room();
    let rules = Arc::new(
        Rules::new(Draft { new_users_per_minute: 600_000, total_active_users: 50, ..Draft::default() })
            .unwrap(),
    );
    let mut edges = Vec::new();
    for edge in 0..EDGES {
        let store = connect(single(server.url()), &clock).await;
        let (room, rules) = (room.clone(), Arc::clone(&rules));
        edges.push(tokio::spawn(async move {
            let call = call(&room, &rules, caller(edge, None));
            let (mut let_in, mut numbers) = (0, Vec::new());
            for number in 0..100 {
                let arrival = Arrival { may_enter: true, ..waiter(edge * 1000 + number) };
                let answer = store.arrive(call, &[arrival]).await.unwrap().value;
                let_in += usize::from(matches!(answer[..], [Arrived::LetIn(_)]));
                numbers.push(store.admit(call).await.unwrap().head.seq);
            }
            (let_in, numbers)
        }));
    }
    let (mut let_in, mut numbers) = (0, HashSet::new());
    for edge in edges {
        let (count, said) = edge.await.unwrap();
        assert!(said.is_sorted());
        let_in += count;
        numbers.extend(said);
    }
    assert_eq!(let_in, 50);
    assert_eq!(numbers, (1..=u64::from(EDGES) * 100).collect());
}

#[tokio::test]
async fn a_user_with_these_rights_is_enough() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let rights = "on >pass ~vestibule:* &vestibule:* -@all +@read +@write +@pubsub +@scripting +@connection \
                  +time -@dangerous +info";
    let mut command = vec!["ACL", "SETUSER", "edge"];
    command.extend(rights.split_whitespace());
    assert_eq!(server.cli(&command), "OK");
    let mut options = single(server.url());
    options.username = Some("edge".into());
    options.password = Some("pass".into());
    let store = connect(options, &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let mut heard = store.listen(&room);
    store.arrive(call, &[waiter(1)]).await.unwrap();
    crate::support::world::eventually("an event is heard", std::time::Duration::from_secs(5), async || {
        store.admit(call).await.unwrap();
        heard.try_recv().ok()
    })
    .await;
    store.survey(call, false).await.unwrap();
    store.missed(&room, 0).await.unwrap();
}
