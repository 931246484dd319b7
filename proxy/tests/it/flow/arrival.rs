//! First contact.

use std::time::Duration;

use crate::site::{Site, full};

const ATTRIBUTES: &str = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=";

#[tokio::test]
async fn a_visitor_is_let_in_at_once_with_this_very_request() {
    let site = Site::open("").await;
    let mut visitor = site.visitor();
    let sent = [("content-type", "text/plain")];
    let answer = visitor.request("POST", "/buy?seat=1", &sent, "two tickets").await;
    assert_eq!((answer.status, answer.shows().as_str()), (200, "POST /buy?seat=1"), "no redirect");
    let received = site.origin.only();
    assert_eq!(
        (received.body.as_ref(), received.one("content-type")),
        (&b"two tickets"[..], "text/plain".into())
    );
    let cookies = answer.set_cookies();
    assert_eq!(cookies.len(), 1, "a pass and nothing else: {cookies:?}");
    assert!(cookies[0].starts_with("vestibule_pass_e1=") && cookies[0].contains(ATTRIBUTES), "{cookies:?}");
    assert_eq!(received.one("vestibule-pass"), visitor.pass().unwrap());
}

#[tokio::test]
async fn a_pass_opens_the_gate_again_and_is_not_set_again() {
    let site = Site::open("session_duration = \"1m\"").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    let again = visitor.fetch("/api").await;
    assert_eq!((again.status, again.set_cookies().len()), (200, 0));
    let seen = site.origin.requests();
    assert_eq!(seen[0].one("vestibule-visitor"), seen[1].one("vestibule-visitor"));
    assert_eq!(site.survey().await.entered, 1);
}

#[tokio::test]
async fn a_navigation_to_a_full_room_gets_the_page_and_an_unconfirmed_ticket() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    let page = visitor.visit("/").await;
    assert_eq!(page.status, 200);
    assert!(page.is_page());
    assert_eq!((page.header("cache-control"), page.header("x-robots-tag")), ("no-store", "noindex"));
    assert!(page.retry_after() >= 1);
    let cookies = page.set_cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(cookies[0].starts_with("vestibule_ticket_e1=") && cookies[0].contains(ATTRIBUTES), "{cookies:?}");
    assert_eq!(site.origin.requests().len(), 1, "only the first was forwarded");
    assert_eq!(site.survey().await.waiting, 0, "no place is taken yet");
}

#[tokio::test]
async fn entries_beyond_the_burst_wait_and_come_in_at_the_rate() {
    let site = Site::open("new_users_per_minute = 60\nburst = 3").await;
    let mut let_in = 0;
    for _ in 0..6 {
        let_in += usize::from(site.visitor().visit("/").await.shows() == "GET /");
    }
    assert_eq!(let_in, 3);
    let mut waiting = [site.visitor(), site.visitor(), site.visitor()];
    for visitor in &mut waiting {
        visitor.join().await;
    }
    site.pass_time(Duration::from_secs(4)).await;
    for visitor in &mut waiting {
        assert_eq!(visitor.visit("/").await.shows(), "GET /");
    }
}

#[tokio::test]
async fn the_second_load_takes_the_place_and_confirms_the_ticket() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    let unconfirmed = visitor.ticket().unwrap().to_owned();
    let second = visitor.visit("/").await;
    assert!(second.is_page());
    assert_eq!(site.survey().await.waiting, 1);
    let confirmed = visitor.ticket().unwrap().to_owned();
    assert_ne!(unconfirmed, confirmed);
    let third = visitor.visit("/").await;
    assert_eq!(third.set_cookies(), [""; 0], "a confirmed ticket is not set again");
    assert_eq!(site.survey().await.waiting, 1);
    let now = site.hall().now();
    let (before, after) =
        (site.ring().ticket(&unconfirmed, now).unwrap(), site.ring().ticket(&confirmed, now).unwrap());
    assert_eq!((before.stamp, before.id, before.visitor), (after.stamp, after.id, after.visitor));
    assert!(before.confirmed_at.is_none() && after.confirmed_at.is_some());
}

