//! Waiting: places, positions, presence.

use std::time::Duration;

use room::wire::State;

use crate::site::{Site, full, until};

#[tokio::test]
async fn join_takes_the_place_once_and_reads_it_again_after() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    let first = visitor.call("POST join").await;
    assert_eq!(first.status, 201);
    let token = first.standing().ticket.expect("a ticket in the body");
    assert_eq!(Some(token.as_str()), visitor.ticket(), "and the same one in the cookie");
    let again = visitor.call("POST join").await;
    assert_eq!((again.status, again.standing().ticket), (200, Some(token)));
    assert_eq!(site.survey().await.waiting, 1);
}

#[tokio::test]
async fn a_standing_has_every_field_of_the_contract() {
    let (site, _holder) = full("").await;
    let answer = site.visitor().call("POST join").await.json();
    let mut names: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "ahead",
        "as_of",
        "claim_expires_at",
        "close_reason",
        "estimate",
        "message",
        "next_update_seconds",
        "opens_at",
        "paused",
        "position",
        "progress",
        "rate_per_minute",
        "room",
        "state",
        "ticket",
        "waiting",
    ];
    assert_eq!(names, expected);
    assert_eq!((answer["room"].as_str(), answer["state"].as_str()), (Some("e1"), Some("securing")));
    assert_eq!(answer["rate_per_minute"], 600);
}

#[tokio::test]
async fn a_place_is_secured_first_and_then_shown_in_order_of_arrival() {
    let (site, _holder) = full("").await;
    let mut visitors = [site.visitor(), site.visitor(), site.visitor()];
    for visitor in &mut visitors {
        let standing = visitor.join().await;
        assert_eq!((standing.state, standing.position), (State::Securing, None));
    }
    site.pass_time(Duration::from_secs(7)).await;
    for (index, visitor) in visitors.iter_mut().enumerate() {
        let standing = visitor.status().await;
        let position = index as u64 + 1;
        assert_eq!((standing.state, standing.position), (State::Waiting, Some(position)));
        assert_eq!((standing.ahead, standing.waiting), (Some(position - 1), 3));
        let estimate = standing.estimate.expect("an estimate");
        assert!(estimate.p50_seconds <= estimate.p90_seconds);
        assert_eq!(standing.progress, Some(0.0));
    }
}

#[tokio::test]
async fn the_place_is_that_of_the_first_contact_not_of_the_moment_it_was_taken() {
    let (site, _holder) = full("").await;
    let mut early = site.visitor();
    early.visit("/").await;
    let mut late = site.visitor();
    late.visit("/").await;
    assert_eq!(late.call("POST join").await.status, 201);
    early.call("POST join").await;
    site.pass_time(Duration::from_secs(7)).await;
    assert_eq!(early.status().await.position, Some(1));
    assert_eq!(late.status().await.position, Some(2));
}

#[tokio::test]
async fn a_position_that_was_shown_never_grows() {
    let (site, _holder) = full("").await;
    let mut slow = site.visitor();
    slow.visit("/").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    site.pass_time(Duration::from_secs(7)).await;
    assert_eq!(visitor.status().await.position, Some(1));
    assert_eq!(slow.call("POST join").await.status, 201, "within the confirm window, so in front");
    for _ in 0..2 {
        site.pass_time(Duration::from_secs(5)).await;
        assert_eq!(visitor.status().await.position, Some(1));
        let pushed = screen.standing("a place", |standing| standing.waiting == 2).await;
        assert_eq!(pushed.position, Some(1));
    }
    assert_eq!(slow.status().await.position, Some(1));
}

#[tokio::test]
async fn those_who_ask_keep_their_place_and_those_who_went_away_give_it_back() {
    let (site, _holder) = full("").await;
    let (mut present, mut absent) = (site.visitor(), site.visitor());
    absent.join().await;
    present.join().await;
    for _ in 0..4 {
        site.pass_time(Duration::from_secs(6)).await;
        present.status().await;
    }
    until("the absent one is out of the line", || site.counts().waiting == 1).await;
    let standing = present.status_until("the first place", |standing| standing.position == Some(1)).await;
    assert_eq!(standing.waiting, 1);
    let back = absent.call("POST join").await;
    assert_eq!(back.status, 201, "the ticket is as good as before");
    site.pass_time(Duration::from_secs(2)).await;
    absent.status_until("its old place", |standing| standing.position == Some(1)).await;
}

#[tokio::test]
async fn a_page_that_reloads_is_present_too() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    for _ in 0..4 {
        assert!(visitor.visit("/").await.is_page());
        site.pass_time(Duration::from_secs(6)).await;
    }
    assert_eq!(site.survey().await.waiting, 1);
    assert!(visitor.visit("/").await.text().contains("You are number 1 of 1"), "words without scripts");
}

