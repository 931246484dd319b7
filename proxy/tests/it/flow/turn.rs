//! The turn: claimed, kept, missed.

use std::time::Duration;

use room::time::Micros;
use room::wire::State;

use crate::site::{Site, Visitor, full, until};

/// Somebody whose turn it is in an open room.
async fn with_turn(site: &Site) -> Visitor {
    let mut visitor = site.visitor();
    visitor.join().await;
    visitor.status_until("the turn", |standing| standing.state == State::Turn).await;
    visitor
}

#[tokio::test]
async fn enter_gives_the_pass_and_again_the_same_session() {
    let site = Site::open("").await;
    let mut visitor = with_turn(&site).await;
    let first = visitor.call("POST enter").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let entered = first.json();
    assert_eq!(entered["token"].as_str(), visitor.pass(), "in the body and in the cookie");
    let ends = Micros::from_rfc3339(entered["expires_at"].as_str().unwrap()).unwrap();
    let left = ends.since(site.hall().now());
    assert!(left > Duration::from_secs(590) && left <= Duration::from_secs(601), "{left:?}");
    let again = visitor.call("POST enter").await;
    assert_eq!((again.status, again.json()), (200, entered));
    assert_eq!(visitor.visit("/").await.shows(), "GET /");
    assert_eq!(site.survey().await.entered, 1);
}

#[tokio::test]
async fn a_reload_at_ones_turn_claims_and_is_forwarded() {
    let site = Site::open("").await;
    let mut visitor = with_turn(&site).await;
    let shop = visitor.visit("/shop?item=1").await;
    assert_eq!((shop.status, shop.shows().as_str()), (200, "GET /shop?item=1"));
    assert_eq!(site.origin.only().one("vestibule-pass"), visitor.pass().unwrap());
    assert_eq!(visitor.call("GET status").await.standing().state, State::Admitted);
}

#[tokio::test]
async fn whoever_is_not_next_is_told_to_ask_again() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let answer = visitor.call("POST enter").await;
    assert_eq!((answer.status, answer.code()), (409, "not-yet".into()));
    assert!(answer.retry_after() >= 1);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(visitor.pass().is_none());
}

#[tokio::test]
async fn a_missed_turn_may_come_back_as_often_as_the_room_allows_and_is_then_gone() {
    let site = Site::open("claim_window = \"2s\"\nmissed_turns = 1").await;
    let mut visitor = with_turn(&site).await;
    site.pass_time(Duration::from_secs(4)).await;
    until("the turn has lapsed", || site.counts().lapsed == 1).await;
    let back = visitor.call("POST join").await;
    assert_eq!(back.status, 201, "{}", back.text());
    visitor.status_until("a second turn", |standing| standing.state == State::Turn).await;
    site.pass_time(Duration::from_secs(4)).await;
    until("the second turn has lapsed", || site.counts().lapsed == 2).await;
    let gone = visitor.call("POST enter").await;
    assert_eq!((gone.status, gone.code()), (410, "gone".into()));
    let anew = visitor.call("POST join").await;
    assert_eq!(anew.status, 201, "a new place, behind everybody");
    assert_eq!(site.survey().await.entered, 0);
}

#[tokio::test]
async fn a_turn_that_is_left_goes_to_the_next() {
    let (site, mut holder) = full("claim_window = \"1h\"").await;
    let (mut first, mut second) = (site.visitor(), site.visitor());
    first.join().await;
    second.join().await;
    holder.call("POST leave").await;
    site.pass_time(Duration::from_secs(2)).await;
    first.status_until("the first turn", |standing| standing.state == State::Turn).await;
    assert_ne!(second.status().await.state, State::Turn, "there is one slot");
    assert_eq!(first.call("POST leave").await.status, 204);
    second.status_until("the turn that was given back", |standing| standing.state == State::Turn).await;
}

#[tokio::test]
async fn a_ticket_buys_one_session() {
    let site = Site::open("").await;
    let mut visitor = with_turn(&site).await;
    let ticket = visitor.ticket().unwrap().to_owned();
    assert_eq!(visitor.call("POST enter").await.status, 200);
    let mut copy = site.visitor().with_cookie("vestibule_ticket_e1", &ticket);
    assert_eq!(copy.call("POST enter").await.json()["token"].as_str(), visitor.pass(), "the same session");
    assert_eq!(visitor.call("POST leave").await.status, 204);
    let mut copy = site.visitor().with_cookie("vestibule_ticket_e1", &ticket);
    site.pass_time(Duration::from_secs(2)).await;
    assert_eq!(copy.call("POST enter").await.status, 410, "and none after it");
    assert_eq!(site.survey().await.entered, 1);
}
