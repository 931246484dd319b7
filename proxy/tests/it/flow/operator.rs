//! What the operator does to a room reaches those who wait in it.

use std::time::Duration;

use room::queue::{Change, Mode, PauseRequest};
use room::wire::State;

use crate::site::{Site, full, until};

fn paused(reason: Option<&str>) -> Change {
    let request = reason.map(|reason| PauseRequest { reason: Some(reason.into()) });
    Change { paused: Some(request), ..Change::default() }
}

#[tokio::test]
async fn a_pause_and_its_end_reach_the_open_socket() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    site.pass_time(Duration::from_secs(7)).await;
    screen.standing("an estimate", |standing| standing.estimate.is_some()).await;

    site.tune(paused(Some("the shop is slow"))).await;
    let told = screen.next_of("queue.paused").await;
    assert_eq!(told["paused"]["reason"], "the shop is slow");
    assert!(told["paused"]["since"].is_string());
    let standing = screen.standing("the pause", |standing| standing.paused.is_some()).await;
    assert_eq!((standing.estimate, standing.position), (None, Some(1)), "the place is kept");

    site.tune(paused(None)).await;
    assert!(screen.next_of("queue.paused").await["paused"].is_null());
    screen
        .standing("an estimate again", |standing| standing.paused.is_none() && standing.estimate.is_some())
        .await;
}

#[tokio::test]
async fn a_paused_room_gives_no_turns_and_lets_nobody_in() {
    let site = Site::open("").await;
    site.tune(paused(Some("soon"))).await;
    until("the edge knows", || site.hall().known().is_some_and(|known| known.control.paused.is_some())).await;
    let mut visitor = site.visitor();
    assert!(visitor.visit("/").await.is_page(), "though nobody waits");
    visitor.call("POST join").await;
    site.pass_time(Duration::from_secs(10)).await;
    let standing = visitor.status().await;
    assert_eq!((standing.state, standing.estimate), (State::Waiting, None));
    site.tune(paused(None)).await;
    visitor.status_until("the turn", |standing| standing.state == State::Turn).await;
}

#[tokio::test]
async fn the_operators_words_reach_the_open_socket_and_every_standing() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    site.tune(Change { message: Some(Some("Back row only".into())), ..Change::default() }).await;
    assert_eq!(screen.next_of("queue.message").await["message"], "Back row only");
    assert_eq!(visitor.status().await.message.as_deref(), Some("Back row only"));
    site.tune(Change { message: Some(None), ..Change::default() }).await;
    assert!(screen.next_of("queue.message").await["message"].is_null());
}

#[tokio::test]
async fn a_closed_room_takes_nobody_and_those_inside_go_on() {
    let (site, mut holder) = full("").await;
    let mut waiting = site.visitor();
    waiting.join().await;
    let mut screen = waiting.watch().await;
    site.tune(Change { mode: Some(Mode::Closed), ..Change::default() }).await;
    screen.standing("that it is closed", |standing| standing.state == State::Closed).await;

    let page = site.visitor().visit("/").await;
    assert_eq!(page.status, 503);
    assert!(page.is_page() && page.text().contains("closed"));
    assert_eq!(page.set_cookies(), [""; 0]);
    let answer = site.visitor().fetch("/").await;
    assert_eq!(
        (answer.status, answer.code(), answer.standing().state),
        (503, "closed".into(), State::Closed)
    );
    let refused = site.visitor().call("POST join").await;
    assert_eq!((refused.status, refused.code()), (503, "closed".into()), "no new places either");
    assert_eq!(site.survey().await.waiting, 1);
    assert_eq!(holder.visit("/").await.shows(), "GET /");

    site.tune(Change { mode: Some(Mode::Open), ..Change::default() }).await;
    screen.standing("that it is open again", |standing| standing.state != State::Closed).await;
}

#[tokio::test]
async fn a_draining_room_gives_no_turns_and_lets_sessions_end() {
    let (site, mut holder) = full("").await;
    let mut waiting = site.visitor();
    waiting.join().await;
    site.tune(Change { mode: Some(Mode::Drain), ..Change::default() }).await;
    holder.call("POST leave").await;
    site.pass_time(Duration::from_secs(10)).await;
    assert_eq!(waiting.status().await.state, State::Waiting);
    assert_eq!(site.survey().await.active, 0);
}

#[tokio::test]
async fn a_change_of_the_rate_is_in_the_next_standing() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    site.tune(Change { new_users_per_minute: Some(1234), ..Change::default() }).await;
    visitor.status_until("the new rate", |standing| standing.rate_per_minute == 1234).await;
}
