//! What one edge does, the others know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use room::ids::{TicketId, VisitorId};
use room::queue::{Arrival, Change, Leave, PauseRequest};
use room::wire::State;
use vestibule::random;

use super::{Fleet, MANY, Waiter, later, shopper};
use crate::rig::soon;
use crate::site::{until, until_within};

#[tokio::test]
async fn a_place_taken_at_one_edge_is_known_at_the_other() {
    let fleet = Fleet::open(2, "total_active_users = 1\nsettle_window = \"0s\"").await;
    let [one, two] = &fleet.edges[..] else { panic!("two edges") };
    assert_eq!(one.visitor().visit("/").await.shows(), "GET /");
    let mut first = one.visitor();
    first.join().await;
    later(two, one).await;
    let mut second = two.visitor();
    second.join().await;
    for (visitor, position) in [(&mut first, 1), (&mut second, 2)] {
        for edge in [two, one] {
            visitor.edge = edge.address;
            assert_eq!(visitor.call("POST join").await.status, 200, "the same place");
            let seen = visitor.status_until("a position", |standing| standing.position.is_some()).await;
            assert_eq!(seen.position, Some(position));
        }
    }
    assert_eq!(fleet.in_line(), 2);
}

#[tokio::test]
async fn a_turn_given_by_the_tick_of_one_edge_reaches_the_socket_at_the_other() {
    let fleet = Fleet::open(3, "total_active_users = 1\nsettle_window = \"0s\"").await;
    let mut holder = fleet.edges[0].visitor();
    holder.visit("/").await;
    let mut waiters = Vec::new();
    for edge in &fleet.edges {
        let mut visitor = edge.visitor();
        visitor.join().await;
        let screen = visitor.watch().await;
        waiters.push((visitor, screen));
    }
    holder.call("POST leave").await;
    for (visitor, screen) in &mut waiters {
        screen.next_of("queue.turn").await;
        // Claimed at another edge than the one that keeps the socket.
        visitor.edge = fleet.edges[0].address;
        assert_eq!(visitor.visit("/in").await.shows(), "GET /in");
        assert_eq!(visitor.call("POST leave").await.status, 204);
    }
    assert_eq!(fleet.origin.requests().len(), 4);
}

#[tokio::test]
async fn a_busy_room_ticks_about_ten_times_a_second_however_many_edges_there_are() {
    let fleet = Fleet::open(3, "total_active_users = 1").await;
    fleet.edges[0].visitor().visit("/").await;
    let mut screens = Vec::new();
    for edge in &fleet.edges {
        let mut visitor = edge.visitor();
        visitor.join().await;
        screens.push(visitor.watch().await);
    }
    let all_know = || fleet.edges.iter().all(|edge| edge.counts().waiting == 3);
    until("every edge ticks or hears ticks", all_know).await;
    let head = || fleet.edges[0].hall().known().unwrap().head;
    let before = head();
    until("two seconds of the store's clock", || head().clock.since(before.clock) > Duration::from_secs(2))
        .await;
    let span = head().clock.since(before.clock).as_secs_f64();
    let a_second = (head().seq - before.seq) as f64 / span;
    assert!(
        (7.0..=20.0).contains(&a_second),
        "{a_second:.1} ticks a second; three edges that do not listen to each other give 30"
    );
}

#[tokio::test]
async fn departures_by_the_dozen_do_not_put_off_the_ticks() {
    const EVENTS: usize = 100;
    let fleet = Fleet::open(2, &format!("total_active_users = 1\n{MANY}")).await;
    shopper(&fleet.edges[0]).await;
    let _waiter = Waiter::at(&fleet.edges[1]).await;
    let link = Arc::clone(&fleet.edges[0].hall().link);
    let leavers: Vec<Arrival> = (0..EVENTS * 3).map(|_| leaver(&fleet)).collect();
    link.arrive(&leavers).await.unwrap();
    let mut events = link.listen();
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for few in leavers.chunks(3) {
        pace.tick().await;
        let gone: Vec<Leave> = few.iter().map(|arrival| Leave::Absent(arrival.visitor)).collect();
        link.leave(&gone).await.unwrap();
    }
    let (mut ticks, mut departures) = (0, 0);
    let all_heard = async {
        while departures < leavers.len() {
            let event = events.recv().await.unwrap();
            ticks += usize::from(event.is_tick());
            departures += event.absent.len();
        }
    };
    soon("every departure is heard", all_heard).await;
    let a_second = ticks as f64 / began.elapsed().as_secs_f64();
    assert!((7.0..=20.0).contains(&a_second), "{a_second:.1} ticks a second amid {EVENTS} departures");
}

