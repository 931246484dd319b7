//! PostgreSQL stops, crashes, is not there: clear answers, nothing half-done, recovery by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::Method;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::eventually;
use crate::support::office::{Office, command};
use crate::support::postgres::Postgres;

async fn on(server: &Postgres) -> Office {
    Office::on(&server.database(), &["--open", "--seed-total", "1000"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_a_503_in_bounded_time_and_serves_again_when_it_thaws() {
    let server = Postgres::start();
    let office = on(&server).await;
    office.hold("ann", "before", 1).await;
    server.freeze();
    let answer =
        timeout(Duration::from_secs(10), office.buy("ann", "during", 1)).await.expect("a bounded wait");
    answer.assert_problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), "2");
    office.get("/healthz?db=ping").await.assert_problem(503, "database-unavailable");
    assert_eq!(office.get("/healthz").await.status, 200);
    server.thaw();
    recovered(&office, "during").await;
    assert_eq!(office.stock().await, (2, 0), "the retry took once what the first call took, or did not");
    office.assert_books_balance().await;
}

/// Promised: 5 s. A busy test machine gets five times that.
async fn recovered(office: &Office, key: &str) {
    let since = Instant::now();
    eventually("a purchase after the outage", 25, async || {
        (office.buy("ann", key, 1).await.status == 200).then_some(())
    })
    .await;
    println!("recovered after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_rush_sells_nothing_twice_and_loses_no_purchase() {
    let mut server = Postgres::start();
    let office = Arc::new(on(&server).await);
    let gone = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for buyer in 0..40 {
        let (office, gone) = (Arc::clone(&office), Arc::clone(&gone));
        buyers.spawn(async move { buy_until(&office, &format!("b{buyer}"), &gone).await });
    }
    eventually("a rush", 20, async || (office.stock().await.0 > 40).then_some(())).await;
    server.kill();
    let answer = eventually("the outage to be noticed", 10, async || {
        Some(office.get("/api/events").await).filter(|answer| answer.status != 200)
    })
    .await;
    answer.assert_problem(503, "database-unavailable");
    gone.store(true, Ordering::Relaxed);
    let keys = buyers.join_all().await;

    server.up();
    recovered(&office, "after").await;
    let mut held = 1;
    for (user, key, answered) in keys.into_iter().flatten() {
        let again = office.buy(&user, &key, 1).await;
        assert_eq!(again.status, 200, "{again:?}");
        assert!(
            answered.is_none_or(|order| order == again.field("orderId")),
            "an answered purchase survives"
        );
        held += 1;
    }
    assert_eq!(office.stock().await, (held, 0), "one ticket a key");
    office.assert_books_balance().await;
}

/// Buys under key after key until the database is gone; says which keys were used and what the answers were.
async fn buy_until(office: &Office, user: &str, gone: &AtomicBool) -> Vec<(String, String, Option<String>)> {
    let mut keys = Vec::new();
    while !gone.load(Ordering::Relaxed) && keys.len() < 20 {
        let key = format!("k{}", keys.len());
        let answer = office.buy(user, &key, 1).await;
        let order = (answer.status == 200).then(|| answer.field("orderId").to_owned());
        keys.push((user.to_owned(), key, order));
    }
    keys
}

#[tokio::test]
async fn without_a_database_the_program_does_not_start_and_names_the_address() {
    let server = {
        let mut server = Postgres::start();
        server.kill();
        server
    };
    let url =
        format!("host={} user=shop dbname=box password=hush", server.socket().parent().unwrap().display());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tcp = format!("postgres://shop:hush@{nobody}/box");
    for (url, address) in [(url, server.socket().display().to_string()), (tcp, nobody.to_string())] {
        let output = command(&url).args(["--open", "--listen", "127.0.0.1:0"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains(&address) && !said.contains("hush"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_expire_after_an_outage_too() {
    let mut server = Postgres::start();
    let arguments = ["--open", "--seed-total", "10", "--hold-ttl-sec", "1"];
    let office = Office::on(&server.database(), &arguments).await;
    office.hold("ann", "k", 1).await;
    server.kill();
    eventually("the worker to notice", 10, async || {
        office.log().contains("could not be returned").then_some(())
    })
    .await;
    server.up();
    eventually("the hold to expire", 25, async || {
        let answer = office.call(Method::GET, "/api/events/e1/availability", &[], "").await;
        (answer.json["held"] == 0).then_some(())
    })
    .await;
    office.assert_books_balance().await;
}
