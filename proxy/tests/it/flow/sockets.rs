//! The waiting screen: what the socket says, and when it closes.

use std::time::Duration;

use room::wire::{State, close};

use crate::site::{Site, full};

#[tokio::test]
async fn the_first_socket_takes_the_place_and_its_101_carries_the_confirmed_ticket() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    let unconfirmed = visitor.ticket().unwrap().to_owned();
    let mut screen = visitor.watch().await;
    assert_ne!(visitor.ticket(), Some(unconfirmed.as_str()));
    let first = screen.next().await.unwrap();
    assert_eq!((first["type"].as_str(), first["state"].as_str()), (Some("queue.update"), Some("securing")));
    assert_eq!(site.survey().await.waiting, 1);
}

/// The whole way of one visitor, as the waiting page goes it.
#[tokio::test]
async fn a_screen_shows_securing_then_places_that_never_grow_then_the_turn_which_a_reload_claims() {
    let (site, mut holder) = full("claim_window = \"30s\"").await;
    let mut ahead = [site.visitor(), site.visitor()];
    for visitor in &mut ahead {
        visitor.join().await;
    }
    let mut visitor = site.visitor();
    visitor.visit("/tickets").await;
    let mut screen = visitor.watch().await;
    let securing = screen.standing("securing", |standing| standing.state == State::Securing).await;
    assert_eq!(securing.position, None);
    site.pass_time(Duration::from_secs(7)).await;
    let mut least =
        screen.standing("a place", |standing| standing.state == State::Waiting).await.position.unwrap();
    assert_eq!(least, 3);
    for visitor in &mut ahead {
        visitor.call("POST leave").await;
        site.pass_time(Duration::from_secs(4)).await;
        let shown = screen.standing("a better place", |standing| standing.position < Some(least)).await;
        least = shown.position.unwrap();
    }
    assert_eq!(least, 1);
    holder.call("POST leave").await;
    site.pass_time(Duration::from_secs(2)).await;
    let turn = screen.next_of("queue.turn").await;
    assert_eq!(turn["state"], "turn");
    assert!(turn["claim_expires_at"].is_string());

    let shop = visitor.visit("/tickets").await;
    assert_eq!(shop.shows(), "GET /tickets");
    let forwarded = site.origin.requests().pop().unwrap();
    let keys = visitor.call("GET jwks.json").await.text();
    let verifier = room::token::PassVerifier::from_jwks(&keys).unwrap();
    let pass = verifier.verify(&forwarded.one("vestibule-pass"), site.hall().now()).unwrap();
    assert_eq!(pass.visitor.to_string(), forwarded.one("vestibule-visitor"));
    assert_eq!(pass.room.as_str(), "e1");
    assert_eq!(screen.standing("the end", |standing| standing.state == State::Admitted).await.position, None);
    assert_eq!(screen.closed().await, 1000);
}

#[tokio::test]
async fn an_open_socket_is_presence() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let screen = visitor.watch().await;
    site.pass_time(Duration::from_secs(40)).await;
    assert_eq!(site.survey().await.waiting, 1);
    screen.close().await;
    site.pass_time_until("the place is given back", || site.counts().waiting == 0).await;
}

#[tokio::test]
async fn a_turn_that_lapses_is_told_and_closes_the_screen() {
    let site = Site::open("claim_window = \"2s\"").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    screen.next_of("queue.turn").await;
    site.pass_time(Duration::from_secs(4)).await;
    screen.standing("that it is over", |standing| standing.state == State::Expired).await;
    assert_eq!(screen.closed().await, 1000);
}

#[tokio::test]
async fn three_screens_of_a_ticket_may_be_open_and_the_fourth_closes_the_oldest() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut oldest = visitor.watch().await;
    let mut others = [visitor.watch().await, visitor.watch().await, visitor.watch().await];
    assert_eq!(oldest.closed().await, close::REPLACED);
    site.pass_time(Duration::from_secs(7)).await;
    for screen in &mut others {
        screen.standing("a place on each of the three", |standing| standing.position == Some(1)).await;
    }
    assert_eq!(site.survey().await.waiting, 1);
}

#[tokio::test]
async fn a_page_of_another_site_may_not_open_the_socket() {
    let room = "allowed_origins = [\"https://partner.example\"]\nmatch = [{ host = \"shop.example\" }, { host = \"www.shop.example\" }]";
    let (site, _holder) = full(room).await;
    let mut visitor = site.visitor();
    visitor.join().await;
    for allowed in [
        "https://shop.example",
        "http://shop.example:8080",
        "https://www.shop.example",
        "https://partner.example",
    ] {
        assert!(visitor.watch_from(Some(allowed)).await.is_ok(), "{allowed}");
    }
    for foreign in [
        "https://evil.example",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "http://partner.example",
        "https://partner.example:444",
        "null",
    ] {
        assert_eq!(visitor.watch_from(Some(foreign)).await.err(), Some(403), "{foreign}");
    }
}

#[tokio::test]
async fn without_a_usable_ticket_the_socket_says_so_and_closes() {
    let (site, _holder) = full("").await;
    assert_eq!(site.visitor().watch().await.closed().await, close::NO_TICKET);
    let mut forged = site.visitor().with_cookie("vestibule_ticket_e1", "not.a.ticket");
    assert_eq!(forged.watch().await.closed().await, close::NO_TICKET);
    assert_eq!(site.survey().await.waiting, 0);
}

#[tokio::test]
async fn a_socket_into_a_full_line_is_asked_to_come_later() {
    let (site, _holder) = full("max_waiting = 1").await;
    site.visitor().join().await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    assert_eq!(visitor.watch().await.closed().await, close::FULL);
}

#[tokio::test]
async fn whoever_is_in_already_is_told_so_and_keeps_the_pass() {
    let site = Site::open("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    visitor.status_until("the turn", |standing| standing.state == State::Turn).await;
    assert_eq!(visitor.call("POST enter").await.status, 200);
    let mut screen = visitor.watch().await;
    screen.standing("that one is in", |standing| standing.state == State::Admitted).await;
    assert_eq!(screen.closed().await, 1000);
}

#[tokio::test]
async fn clients_may_ping_and_acknowledge_and_talk_nonsense() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    for text in
        [r#"{"type":"client.ping"}"#, r#"{"type":"client.ack"}"#, "nonsense", r#"{"type":"queue.turn"}"#]
    {
        screen.say(text).await;
    }
    site.pass_time(Duration::from_secs(7)).await;
    screen.standing("places go on", |standing| standing.position == Some(1)).await;
}

#[tokio::test]
async fn a_stopping_edge_says_when_to_come_back() {
    let (site, _holder) = full("").await;
    let mut screens = Vec::new();
    for _ in 0..5 {
        let mut visitor = site.visitor();
        visitor.join().await;
        screens.push(visitor.watch().await);
    }
    site.begin_stop();
    let mut moments = Vec::new();
    for screen in &mut screens {
        let bye = screen.next_of("server.bye").await;
        moments.push(bye["reconnect_in_ms"].as_u64().unwrap());
        assert_eq!(screen.closed().await, close::RESTART);
    }
    assert!(moments.iter().all(|&moment| moment <= 10_000), "{moments:?}");
    moments.dedup();
    assert!(moments.len() > 1, "everybody at a moment of their own: {moments:?}");
    site.stop().await;
}
