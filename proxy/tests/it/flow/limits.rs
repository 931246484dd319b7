//! Limits per client and per address: only they answer 429.

use std::time::Duration;

use crate::rig::Origin;
use crate::site::{Site, full};

const CLIENTS: &str = "[room.e1.limits]\nper_client = { per_second = 1, burst = 3 }";

#[tokio::test]
async fn a_client_over_its_limit_is_told_when_to_come_back() {
    let site = Site::open(CLIENTS).await;
    let mut visitor = site.visitor();
    for _ in 0..3 {
        assert_eq!(visitor.fetch("/").await.status, 200);
    }
    let mut limited = visitor.fetch("/").await;
    // The first was counted by address, the others by session.
    if limited.status == 200 {
        limited = visitor.fetch("/").await;
    }
    assert_eq!((limited.status, limited.code()), (429, "limited".into()));
    assert!((1..=2).contains(&limited.retry_after()));
    assert_eq!(limited.header("ratelimit-policy"), "\"client\";q=1;w=1");
    assert!(limited.header("ratelimit").starts_with("\"client\";r=0;t="), "{}", limited.header("ratelimit"));
    assert_eq!(limited.header("content-type"), "application/problem+json");
    site.pass_time(Duration::from_secs(2)).await;
    assert_eq!(visitor.fetch("/").await.status, 200);
}

#[tokio::test]
async fn sessions_behind_one_address_have_a_limit_each() {
    let site = Site::open("[room.e1.limits]\nper_client = { per_second = 1, burst = 4 }").await;
    let mut visitors = [site.visitor(), site.visitor(), site.visitor()];
    for visitor in &mut visitors {
        assert_eq!(visitor.fetch("/").await.status, 200);
    }
    for visitor in &mut visitors {
        for request in 0..4 {
            assert_eq!(visitor.fetch("/").await.status, 200, "{request}");
        }
        assert_eq!(visitor.fetch("/").await.status, 429);
    }
}

#[tokio::test]
async fn calls_are_limited_like_every_other_request() {
    let (site, _holder) = full(CLIENTS).await;
    let mut visitor = site.visitor();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(visitor.call("POST join").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}

const JOINS: &str = "[room.e1.limits]\njoins_per_address = { per_minute = 6, burst = 2 }";

#[tokio::test]
async fn over_the_joins_of_an_address_the_stamp_is_kept_and_taken_later() {
    // The holder's own entry is the first of two.
    let (site, _holder) = full(JOINS).await;
    site.visitor().join().await;
    let mut visitor = site.visitor();
    let page = visitor.visit("/").await;
    assert!(page.is_page() && page.status == 200, "a page, no 429");
    let stamp = |token: &str| site.ring().ticket(token, site.hall().now()).unwrap().stamp;
    let before = stamp(visitor.ticket().unwrap());

    let refused = visitor.visit("/").await;
    assert!(refused.is_page() && refused.status == 200);
    assert!(refused.retry_after() >= 5, "{}", refused.retry_after());
    let refused = visitor.call("POST join").await;
    assert_eq!((refused.status, refused.code()), (429, "limited".into()));
    assert_eq!(refused.header("ratelimit-policy"), "\"joins\";q=6;w=60");
    assert!(refused.retry_after() >= 5);
    for call in ["GET status", "POST enter"] {
        assert_eq!(visitor.call(call).await.status, 429, "{call} takes a place as well");
    }
    assert_eq!(visitor.watch_from(None).await.err(), Some(429));
    assert_eq!(stamp(visitor.ticket().unwrap()), before);
    assert_eq!(site.survey().await.waiting, 1);

    site.pass_time(Duration::from_secs(11)).await;
    assert_eq!(visitor.call("POST join").await.status, 201);
    assert_eq!(stamp(visitor.ticket().unwrap()), before);
}

#[tokio::test]
async fn being_let_in_at_once_counts_as_a_join() {
    let site = Site::open(JOINS).await;
    for _ in 0..2 {
        assert_eq!(site.visitor().visit("/").await.shows(), "GET /");
    }
    assert!(site.visitor().visit("/").await.is_page());
    assert_eq!(site.survey().await.entered, 2);
}

#[tokio::test]
async fn a_place_that_is_held_is_read_again_without_limit_of_joins() {
    let (site, _holder) = full(JOINS).await;
    let mut visitor = site.visitor();
    visitor.join().await;
    for _ in 0..5 {
        assert_eq!(visitor.call("POST join").await.status, 200);
    }
}

#[tokio::test]
async fn addresses_are_told_apart_as_trusted_proxies_say_and_not_as_strangers_say() {
    let room = "[room.e1]\nupstream = [\"http://ORIGIN\"]\n[room.e1.limits]\njoins_per_address = { per_minute = 1, burst = 1 }";
    let trusting = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{room}");
    for (text, let_in) in [(trusting.as_str(), 3), (room, 1)] {
        let site = Site::with(Origin::start().await, text).await;
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            site.visitor().with("x-forwarded-for", address).visit("/").await;
        }
        assert_eq!(site.survey().await.entered, let_in, "{text}");
    }
}
