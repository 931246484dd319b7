//! New settings under a running room.

use std::time::Duration;

use room::queue::Change;
use room::wire::{State, close};

use crate::rig::Origin;
use crate::site::{Site, full, until};

#[tokio::test]
async fn a_new_rate_applies_to_the_running_room_and_drops_nobody() {
    let (site, mut holder) = full("new_users_per_minute = 60").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    site.pass_time(Duration::from_secs(7)).await;
    let before = screen.standing("a place", |standing| standing.position.is_some()).await;
    assert_eq!(before.rate_per_minute, 60);

    site.reload("total_active_users = 5\nnew_users_per_minute = 600").await;
    let turn = screen.next_of("queue.turn").await;
    assert_eq!(turn["rate_per_minute"], 600);
    assert_eq!(visitor.visit("/").await.shows(), "GET /");
    assert_eq!(holder.visit("/").await.shows(), "GET /");
}

#[tokio::test]
async fn a_file_value_changed_later_wins_over_the_operators_and_an_unchanged_one_does_not() {
    let (site, _holder) = full("new_users_per_minute = 60").await;
    let rate = || site.hall().known().unwrap().control.new_users_per_minute;
    site.tune(Change { new_users_per_minute: Some(120), ..Change::default() }).await;
    until("the operator's rate", || rate() == 120).await;
    site.reload("total_active_users = 1\nnew_users_per_minute = 60\nmax_waiting = 5").await;
    assert_eq!(site.hall().settings().rules.max_waiting, 5, "the rest of the file is in force");
    assert_eq!(rate(), 120);
    site.reload("total_active_users = 1\nnew_users_per_minute = 90").await;
    until("the file's rate", || rate() == 90).await;
}

#[tokio::test]
async fn a_new_upstream_serves_the_next_request_of_a_session() {
    let (site, mut holder) = full("").await;
    let other = Origin::start().await;
    let room = "[room.e1]\nupstream = [\"http://ORIGIN\"]\ntotal_active_users = 1";
    site.reload_whole(&room.replace("ORIGIN", &other.address.to_string())).await;
    assert_eq!(holder.visit("/new").await.shows(), "GET /new");
    assert_eq!(other.only().target, "/new");
}

#[tokio::test]
async fn a_room_that_appears_is_served_and_one_that_goes_is_no_more() {
    let site = Site::open("match = [{ path = \"/one\" }]\nqueue_all = true").await;
    let mut waiting = site.visitor();
    waiting.join().await;
    let mut screen = waiting.watch().await;
    assert_eq!(site.visitor().visit("/two").await.status, 404);
    let two = "[room.e2]\nupstream = [\"http://ORIGIN\"]\nmatch = [{ path = \"/two\" }]";
    site.reload_whole(two).await;
    assert_eq!(site.visitor().visit("/two").await.shows(), "GET /two");
    screen.next_of("server.bye").await;
    assert_eq!(screen.closed().await, close::RESTART, "whoever waited is not left with a silent screen");
    assert_eq!(site.visitor().visit("/one").await.status, 404);
    assert_eq!(site.visitor().call("POST join?room=e1").await.status, 404);
}

#[tokio::test]
async fn waiting_goes_on_through_many_reloads() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    for max_waiting in 10..30 {
        site.reload(&format!("total_active_users = 1\nmax_waiting = {max_waiting}")).await;
    }
    site.pass_time(Duration::from_secs(7)).await;
    let standing = screen.standing("a place", |standing| standing.state == State::Waiting).await;
    assert_eq!(standing.position, Some(1));
}
