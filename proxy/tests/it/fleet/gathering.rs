//! Hundreds who wait while the store loses its data.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use room::ids::Incarnation;
use room::node::Heard;
use room::queue::{Change, Event, Head};
use room::ruler::Ruler;
use room::time::Micros;
use room::wire::{Standing, State};
use vestibule::standing::Known;

use super::{Fleet, HEALED, MANY, Waiter};
use crate::site::{Visitor, full, until, until_within};

const WAITING: usize = 240;
/// New users per minute: what may come at once is a second's worth.
const RATE: u32 = 6000;
/// Both edges have told what they know long before a store stops waiting for one that does not.
const SETTLED: Duration = Duration::from_secs(5);

/// One inside, and `count` who wait, in this order, at the edges in turn.
async fn full_fleet(edges: usize, count: usize) -> (Fleet, Visitor, Vec<Waiter>) {
    let fleet = Fleet::open(
        edges,
        &format!("total_active_users = 1\nsettle_window = \"0s\"\nnew_users_per_minute = {RATE}\n{MANY}"),
    )
    .await;
    let mut holder = fleet.edges[0].visitor();
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    let mut waiters = Vec::with_capacity(count);
    for index in 0..count {
        waiters.push(Waiter::at(&fleet.edges[index % edges]).await);
    }
    assert_eq!(fleet.in_line(), count as u64);
    (fleet, holder, waiters)
}

#[tokio::test]
async fn an_edge_that_leaves_brings_nobody_back_as_they_are_on_their_way_to_others() {
    let (fleet, mut holder, _waiters) = full_fleet(2, 4).await;
    fleet.edges[0].hall().healing.leave();
    fleet.empty().await;
    assert_eq!(fleet.in_line(), 2, "those of the other edge");
    assert_eq!(
        fleet.number(&["ZCARD", "vestibule:{e1}:active"]),
        1,
        "what it remembers is reported all the same"
    );
    assert_eq!(holder.visit("/still").await.shows(), "GET /still");
}

#[tokio::test]
async fn redis_is_emptied_while_hundreds_wait_and_all_places_come_back_and_turns_go_by_arrival() {
    let (fleet, mut holder, mut waiters) = full_fleet(2, WAITING).await;

    let emptied = Instant::now();
    fleet.empty().await;
    assert!(emptied.elapsed() < SETTLED, "settled after {:?}", emptied.elapsed());
    let last = WAITING as u64;
    assert_eq!(fleet.in_line(), last, "every place is back, and the one inside has the only slot");
    for (index, waiter) in waiters.iter_mut().enumerate().take(100) {
        // Whoever is being presented once more has no place for a moment; a wrong one could not be taken back.
        let is_placed = |standing: &Standing| {
            let place = index as u64 + 1;
            assert_eq!(standing.position.unwrap_or(place), place, "a place in a line that was not whole");
            standing.position.is_some()
        };
        waiter.visitor.status_until("the place as it was", is_placed).await;
    }
    assert_eq!(holder.visit("/still").await.shows(), "GET /still", "the pass goes on working");
    assert_eq!(holder.call("POST leave").await.status, 204);
    let first = waiters[0].screen.next_of("queue.turn").await;
    assert_eq!(first["state"], "turn");
    assert_eq!(fleet.in_line(), last - 1);

    for (index, waiter) in waiters.iter_mut().enumerate().skip(1) {
        let place = index as u64;
        // Exact for the first hundred, within 2 % behind them. A place once shown too well could not be taken back.
        let is_right = |position: u64| position.abs_diff(place) <= place / 50;
        let is_told = |standing: &Standing| standing.position.is_some_and(is_right);
        waiter.visitor.status_until("the place behind the first, who has a turn", is_told).await;
    }
    fleet.edges[1].tune(Change { total_active_users: Some(1000), ..Change::default() }).await;
    let mut turns = Vec::new();
    for waiter in &mut waiters[1..] {
        let turn = waiter.screen.next_of("queue.turn").await;
        turns.push(Micros::from_rfc3339(turn["claim_expires_at"].as_str().unwrap()).unwrap());
    }
    assert!(turns.is_sorted(), "turns in order of arrival: {turns:?}");
    given_by_the_rate(&turns);

    let mut entered = HashSet::new();
    for waiter in &mut waiters {
        assert_eq!(waiter.visitor.visit("/in").await.shows(), "GET /in");
        entered.insert(waiter.visitor.pass().unwrap().to_owned());
    }
    assert_eq!(entered.len(), WAITING, "a session each");
}

