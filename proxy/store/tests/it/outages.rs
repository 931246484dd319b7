//! A network that fails: every call ends in time and says why, and heals by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use room::ids::RoomName;
use room::queue::Change;
use store::{Store, StoreError, TuneError};
use tokio::time::timeout;

use crate::support::edge::{DEADLINE, Edge, SLACK, production, survey};
use crate::support::fault_link::{Flow, Mode};
use crate::support::world::{call, caller, eventually, new_room, single, waiter};

/// What a call costs that is not even tried; generous, for a build without optimisation on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn every_fault_of_the_network_is_told_in_time_and_heals_by_itself() {
    let edge = Edge::start().await;
    let slow = Duration::from_millis(400);
    let faults = [
        ("bytes are held", Mode::STALL),
        ("answers are held", Mode::Link { there: Flow::Pass, back: Flow::Stall }),
        ("the peer vanished", Mode::HALF_OPEN),
        ("connections are reset", Mode::Cut),
        ("answers come too late", Mode::latency(slow)),
    ];
    for (fault, mode) in faults {
        edge.heals("before").await;
        edge.link.set(mode);
        let first = edge.ask().await;
        println!("{fault}: noticed after {:?} as {}", first.took, first.kind);
        assert!(first.error.is_some_and(|error| error.is_outage()), "{fault}");
        edge.opens(fault).await;
        edge.link.set(Mode::PASS);
        edge.heals(fault).await;
    }
}

#[tokio::test]
async fn every_method_has_the_same_deadline() {
    let edge = Edge::start().await;
    let (store, call) = (&edge.store, edge.call());
    let methods = ["arrive", "admit", "claim", "leave", "renew", "tune", "missed"];
    for method in methods {
        edge.link.set(Mode::STALL);
        let began = Instant::now();
        let error = match method {
            "arrive" => store.arrive(call, &[waiter(1)]).await.err(),
            "admit" => store.admit(call).await.err(),
            "claim" => store.claim(call, &[]).await.err(),
            "leave" => store.leave(call, &[]).await.err(),
            "renew" => store.renew(call, &[]).await.err(),
            "tune" => match store.tune(call, &Change::default()).await {
                Err(TuneError::Store(error)) => Some(error),
                _ => None,
            },
            _ => store.missed(&edge.room, 0).await.err(),
        };
        assert!(matches!(error, Some(StoreError::TimedOut(DEADLINE))), "{method}: {error:?}");
        assert!(began.elapsed() < DEADLINE + SLACK, "{method} took {:?}", began.elapsed());
        edge.link.set(Mode::PASS);
        edge.heals(method).await;
    }
}

#[tokio::test]
async fn a_dead_store_costs_a_moment_and_one_probe_at_a_time_asks_it() {
    let edge = Edge::start().await;
    edge.link.set(Mode::STALL);
    edge.opens("a stall").await;
    let (mut refused, mut tried) = (Vec::new(), 0);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for asked in join_all((0..20).map(|_| edge.ask())).await {
            match asked.kind {
                "open" => refused.push(asked.took),
                _ => tried += 1,
            }
        }
    }
    refused.sort_unstable();
    let (half, most) = (refused[refused.len() / 2], refused[refused.len() * 99 / 100]);
    println!("{} calls refused, half within {half:?}, 99 % within {most:?}; {tried} tried", refused.len());
    assert!((2..=10).contains(&tried), "{tried} probes");
    assert!(refused.len() > 1000 && most < AT_ONCE, "{} refused, 99 % within {most:?}", refused.len());
    edge.link.set(Mode::PASS);
    edge.heals("a stall of two seconds").await;
}

#[tokio::test]
async fn a_probe_whose_caller_went_away_keeps_no_other_from_trying() {
    let edge = Edge::start().await;
    edge.link.set(Mode::STALL);
    edge.opens("a stall").await;
    for _ in 0..5 {
        // Refused calls end at once, so the one that is cut short is a probe.
        eventually("a probe is under way", SOON, async || {
            timeout(DEADLINE / 5, edge.ask()).await.is_err().then_some(())
        })
        .await;
        let next = edge.ask().await;
        assert_eq!(next.kind, "timeout", "the next may try at once: {next:?}");
    }
    edge.link.set(Mode::PASS);
    edge.heals("probes that were given up").await;
}

