//! What is published reaches every edge, and what was missed can be read back.

use std::time::Duration;

use room::queue::Change;
use room::rules::Rules;
use store::{EVENTS_KEPT, Store};
use tokio::time::timeout;

use crate::support::servers::RedisServer;
use crate::support::world::{TestClock, call, caller, connect, eventually, new_room, single, waiter};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn another_edge_hears_every_event_once_and_in_order() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let one = connect(single(server.url()), &clock).await;
    let two = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let mut heard = two.listen(&room);
    eventually("the other edge listens", SOON, async || {
        one.admit(call).await.unwrap();
        heard.try_recv().ok()
    })
    .await;
    one.arrive(call, &[waiter(1), waiter(2)]).await.unwrap();
    let mut said = Vec::new();
    for _ in 0..10 {
        clock.advance(Duration::from_millis(100));
        said.push(one.admit(call).await.unwrap());
    }
    let change = Change { message: Some(Some("a moment, please".into())), ..Change::default() };
    let control = one.tune(call, &change).await.unwrap();
    // What was published while the listener came up is before.
    let first = said[0].head.seq;
    for expected in said {
        let event = loop {
            let event = timeout(SOON, heard.recv()).await.unwrap().unwrap();
            if event.head.seq >= first {
                break event;
            }
        };
        assert_eq!(*event, expected);
    }
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap().unwrap().control, control);
}

#[tokio::test]
async fn a_gap_is_read_back_while_it_is_kept() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    assert_eq!(store.missed(&room, 0).await.unwrap(), Some(Vec::new()));
    let mut said = Vec::new();
    for _ in 0..EVENTS_KEPT + 5 {
        said.push(store.admit(call).await.unwrap());
    }
    assert_eq!(store.missed(&room, 4).await.unwrap(), None);
    assert_eq!(store.missed(&room, 5).await.unwrap(), Some(said[5..].to_vec()));
    assert_eq!(store.missed(&room, 1203).await.unwrap(), Some(said[1203..].to_vec()));
    assert_eq!(store.missed(&room, 1205).await.unwrap(), Some(Vec::new()));
    assert_eq!(server.cli(&["XLEN", &format!("vestibule:{{{room}}}:ticks")]), "1200");
}

#[tokio::test]
async fn a_listening_connection_that_is_cut_comes_back_by_itself() {
    let (server, clock) = (RedisServer::start(), TestClock::default());
    let store = connect(single(server.url()), &clock).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let mut heard = store.listen(&room);
    for _ in 0..3 {
        eventually("an event is heard", SOON, async || {
            store.admit(call).await.unwrap();
            heard.try_recv().ok()
        })
        .await;
        eventually("the connection is cut", SOON, async || {
            (server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]) != "0").then_some(())
        })
        .await;
        while heard.try_recv().is_ok() {}
    }
}

#[tokio::test]
async fn the_servers_own_clock_is_used_when_no_other_is_given() {
    let server = RedisServer::start();
    let store = store::redis::Redis::connect(single(server.url())).await.unwrap();
    let (room, rules) = (new_room(), Rules::default());
    let clock = || std::time::SystemTime::now().into();
    let (before, head): (room::time::Micros, _) =
        (clock(), store.survey(call(&room, &rules, caller(0, None)), false).await.unwrap().head);
    assert!(before <= head.clock && head.clock <= clock(), "{:?}", head.clock);
}
