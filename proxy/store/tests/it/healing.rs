//! A store that lost its data, or some of it, gets everything back from what people hold.

use std::sync::Arc;
use std::time::Duration;

use room::queue::Arrived;
use room::rules::{Draft, Rules};
use store::Store;

use crate::support::servers::RedisServer;
use crate::support::world::{
    TestClock, call, caller, connect, incarnation, new_room, single, waiter, witness,
};

const CROWD: u32 = 400;

/// Ten turns a second.
fn rules() -> Rules {
    Rules::new(Draft { new_users_per_minute: 600, total_active_users: 10_000, ..Draft::default() }).unwrap()
}

#[tokio::test]
async fn all_places_come_back_in_order_after_the_store_was_emptied() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let one = connect(single(server.url()), &clock).await;
    let two = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), rules());
    let crowd: Vec<_> = (1..=CROWD).map(waiter).collect();
    one.arrive(call(&room, &rules, caller(1, None)), &crowd).await.unwrap();
    let before = one.admit(call(&room, &rules, caller(1, None))).await.unwrap();
    assert_eq!(before.turns.len(), 10);
    let remembers = witness(&one.survey(call(&room, &rules, caller(1, None)), false).await.unwrap());

    server.cli(&["FLUSHALL"]);
    clock.advance(Duration::from_secs(1));
    let (back_one, back_two) = (
        call(&room, &rules, caller(1, Some(Arc::clone(&remembers)))),
        call(&room, &rules, caller(2, Some(remembers))),
    );
    // Two edges bring their waiters back, the last first; those with a turn stand behind the front.
    for chunk in crowd.chunks(80).rev() {
        let store = if chunk[0].score % 3 == 0 { &one } else { &two };
        let mut chunk = chunk.to_vec();
        chunk.reverse();
        let answers = store.arrive(back_two, &chunk).await.unwrap();
        assert_eq!(answers.head.incarnation, incarnation(2));
        assert!(answers.value.iter().all(|answer| matches!(answer, Arrived::Waiting(_))));
    }
    let head = one.admit(back_one).await.unwrap().head;
    assert!(head.seq > before.head.seq && head.clock >= before.head.clock && head.front == before.head.front);

    // No turn while it settles; then everybody in order, returns between.
    let mut turns = Vec::new();
    let settled = head.clock + room::queue::SETTLE;
    while turns.len() < CROWD as usize {
        clock.advance(Duration::from_secs(1));
        two.survey(back_two, false).await.unwrap();
        let event = one.admit(back_one).await.unwrap();
        assert!(event.turns.is_empty() || event.head.clock >= settled);
        assert!(event.head.clock < settled + Duration::from_secs(120), "{} turns", turns.len());
        turns.extend(event.turns.into_iter().map(|(visitor, _)| visitor));
    }
    let in_line: Vec<_> = crowd[10..].iter().map(|arrival| arrival.visitor).collect();
    let given: Vec<_> = turns.into_iter().filter(|visitor| in_line.contains(visitor)).collect();
    assert_eq!(given, in_line);
}
