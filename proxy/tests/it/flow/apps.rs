//! Apps: no cookies, no pages, the same queue.

use room::wire::State;

use crate::site::{Site, full};

#[tokio::test]
async fn an_app_goes_the_whole_way_with_headers_alone() {
    let site = Site::open("").await;
    let ticket = site.visitor().call("POST join").await.standing().ticket.unwrap();
    let mut app = site.visitor().with("queue-ticket", &ticket);
    app.status_until("the turn", |standing| standing.state == State::Turn).await;
    let entered = app.call("POST enter").await.json();
    let pass = entered["token"].as_str().unwrap();
    let mut inside = site.visitor().with("queue-pass", pass);
    assert_eq!(inside.fetch("/api").await.shows(), "GET /api");
    let forwarded = site.origin.only();
    assert!(forwarded.all("queue-pass").is_empty() && forwarded.all("queue-ticket").is_empty());
    assert_eq!(forwarded.one("vestibule-pass"), pass);
}

#[tokio::test]
async fn our_tokens_come_as_bearer_values_too_and_are_stripped() {
    let site = Site::open("").await;
    let ticket = site.visitor().call("POST join").await.standing().ticket.unwrap();
    let mut app = site.visitor().with("authorization", &format!("Bearer {ticket}"));
    app.status_until("the turn", |standing| standing.state == State::Turn).await;
    let pass = app.call("POST enter").await.json()["token"].as_str().unwrap().to_owned();
    let mut inside = site.visitor().with("authorization", &format!("bearer {pass}"));
    assert_eq!(inside.fetch("/api").await.status, 200);
    assert!(site.origin.only().all("authorization").is_empty());
    assert_eq!(inside.call("DELETE leave").await.status, 204);
}

#[tokio::test]
async fn an_app_that_waits_is_handed_its_ticket_in_the_body() {
    let (site, _holder) = full("").await;
    let first = site.visitor().fetch("/api").await;
    let cookie = first.set_cookies()[0].split(['=', ';']).nth(1).unwrap().to_owned();
    let mut app = site.visitor().with("queue-ticket", &cookie);
    let confirmed = app.fetch("/api").await;
    assert_eq!((confirmed.status, confirmed.code()), (503, "queued".into()));
    let ticket = confirmed.standing().ticket.expect("the confirmed ticket");
    assert_ne!(ticket, cookie);
    let mut app = site.visitor().with("queue-ticket", &ticket);
    assert_eq!(app.fetch("/api").await.standing().ticket, None, "it is not repeated");
    assert_eq!(site.survey().await.waiting, 1);
}

#[tokio::test]
async fn an_app_on_the_socket_is_sent_its_confirmed_ticket() {
    let (site, _holder) = full("").await;
    let mut browser = site.visitor();
    browser.visit("/").await;
    let mut app = site.visitor().with("queue-ticket", browser.ticket().unwrap());
    let mut screen = app.watch().await;
    let ticket = screen.next_of("queue.ticket").await["ticket"].as_str().unwrap().to_owned();
    let confirmed = site.ring().ticket(&ticket, site.hall().now()).unwrap();
    assert!(confirmed.confirmed_at.is_some());
}