/// Turns by their deadlines, all one claim window after the tick that gave them: between any two ticks no more than
/// the rate allows in that time, and what may come at once. However often the store is called.
fn given_by_the_rate(turns: &[Micros]) {
    let a_second = u64::from(RATE) / 60;
    let at_once = a_second;
    for (index, &from) in turns.iter().enumerate() {
        for (count, &until) in (1..).zip(&turns[index..]) {
            // The wire has milliseconds.
            let millis = until.since(from).as_millis() as u64 + 1;
            let allowed = at_once + a_second * millis / 1000 + 1;
            assert!(count <= allowed, "{count} turns in {millis} ms, {allowed} allowed");
        }
    }
}

#[tokio::test]
async fn redis_is_killed_and_comes_back_empty_and_those_who_wait_keep_places_and_screens() {
    let (mut fleet, mut holder, mut waiters) = full_fleet(2, 20).await;
    for (index, waiter) in waiters.iter_mut().enumerate() {
        let is_placed = |standing: &Standing| standing.position == Some(index as u64 + 1);
        waiter.visitor.status_until("the place", is_placed).await;
    }
    fleet.redis.kill();
    let lost = |fleet: &Fleet| fleet.edges.iter().all(|edge| edge.hall().store_is_lost());
    until("both edges noticed", || lost(&fleet)).await;
    assert_eq!(holder.visit("/meanwhile").await.shows(), "GET /meanwhile", "passes need no store");
    for (index, waiter) in waiters.iter_mut().enumerate() {
        let standing = waiter.visitor.status().await;
        assert_eq!(
            (standing.position, standing.estimate),
            (Some(index as u64 + 1), None),
            "the place is kept"
        );
    }

    let before = fleet.lives();
    fleet.redis.restart();
    fleet.heal(&before).await;
    until_within("every place is back", HEALED, || fleet.in_line() == 20).await;
    assert_eq!(holder.call("POST leave").await.status, 204);
    for (index, waiter) in waiters.iter_mut().enumerate().skip(1) {
        let position = index as u64;
        let is_there = move |standing: &Standing| {
            standing.state == State::Waiting && standing.position == Some(position)
        };
        waiter.screen.standing("the place behind the first, who has a turn", is_there).await;
    }
}

#[tokio::test]
async fn a_line_measured_while_its_people_still_gather_is_shown_to_nobody() {
    let (site, _holder) = full("settle_window = \"0s\"").await;
    let mut visitors = [site.visitor(), site.visitor(), site.visitor()];
    for visitor in &mut visitors {
        visitor.join().await;
    }
    site.pass_time(Duration::from_secs(3)).await;
    let [.., last] = &mut visitors;
    assert_eq!(last.status().await.position, Some(3));
    let hall = site.hall();
    let known = hall.known().unwrap();
    let head = Head { seq: known.head.seq + 1, ..known.head };
    hall.hear(&Event {
        ruler: Some(Ruler::measure(1, [head.clock.0 + 1].into_iter())),
        settling_until: Some(head.clock + Duration::from_secs(3)),
        ..news(&known, head)
    });
    assert_eq!(last.status().await.position, Some(3));
}

#[tokio::test]
async fn a_session_that_ended_in_a_former_life_is_over_however_late_that_is_heard() {
    let (site, mut holder) = full("").await;
    let hall = site.hall();
    let known = hall.known().unwrap();
    let pass = site.ring().pass(holder.pass().unwrap(), hall.now()).unwrap();
    let head = Head { incarnation: Incarnation::from_random([7; 12]), step: 0, ..known.head };
    let revoked = vec![(pass.ticket, hall.now() + Duration::from_secs(60))];
    assert_eq!(hall.hear(&Event { revoked, ..news(&known, head) }), Heard::Old);
    assert!(holder.visit("/").await.is_page());
}

/// An event that says nothing new.
fn news(known: &Known, head: Head) -> Event {
    Event {
        head,
        counts: known.counts,
        control: known.control.clone(),
        turns: Vec::new(),
        lapsed: Vec::new(),
        revoked: Vec::new(),
        absent: Vec::new(),
        ruler: None,
        settling_until: None,
        nodes: Vec::new(),
    }
}
