//! What is published is heard again soon after whatever happened to the connection, and a gap can be seen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use room::queue::Event;
use store::Store;
use store::redis::Redis;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::support::edge::{Edge, TIMES, production};
use crate::support::fault_link::Mode;
use crate::support::world::{eventually, single};

/// A connection that says nothing is noticed within this, and another is there soon after.
const NOTICED: Duration = Duration::from_secs(5);

/// Ticks by another way until one of these ticks is heard; says how long that took.
async fn heard_again(edge: &Edge, ticker: &Redis, heard: &mut Receiver<Arc<Event>>) -> Duration {
    let first = ticker.admit(edge.call()).await.unwrap().head.seq;
    let began = Instant::now();
    eventually("a tick is heard", NOTICED * TIMES, async || {
        ticker.admit(edge.call()).await.ok()?;
        heard.try_recv().ok().filter(|event| event.head.seq >= first)
    })
    .await;
    began.elapsed()
}

/// A store on the same server that the link is not in the way of.
async fn direct(edge: &Edge) -> Redis {
    production(single(edge.server.tcp_url())).await
}

#[tokio::test]
async fn a_listening_connection_that_says_nothing_is_replaced_in_5_seconds() {
    let edge = Edge::start().await;
    let ticker = direct(&edge).await;
    let mut heard = edge.store.listen(&edge.room);
    heard_again(&edge, &ticker, &mut heard).await;
    for (fault, mode) in [("half-open", Mode::HALF_OPEN), ("stalled", Mode::STALL), ("reset", Mode::Cut)] {
        edge.link.set_present(mode);
        let took = heard_again(&edge, &ticker, &mut heard).await;
        println!("events, {fault}: heard again after {took:?}");
    }
}

#[tokio::test]
async fn what_was_missed_is_seen_by_its_number_and_read_back_once() {
    let edge = Edge::start().await;
    let ticker = direct(&edge).await;
    let mut events = edge.store.listen(&edge.room);
    heard_again(&edge, &ticker, &mut events).await;
    let (mut said, mut heard) = (BTreeSet::new(), Vec::new());
    let mut say = async |heard: &mut Vec<u64>| {
        said.insert(ticker.admit(edge.call()).await.unwrap().head.seq);
        while let Ok(event) = events.try_recv() {
            heard.push(event.head.seq);
        }
    };
    for round in 0..3 {
        let before = heard.len();
        eventually("ticks are heard", NOTICED * TIMES, async || {
            say(&mut heard).await;
            (heard.len() > before + 5).then_some(())
        })
        .await;
        edge.link.set(if round == 0 { Mode::Cut } else { Mode::HALF_OPEN });
        for _ in 0..20 {
            say(&mut heard).await;
        }
        edge.link.set(Mode::PASS);
    }
    let before = heard.len();
    eventually("ticks are heard", NOTICED * TIMES, async || {
        say(&mut heard).await;
        (heard.len() > before).then_some(())
    })
    .await;
    assert!(heard.is_sorted_by(|one, next| one < next), "twice or out of order: {heard:?}");
    let gaps: Vec<_> = heard.windows(2).filter(|pair| pair[0] + 1 < pair[1]).collect();
    assert!(gaps.len() >= 3, "{heard:?}");
    for gap in gaps {
        let missed = edge.store.missed(&edge.room, gap[0]).await.unwrap().unwrap();
        let back: Vec<_> = missed.iter().map(|event| event.head.seq).filter(|seq| *seq < gap[1]).collect();
        assert_eq!(back, (gap[0] + 1..gap[1]).collect::<Vec<_>>());
        assert!(back.iter().all(|seq| said.contains(seq)));
    }
}

#[tokio::test]
async fn a_listener_that_lags_is_told_and_reads_the_rest_back() {
    let edge = Edge::start().await;
    let mut slow = edge.store.listen(&edge.room);
    let mut quick = edge.store.listen(&edge.room);
    heard_again(&edge, &edge.store, &mut quick).await;
    let first = edge.store.admit(edge.call()).await.unwrap().head.seq;
    let last = first + u64::try_from(store::EVENT_BACKLOG).unwrap() + 50;
    while edge.store.admit(edge.call()).await.unwrap().head.seq < last {}
    eventually("the last tick is heard", NOTICED, async || {
        loop {
            match quick.try_recv() {
                Ok(event) if event.head.seq == last => return Some(()),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    })
    .await;
    assert!(matches!(slow.recv().await, Err(RecvError::Lagged(_))));
    let next = slow.recv().await.unwrap().head.seq;
    assert!(next > first);
    let missed = edge.store.missed(&edge.room, first).await.unwrap().unwrap();
    assert_eq!(missed.first().unwrap().head.seq, first + 1);
    assert_eq!(missed.last().unwrap().head.seq, last);
}

#[tokio::test]
async fn a_room_that_is_asked_for_during_an_outage_is_heard_after_it() {
    let edge = Edge::start().await;
    let ticker = direct(&edge).await;
    edge.link.set(Mode::Cut);
    let mut heard = edge.store.listen(&edge.room);
    edge.ask().await;
    edge.link.set(Mode::PASS);
    let took = heard_again(&edge, &ticker, &mut heard).await;
    println!("events, first asked for during an outage: heard after {took:?}");
}

/// A server that is busy with a script accepts connections, and refuses to be asked anything on them.
#[tokio::test]
async fn a_server_too_busy_to_be_heard_is_tried_ever_more_seldom() {
    let edge = Edge::start_with(&["--busy-reply-threshold", "50"]).await;
    let mut heard = edge.store.listen(&edge.room);
    heard_again(&edge, &edge.store, &mut heard).await;
    let endless = edge.order(&["EVAL", "while true do end", "0"]);
    let is_busy = async || edge.server.cli(&["PING"]).contains("BUSY").then_some(());
    eventually("it is busy", NOTICED, is_busy).await;
    let tried = async |times: usize| {
        let wanted = edge.link.accepted() + times;
        let is_tried = async || (edge.link.accepted() >= wanted).then_some(());
        eventually("it is tried again", NOTICED * TIMES, is_tried).await;
    };
    // It takes a moment until the connection that was good is found to hear nothing.
    tried(1).await;
    let began = Instant::now();
    tried(10).await;
    let took = began.elapsed();
    assert_eq!(edge.server.cli(&["SCRIPT", "KILL"]), "OK");
    endless.wait_with_output().unwrap();
    let again = heard_again(&edge, &edge.store, &mut heard).await;
    println!("events, busy: tried ten times in {took:?}, heard again after {again:?}");
    assert!(took > Duration::from_secs(2), "ten times in {took:?}");
}