#[tokio::test]
async fn a_refused_call_says_since_when_why_and_until_when() {
    let edge = Edge::start().await;
    edge.link.set(Mode::Cut);
    let error = edge.opens("a cut").await;
    let StoreError::Open { down_for, retry_in, cause } = &error else {
        unreachable!();
    };
    assert!(*down_for < SLACK && *retry_in <= Duration::from_secs(1), "{error:?}");
    assert!(matches!(**cause, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&edge.link.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_late_answer_is_never_read_as_the_next_calls() {
    let edge = Edge::start().await;
    // Every room has a line of its own length.
    let rooms: Vec<RoomName> = (0..6).map(|_| new_room()).collect();
    let line = |number: usize| u64::try_from(number).unwrap() + 1;
    for (number, room) in rooms.iter().enumerate() {
        let crowd: Vec<_> = (0..=u32::try_from(number).unwrap()).map(waiter).collect();
        edge.store.arrive(call(room, &edge.rules, caller(0, None)), &crowd).await.unwrap();
    }
    let (mut late, mut right) = (0, 0);
    for round in 0..12 {
        // The answer is on its way when the deadline ends the call, and arrives during the next ones.
        edge.link.set(Mode::Link { there: Flow::Pass, back: Flow::Latency(DEADLINE + DEADLINE / 4) });
        let room = &rooms[round % rooms.len()];
        late += usize::from(survey(&edge.store, call(room, &edge.rules, caller(0, None))).await.is_err());
        edge.link.set(Mode::PASS);
        for (number, room) in rooms.iter().enumerate().rev() {
            for _ in 0..5 {
                if let Ok(survey) = survey(&edge.store, call(room, &edge.rules, caller(0, None))).await {
                    assert_eq!(survey.counts.waiting, line(number), "somebody else's answer");
                    right += 1;
                }
            }
        }
    }
    assert!(late >= 10 && right >= 300, "{late} late, {right} right");
}

#[tokio::test]
async fn after_a_call_timed_out_no_other_is_lost_to_connections_as_old() {
    let edge = Edge::start().await;
    // Several connections are in use, and open again.
    assert!(join_all((0..8).map(|_| edge.ask())).await.iter().all(|asked| asked.kind == "ok"));
    edge.link.set_present(Mode::HALF_OPEN);
    let first = edge.ask().await;
    assert_eq!(first.kind, "timeout", "{first:?}");
    for _ in 0..10 {
        let next = edge.ask().await;
        assert_eq!(next.kind, "ok", "{next:?}");
    }
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_cost_no_call() {
    let edge = Edge::start().await;
    for _ in 0..5 {
        assert!(join_all((0..8).map(|_| edge.ask())).await.iter().all(|asked| asked.kind == "ok"));
        edge.server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        let next = edge.ask().await;
        assert_eq!(next.kind, "ok", "{next:?}");
    }
}

#[tokio::test]
async fn while_one_connection_stalls_others_keep_their_pace() {
    let edge = Edge::start().await;
    assert!(join_all((0..8).map(|_| edge.ask())).await.iter().all(|asked| asked.kind == "ok"));
    let before = edge.link.accepted();
    edge.link.set_oldest(1, Mode::STALL);
    let (mut slowest, mut lost) = (Duration::ZERO, 0);
    for _ in 0..20 {
        for asked in join_all((0..8).map(|_| edge.ask())).await {
            match asked.kind {
                "ok" => slowest = slowest.max(asked.took),
                _ => lost += 1,
            }
        }
    }
    println!(
        "{lost} lost, the slowest of the others took {slowest:?}, {} dials",
        edge.link.accepted() - before
    );
    assert_eq!(lost, 1, "one call had that connection");
    assert!(slowest < DEADLINE, "{slowest:?}");
}

#[tokio::test]
async fn more_calls_than_connections_end_in_time() {
    let edge = Edge::start().await;
    assert!(join_all((0..8).map(|_| edge.ask())).await.iter().all(|asked| asked.kind == "ok"));
    edge.link.set(Mode::latency(Duration::from_millis(40)));
    // Each takes 80 ms and there are 8 connections: three rounds fit into a deadline.
    let ends = join_all((0..200).map(|_| edge.ask())).await;
    let count = |kind: &str| ends.iter().filter(|asked| asked.kind == kind).count();
    println!("{} done, {} late, {} refused", count("ok"), count("timeout"), count("open"));
    assert!(count("ok") >= 16 && count("timeout") > 100, "{}", count("ok"));
    edge.link.set(Mode::PASS);
    edge.heals("too many calls").await;
}

#[tokio::test]
async fn connections_that_come_up_slowly_hold_no_call_beyond_its_deadline() {
    let edge = Edge::start().await;
    edge.link.set(Mode::Cut);
    edge.ask().await;
    // Nothing is open any more, and what is dialled now hangs.
    edge.link.set(Mode::STALL);
    let began = Instant::now();
    while edge.ask().await.kind != "timeout" {
        assert!(began.elapsed() < Duration::from_secs(5), "nobody tried");
    }
    edge.link.set(Mode::PASS);
    edge.heals("a dial that hangs").await;
}

#[tokio::test]
async fn a_slow_store_is_used_as_long_as_answers_are_in_time() {
    let edge = Edge::start().await;
    assert_eq!(edge.ask().await.kind, "ok");
    // No deadline has room for two trips.
    edge.link.set(Mode::latency(Duration::from_millis(70)));
    let mut in_time = 0;
    for _ in 0..5 {
        in_time += u32::from(edge.ask().await.kind == "ok");
        // Long enough for a connection to be doubted, and looked after.
        let silence = Instant::now() + Duration::from_millis(1300);
        tokio::time::sleep_until(silence.into()).await;
    }
    // A busy machine may lose one.
    assert!(in_time >= 4, "{in_time} of 5");
    // When all connections are lost, others come up by themselves.
    edge.server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let began = Instant::now();
    eventually("a call is in time", SOON, async || (edge.ask().await.kind == "ok").then_some(())).await;
    println!("a slow store: used {:?} after its connections were lost", began.elapsed());
}

#[tokio::test]
async fn connections_that_vanished_are_found_before_a_call_has_them() {
    let edge = Edge::start().await;
    assert_eq!(edge.ask().await.kind, "ok");
    let before = edge.link.accepted();
    edge.link.set_present(Mode::HALF_OPEN);
    eventually("four others come up", SOON, async || (edge.link.accepted() >= before + 4).then_some(()))
        .await;
    for _ in 0..10 {
        let asked = edge.ask().await;
        assert_eq!(asked.kind, "ok", "{asked:?}");
    }
}

#[tokio::test]
async fn an_edge_that_starts_during_an_outage_says_so_in_time() {
    let edge = Edge::start().await;
    for mode in [Mode::STALL, Mode::HALF_OPEN, Mode::Cut] {
        edge.link.set(mode);
        let began = Instant::now();
        let error = store::redis::Redis::connect(single(format!("redis://{}", edge.link.address())))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    edge.link.set(Mode::PASS);
    production(single(format!("redis://{}", edge.link.address()))).await;
}