#[tokio::test]
async fn a_ticket_that_comes_back_too_late_gets_a_fresh_stamp_whatever_the_call() {
    let (site, _holder) = full("confirm_window = \"5s\"").await;
    for call in ["POST join", "GET status", "POST enter", "page", "socket"] {
        let mut visitor = site.visitor();
        visitor.visit("/").await;
        let now = site.hall().now();
        let before = site.ring().ticket(visitor.ticket().unwrap(), now).unwrap();
        site.pass_time(Duration::from_secs(6)).await;
        match call {
            "page" => drop(visitor.visit("/").await),
            "socket" => drop(visitor.watch().await),
            call => drop(visitor.call(call).await),
        }
        let after = site.ring().ticket(visitor.ticket().unwrap(), now).unwrap();
        assert!(
            after.stamp.since(before.stamp) >= Duration::from_secs(6),
            "{call}: the late ticket kept its stamp"
        );
    }
}

#[tokio::test]
async fn hosted_rooms_field_names_come_to_those_who_accept_them() {
    let (site, _holder) = full("").await;
    let hosted = [("accept", "application/vnd.waiting-room+json")];
    let answer = site.visitor().request("GET", "/", &hosted, "").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), "application/vnd.waiting-room+json");
    let body = answer.json();
    for (name, is_right) in [
        ("inWaitingRoom", body["inWaitingRoom"] == true),
        ("waitTime", body["waitTime"].is_u64()),
        ("waitTimeKnown", body["waitTimeKnown"] == false),
        ("queueIsFull", body["queueIsFull"] == false),
        ("refreshIntervalSeconds", body["refreshIntervalSeconds"].is_u64()),
    ] {
        assert!(is_right, "{name}: {body}");
    }
    assert_eq!(body["state"], "securing", "beside our own names");
    assert!(site.visitor().fetch("/").await.json().get("inWaitingRoom").is_none());
}

#[tokio::test]
async fn a_line_at_its_cap_keeps_the_stamp_and_takes_the_visitor_later() {
    let (site, _holder) = full("max_waiting = 1").await;
    let mut first = site.visitor();
    first.visit("/").await;
    let mut second = site.visitor();
    second.visit("/").await;
    let stamp = |token: &str| site.ring().ticket(token, site.hall().now()).unwrap().stamp;
    let before = stamp(second.ticket().unwrap());
    assert_eq!(first.call("POST join").await.status, 201);

    let refused = second.visit("/").await;
    assert_eq!(refused.status, 503);
    assert!(refused.is_page() && refused.retry_after() >= 1);
    assert_eq!(second.fetch("/").await.code(), "full");
    let refused = second.call("POST join").await;
    assert_eq!((refused.status, refused.code()), (503, "full".into()));
    assert!(refused.retry_after() >= 1);
    assert_eq!(stamp(second.ticket().unwrap()), before);

    assert_eq!(first.call("POST leave").await.status, 204);
    assert_eq!(second.call("POST join").await.status, 201);
    assert_eq!(stamp(second.ticket().unwrap()), before, "the stamp was kept");
}

#[tokio::test]
async fn a_place_that_is_left_is_given_to_the_next() {
    let (site, _holder) = full("").await;
    let (mut first, mut second) = (site.visitor(), site.visitor());
    first.join().await;
    second.join().await;
    site.pass_time(Duration::from_secs(7)).await;
    assert_eq!(second.status().await.position, Some(2));
    assert_eq!(first.call("DELETE leave").await.status, 204);
    assert!(first.ticket().is_none(), "the ticket's cookie is taken away");
    second.status().await;
    site.pass_time(Duration::from_secs(2)).await;
    assert_eq!(second.status().await.position, Some(1));
}

#[tokio::test]
async fn an_open_room_gives_those_who_joined_their_turns_in_order() {
    let site = Site::open("new_users_per_minute = 6000\nclaim_window = \"30s\"").await;
    let mut visitors: Vec<_> = (0..5).map(|_| site.visitor()).collect();
    for visitor in &mut visitors {
        visitor.join().await;
    }
    for visitor in &mut visitors {
        let standing = visitor.status_until("a turn", |standing| standing.state == State::Turn).await;
        assert!(standing.claim_expires_at.is_some());
    }
}

#[tokio::test]
async fn the_first_hundred_hear_of_every_step_long_before_their_next_update_is_due() {
    let (site, _holder) = full("settle_window = \"0s\"").await;
    let mut visitors = [site.visitor(), site.visitor(), site.visitor()];
    for visitor in &mut visitors {
        visitor.join().await;
    }
    let [first, _, last] = &mut visitors;
    let mut screen = last.watch().await;
    let shown = screen.standing("the third place", |standing| standing.position == Some(3)).await;
    assert_eq!(shown.next_update_seconds, 5, "the one slot is taken for long");
    let told = std::time::Instant::now();
    assert_eq!(first.call("DELETE leave").await.status, 204);
    screen.standing("a step forward", |standing| standing.position == Some(2)).await;
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
}
