//! `on_store_loss = "open"`: each edge goes on with its share.

use std::time::Duration;

use room::queue::{Change, PauseRequest};
use room::wire::State;
use vestibule::hall::Reach;

use super::{Fleet, MANY, Waiter, shopper};
use crate::site::{Visitor, until};

async fn open_fleet(slots: u32) -> Fleet {
    let room = format!(
        "on_store_loss = \"open\"\ntotal_active_users = {slots}\nsettle_window = \"0s\"\n\
         new_users_per_minute = 6000\n{MANY}"
    );
    Fleet::open(2, &room).await
}

/// As many as one edge lets in, one after the other.
async fn let_in(fleet: &Fleet, edge: usize, most: usize) -> Vec<Visitor> {
    let mut inside = Vec::new();
    for _ in 0..most {
        let mut visitor = fleet.edges[edge].visitor();
        if visitor.visit("/").await.shows() == "GET /" {
            inside.push(visitor);
        }
    }
    inside
}

#[tokio::test]
async fn each_edge_goes_on_with_its_share_and_brings_its_people_back() {
    let mut fleet = open_fleet(4).await;
    fleet.edges[0].tune(Change { new_users_per_minute: Some(3000), ..Change::default() }).await;
    let control = fleet.edges[0].hall().link.survey(false).await.unwrap().control;
    let heard = || fleet.edges.iter().all(|edge| edge.hall().known().is_some_and(|k| k.control == control));
    until("both edges heard of it", heard).await;
    let mut early = shopper(&fleet.edges[0]).await;
    fleet.redis.kill();
    fleet.reach(Reach::Alone).await;
    for edge in &fleet.edges {
        let limits = || {
            let control = edge.hall().known().unwrap().control.clone();
            (control.new_users_per_minute, control.total_active_users)
        };
        until("the room at this edge began", || limits().0 < 3000).await;
        assert_eq!(limits(), (1500, 2), "a half");
        until("the room at this edge has settled", || edge.is_settled()).await;
    }
    let mut inside = let_in(&fleet, 0, 5).await;
    assert_eq!(inside.len(), 1, "with the one before, half of the slots");
    inside.extend(let_in(&fleet, 1, 5).await);
    assert_eq!(inside.len(), 3, "the other half is the other edge's");
    let mut waiters = [Waiter::at(&fleet.edges[0]).await, Waiter::at(&fleet.edges[1]).await];
    for waiter in &mut waiters {
        waiter.visitor.status_until("a place", |standing| standing.position == Some(1)).await;
    }
    assert_eq!(inside[2].call("POST leave").await.status, 204);
    waiters[1].screen.next_of("queue.turn").await;
    assert_eq!(waiters[1].visitor.visit("/in").await.shows(), "GET /in", "the turn is this edge's to give");
    early.edge = fleet.edges[1].address;
    assert_eq!(early.visit("/there").await.shows(), "GET /there");

    let before = fleet.lives();
    fleet.redis.restart();
    fleet.heal(&before).await;
    fleet.reach(Reach::Here).await;
    let survey = fleet.edges[1].hall().link.survey(false).await.unwrap();
    assert_eq!(survey.control, control, "the limits of the whole room");
    assert_eq!((survey.counts.active, survey.counts.waiting), (4, 1));
    assert_eq!(waiters[0].visitor.status().await.state, State::Waiting);
    for shopper in inside.iter_mut().take(2).chain([&mut early]) {
        assert_eq!(shopper.visit("/still").await.shows(), "GET /still");
    }
    assert_eq!(inside[1].call("POST leave").await.status, 204, "at the other edge");
    waiters[0].screen.next_of("queue.turn").await;
}

#[tokio::test]
async fn a_room_that_nobody_ever_tuned_is_shared_out_too_and_is_as_it_was_afterwards() {
    let mut fleet = open_fleet(4).await;
    let control = fleet.edges[0].hall().link.survey(false).await.unwrap().control;
    assert_eq!((control.version, control.total_active_users), (1, 4));
    fleet.redis.kill();
    fleet.reach(Reach::Alone).await;
    for edge in &fleet.edges {
        let slots = || edge.hall().known().map(|known| known.control.total_active_users);
        until("the room at this edge began with its half", || slots() == Some(2)).await;
        until("the room at this edge has settled", || edge.is_settled()).await;
    }
    assert_eq!(let_in(&fleet, 0, 4).await.len(), 2);
    let before = fleet.lives();
    fleet.redis.restart();
    fleet.heal(&before).await;
    fleet.reach(Reach::Here).await;
    for edge in &fleet.edges {
        assert_eq!(edge.hall().link.survey(false).await.unwrap().control, control);
        until("the limits of the whole are heard", || edge.hall().known().unwrap().control == control).await;
    }
}

#[tokio::test]
async fn an_edge_alone_obeys_the_pause_that_it_knows() {
    let mut fleet = open_fleet(4).await;
    let pause = PauseRequest { reason: Some("soon".into()) };
    fleet.edges[0].tune(Change { paused: Some(Some(pause)), ..Change::default() }).await;
    let paused =
        || fleet.edges.iter().all(|edge| edge.hall().known().is_some_and(|k| k.control.paused.is_some()));
    until("both edges know", paused).await;
    fleet.redis.kill();
    fleet.reach(Reach::Alone).await;
    let mut waiter = Waiter::at(&fleet.edges[0]).await;
    let seq = || fleet.edges[0].hall().known().unwrap().head.seq;
    let since = seq();
    until("twenty ticks", || seq() >= since + 20).await;
    let standing = waiter.visitor.status().await;
    assert_eq!((standing.state, standing.paused.is_some()), (State::Waiting, true));
    assert!(fleet.edges[1].visitor().visit("/").await.is_page());
}

#[tokio::test]
async fn a_hiccup_of_the_store_sends_no_edge_alone() {
    let fleet = open_fleet(4).await;
    fleet.redis.freeze();
    fleet.reach(Reach::Away).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    fleet.redis.thaw();
    let before = fleet.lives();
    fleet.reach(Reach::Here).await;
    assert_eq!(fleet.lives(), before, "the same life goes on");
    assert_eq!(let_in(&fleet, 0, 3).await.len(), 3);
}
