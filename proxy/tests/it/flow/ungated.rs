//! Nothing gets past the gate: the origin behind a full room sees nobody who is not in.

use room::token::Pass;

use crate::rig::{Client, Origin, UPGRADE};
use crate::site::{Site, full};

/// One part of a site is gated; everything else goes to the same origin.
const PART: &str = r#"
[server]
default_upstream = ["http://ORIGIN"]
[room.e1]
match = [{ host = "shop.example", path = "/sale" }]
upstream = ["http://ORIGIN"]
queue_all = true
"#;

/// Sends a whole head on a connection of its own; the status of the answer.
async fn status(site: &Site, head: &str) -> u16 {
    let mut client = Client::connect(site.address).await;
    client.send(format!("{head}\r\n\r\n")).await;
    client.response(false).await.status
}

#[tokio::test]
async fn no_spelling_of_a_gated_path_reaches_the_origin() {
    let site = Site::with(Origin::start().await, PART).await;
    for path in [
        "/sale",
        "/sale/",
        "/sale/1?x=1",
        "/sale?room=other",
        "/SALE",
        "/Sale/x",
        "/s%61le",
        "/%73%61%6c%65/x",
        "/%53ALE",
        "/sale%2f1",
        "/%2fsale",
        "/sale;v=1",
        "/sale;v=1/x",
        "//sale",
        "///sale//x",
        "/./sale",
        "/x/../sale",
        "/x/%2e%2e/sale",
        "/x/..;/sale",
        "/x/..%2fsale",
        "/x;y/../sale",
        "/sale/.",
        "/sale/../sale",
        "/sale%00",
        "/sale\\x",
        "/x\\..\\sale",
        "/sale#x",
        "sale",
    ] {
        for method in ["GET", "POST", "OPTIONS", "PURGE"] {
            let answer = status(
                &site,
                &format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0"),
            )
            .await;
            assert!(answer == 503 || (400..500).contains(&answer), "{method} {path}: {answer}");
        }
    }
    let seen: Vec<_> = site.origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, [""; 0]);
    assert_eq!(status(&site, "GET /else HTTP/1.1\r\nHost: shop.example").await, 200, "the rest is not gated");
}

#[tokio::test]
async fn no_spelling_of_a_gated_host_reaches_the_origin() {
    let site = Site::with(Origin::start().await, PART).await;
    for head in [
        "GET /sale HTTP/1.1\r\nHost: SHOP.example",
        "GET /sale HTTP/1.1\r\nHost: shop.example.",
        "GET /sale HTTP/1.1\r\nHost: shop.example:80",
        "GET /sale HTTP/1.1\r\nHost: Shop.Example.:8080",
        "GET http://shop.example/sale HTTP/1.1\r\nHost: shop.example",
        "GET http://shop.example/sale HTTP/1.1\r\nHost: other.example",
        "GET http://SHOP.example./sale HTTP/1.1\r\nHost: shop.example",
        "GET http://other.example/sale HTTP/1.1\r\nHost: shop.example",
        "GET /sale HTTP/1.1\r\nHost: other.example\r\nHost: shop.example",
        "GET /sale HTTP/1.1\r\nHost: shop.example, other.example",
        "GET /sale HTTP/1.1\r\nHost: user@shop.example",
        "GET /sale HTTP/1.1",
        "GET /sale HTTP/1.0\r\nHost: shop.example",
        "GET /else HTTP/1.1\r\nHost: shop.example\r\nX-Original-URL: /sale\r\nX-Rewrite-URL: /sale\r\nExpect: nonsense",
    ] {
        status(&site, head).await;
    }
    let seen = site.origin.requests();
    assert!(seen.iter().all(|request| !request.target.contains("sale")), "{seen:#?}");
}

#[tokio::test]
async fn an_upgrade_meets_the_gate_like_every_other_request() {
    let (site, _holder) = full("").await;
    for head in [
        format!("GET /ws HTTP/1.1\r\nHost: shop.example\r\n{}", UPGRADE.trim_end()),
        "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__".into(),
        "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: anything".into(),
    ] {
        let answer = status(&site, &head).await;
        assert!(answer == 503 || (400..500).contains(&answer), "{head}: {answer}");
    }
    assert_eq!(site.origin.requests().len(), 1, "the holder's only");
}

#[tokio::test]
async fn tokens_of_others_kinds_and_shapes_open_nothing() {
    let (site, holder) = full("").await;
    let mut waiting = site.visitor();
    waiting.join().await;
    let (ticket, pass) = (waiting.ticket().unwrap().to_owned(), holder.pass().unwrap().to_owned());
    let parts: Vec<_> = pass.split('.').collect();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoidmVzdGlidWxlLXBhc3Mrand0In0.{}.", parts[1]);
    let cut = &pass[..pass.len() - 4];
    for token in [ticket.as_str(), none.as_str(), cut, "", "..", "null"] {
        for mut visitor in [
            site.visitor().with_cookie("vestibule_pass_e1", token),
            site.visitor().with_cookie("Vestibule_Pass_E1", token),
            site.visitor().with("queue-pass", token),
            site.visitor().with("vestibule-pass", token),
            site.visitor().with("authorization", &format!("Bearer {token}")),
        ] {
            assert_eq!(visitor.fetch("/").await.status, 503, "{token}");
        }
    }
    assert_eq!(
        site.visitor().with("vestibule-pass", &pass).fetch("/").await.status,
        503,
        "the header for origins opens nothing"
    );
    assert_eq!(site.origin.requests().len(), 1);
}

#[tokio::test]
async fn a_pass_of_the_past_opens_nothing_even_when_it_was_seen_before() {
    let (site, holder) = full("session_duration = \"5s\"\ndisable_session_renewal = true").await;
    let pass: Pass = site.ring().pass(holder.pass().unwrap(), site.hall().now()).unwrap();
    let token = holder.pass().unwrap();
    assert_eq!(site.visitor().with("queue-pass", token).fetch("/").await.status, 200);
    site.pass_time(std::time::Duration::from_secs(6)).await;
    assert!(site.hall().now().as_secs() >= pass.expires_at_secs);
    assert_eq!(site.visitor().with("queue-pass", token).fetch("/").await.status, 503);
}

#[tokio::test]
async fn headers_that_imitate_ours_change_nothing_and_do_not_reach_the_origin() {
    let (site, _holder) = full("").await;
    let mut liar = site
        .visitor()
        .with("vestibule-visitor", "000000000000000000000000")
        .with("vestibule-command", "release")
        .with("x-forwarded-for", "127.0.0.1")
        .with("forwarded", "for=127.0.0.1")
        .with("x-forwarded-host", "other.example")
        .with("x-forwarded-proto", "https");
    let answer = liar.fetch("/").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.set_cookies()[0].contains("Secure"), "nobody trusted says that it came over TLS");

    let site = Site::open("").await;
    liar.edge = site.address;
    assert_eq!(liar.fetch("/").await.status, 200);
    let forwarded = site.origin.only();
    assert_ne!(forwarded.one("vestibule-visitor"), "000000000000000000000000");
    assert_eq!(forwarded.one("x-forwarded-host"), "shop.example");
    assert!(forwarded.all("vestibule-command").is_empty() && forwarded.all("forwarded").is_empty());
}