#[tokio::test]
async fn the_page_comes_with_the_status_that_the_room_asks_for() {
    let (site, _holder) = full("queueing_status_code = 202").await;
    let mut visitor = site.visitor();
    assert_eq!(visitor.visit("/").await.status, 202);
    assert_eq!(visitor.fetch("/").await.status, 503, "others get 503 all the same");
}

#[tokio::test]
async fn whoever_is_no_navigation_gets_the_standing_with_503() {
    let (site, _holder) = full("").await;
    for (method, headers) in [
        ("GET", vec![("accept", "application/json")]),
        ("GET", vec![("accept", "*/*")]),
        ("GET", vec![]),
        ("GET", vec![("accept", "application/json, text/html;q=0.9")]),
        ("GET", vec![("accept", "text/html"), ("sec-fetch-dest", "empty")]),
        ("GET", vec![("accept", "text/html"), ("sec-fetch-dest", "image")]),
        ("POST", vec![("accept", "text/html"), ("sec-fetch-dest", "document")]),
        ("DELETE", vec![("accept", "text/html")]),
    ] {
        let answer = site.visitor().request(method, "/api", &headers, "").await;
        assert_eq!((answer.status, answer.code()), (503, "queued".into()), "{method} {headers:?}");
        assert!(answer.retry_after() >= 1);
        assert_eq!((answer.header("cache-control"), answer.header("x-robots-tag")), ("no-store", "noindex"));
        assert_eq!(answer.header("content-type"), "application/json");
        let standing = answer.standing();
        assert_eq!((standing.room.as_str(), standing.position), ("e1", None));
    }
}

#[tokio::test]
async fn documents_and_frames_get_the_page_and_head_gets_its_headers() {
    let (site, _holder) = full("").await;
    for destination in ["document", "iframe"] {
        let headers = [("accept", "text/html"), ("sec-fetch-dest", destination)];
        assert!(site.visitor().request("GET", "/", &headers, "").await.is_page(), "{destination}");
    }
    assert!(
        site.visitor().request("GET", "/", &[("accept", "text/html")], "").await.is_page(),
        "old browsers"
    );
    let head = site.visitor().request("HEAD", "/", &[("accept", "text/html")], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn a_prefetch_takes_neither_a_place_nor_a_slot() {
    let site = Site::open("").await;
    for headers in [
        [("sec-purpose", "prefetch"), ("accept", "text/html")],
        [("sec-purpose", "prefetch;prerender"), ("accept", "*/*")],
    ] {
        let answer = site.visitor().request("GET", "/", &headers, "").await;
        assert_eq!(answer.set_cookies(), [""; 0], "{headers:?}");
    }
    assert!(site.origin.requests().is_empty());

    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    let prefetch = [("sec-purpose", "prefetch"), ("accept", "text/html")];
    let answer = visitor.request("GET", "/", &prefetch, "").await;
    assert_eq!(answer.set_cookies(), [""; 0]);
    assert_eq!(site.survey().await.waiting, 0, "a ticket that is carried along is not presented");
}

#[tokio::test]
async fn a_newcomer_waits_behind_others_even_if_a_slot_is_free() {
    let (site, mut holder) = full("").await;
    let mut first = site.visitor();
    first.join().await;
    let everybody_knows = || site.counts().waiting == 1;
    crate::site::until("the edge knows that somebody waits", everybody_knows).await;
    assert_eq!(holder.call("POST leave").await.status, 204);
    let newcomer = site.visitor().fetch("/").await;
    assert_eq!((newcomer.status, newcomer.code()), (503, "queued".into()));
    site.pass_time(Duration::from_secs(2)).await;
    first.status_until("the turn of the first", |standing| standing.claim_expires_at.is_some()).await;
}

#[tokio::test]
async fn over_tls_the_cookies_are_bound_to_the_host() {
    let text = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[room.e1]\nupstream = [\"http://ORIGIN\"]";
    let site = Site::with(crate::rig::Origin::start().await, text).await;
    let mut visitor = site.visitor().with("x-forwarded-proto", "https");
    let answer = visitor.visit("/").await;
    let cookie = answer.set_cookies()[0].to_owned();
    assert!(cookie.starts_with("__Host-vestibule_pass_e1=") && cookie.ends_with("; Secure"), "{cookie}");
    visitor.visit("/").await;
    assert_eq!(site.survey().await.entered, 1, "the prefixed cookie is read back");
}