/// Somebody who waits only until they leave.
fn leaver(fleet: &Fleet) -> Arrival {
    let stamp = fleet.edges[0].hall().clock.stamp();
    Arrival {
        visitor: VisitorId::from_random(random::bytes()),
        ticket: TicketId::from_random(random::bytes()),
        score: stamp.0,
        confirmed_at: stamp,
        may_enter: false,
        may_wait: true,
        here: true,
    }
}

#[tokio::test]
async fn a_pass_from_one_edge_opens_the_other_until_it_is_given_back_at_either() {
    let fleet = Fleet::open(2, "").await;
    let [one, two] = &fleet.edges[..] else { panic!("two edges") };
    let mut visitor = one.visitor();
    visitor.visit("/").await;
    let mut copy = visitor.clone();
    copy.edge = two.address;
    assert_eq!(copy.visit("/there").await.shows(), "GET /there");

    assert_eq!(visitor.call("POST leave").await.status, 204);
    let mut app = two.visitor().with("queue-pass", copy.pass().unwrap());
    let first = fleet.origin.requests()[0].one("vestibule-visitor");
    let left = Instant::now();
    loop {
        // In an empty room whoever is turned away by the pass is let in as somebody else.
        app.fetch("/again").await;
        if fleet.origin.requests().pop().unwrap().one("vestibule-visitor") != first {
            break;
        }
        assert!(left.elapsed() < Duration::from_secs(2), "the pass still opens the other edge");
    }
}

#[tokio::test]
async fn a_change_by_one_edge_is_in_force_at_all_within_a_second() {
    let fleet = Fleet::open(3, "total_active_users = 1").await;
    let controls =
        || fleet.edges.iter().map(|edge| edge.hall().known().unwrap().control.clone()).collect::<Vec<_>>();
    for (rate, waits) in [(1800, false), (900, true)] {
        if waits {
            fleet.edges[0].visitor().visit("/").await;
            fleet.edges[1].visitor().join().await;
        }
        let pause = PauseRequest { reason: Some("why".into()) };
        let change =
            Change { new_users_per_minute: Some(rate), paused: Some(Some(pause)), ..Change::default() };
        fleet.edges[1].tune(change).await;
        let in_force = || {
            controls().iter().all(|control| control.new_users_per_minute == rate && control.paused.is_some())
        };
        until_within("the change at every edge", Duration::from_secs(1), in_force).await;
        fleet.edges[2].tune(Change { paused: Some(None), ..Change::default() }).await;
        until_within("its end", Duration::from_secs(1), || controls().iter().all(|c| c.paused.is_none()))
            .await;
    }
}

/// Away for 15 seconds is away; the rest is for a slow machine.
const AWAY: Duration = Duration::from_secs(25);

#[tokio::test]
async fn whoever_moves_to_another_edge_keeps_the_place_when_the_first_edge_misses_them() {
    let fleet = Fleet::open(2, "total_active_users = 1\nsettle_window = \"0s\"").await;
    let [one, two] = &fleet.edges[..] else { panic!("two edges") };
    assert_eq!(one.visitor().visit("/").await.shows(), "GET /");
    let mut visitor = one.visitor();
    visitor.join().await;
    visitor.watch().await.close().await;
    visitor.edge = two.address;
    let mut screen = visitor.watch().await;
    until_within("the first edge gave the visitor up", AWAY, || one.hall().hub.is_empty()).await;
    until("the place is there, given up by one edge and taken again by the other", || fleet.in_line() == 1)
        .await;
    let shown = screen.standing("a place", |standing| standing.position == Some(1)).await;
    assert_eq!(shown.state, State::Waiting);
}
