//! Thousands who watch, some of them slow; news between processes, and when those stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use futures_util::StreamExt as _;
use room::token::Alg;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::failover::both;
use crate::sockets::Socket;
use crate::support::edge::{Edge, pass, ring};
use crate::support::eventually;
use crate::support::office::Office;
use crate::support::postgres::{Postgres, TestDatabase, shared};
use crate::support::proxy::Proxy;

/// So many pages, unless `LISTENERS` says how many.
const LISTENERS: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_pages_see_a_ticket_go() {
    let listeners = std::env::var("LISTENERS").map_or(LISTENERS, |text| text.parse().unwrap());
    let office = Arc::new(Office::with(10, &["--max-connections", "20000"]).await);
    let mut opening = JoinSet::new();
    for lane in 0..20 {
        let office = Arc::clone(&office);
        opening.spawn(async move {
            let mut pages = Vec::new();
            for page in 0..listeners / 20 {
                let user = if page % 4 == 0 { format!("u{lane}-{page}") } else { String::new() };
                pages.push(Socket::open(&office, &user, "/ws?eventId=e1").await.unwrap());
            }
            pages
        });
    }
    let pages: Vec<Socket> = opening.join_all().await.into_iter().flatten().collect();
    assert_eq!(pages.len(), listeners);
    let mut watching = JoinSet::new();
    for mut page in pages {
        watching.spawn(async move {
            page.stock(2, 0).await;
            Instant::now()
        });
    }
    let sold_at = Instant::now();
    office.hold("buyer", "k", 2).await;
    let seen: Vec<Instant> =
        timeout(Duration::from_secs(60), watching.join_all()).await.expect("all to see it");
    let last = seen.into_iter().max().unwrap().duration_since(sold_at);
    println!("the last of {listeners} pages saw it after {last:?}");
    let metrics = office.get("/metrics").await.text;
    assert!(metrics.contains(r#"ws_messages_total{direction="out",type="stock.update"}"#), "{metrics}");
}

#[tokio::test]
async fn a_rush_is_few_stock_updates_and_every_step_of_an_order() {
    let office = Office::selling(500).await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    let since = Instant::now();
    for key in 0..60 {
        office.ordered("ann", &format!("k{key}"), json!({ "qty": 1 })).await;
    }
    let (mut orders, mut updates) = (0, 0);
    loop {
        let message = page.next().await;
        match message["type"].as_str() {
            Some("order.update") => orders += 1,
            Some("stock.update") => updates += 1,
            _ => panic!("{message}"),
        }
        if message["inHold"] == 60 {
            break;
        }
    }
    while orders < 60 {
        assert_eq!(page.next_of("order.update").await["status"], "HOLD");
        orders += 1;
    }
    let most = since.elapsed().as_millis() / 250 + 2;
    assert!(updates as u128 <= most, "{updates} updates of stock, {most} at most");
}

/// News of so many orders of a user, as another process tells them.
async fn tell(office: &Office, user: &str, from: u128, count: u128) {
    let client = office.database.connect().await;
    for chunk in (from..from + count).collect::<Vec<_>>().chunks(50) {
        let news = |number: &u128| {
            let order = uuid::Uuid::from_u128(*number);
            json!({ "orderId": order, "eventId": "e1", "userId": user, "status": "HOLD" })
        };
        let payload = Value::from(chunk.iter().map(news).collect::<Vec<_>>()).to_string();
        client.execute("SELECT pg_notify('box_office', $1)", &[&payload]).await.unwrap();
    }
}

#[tokio::test]
async fn order_updates_wait_for_a_slow_page_and_none_is_left_out() {
    let office = Office::selling(5).await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    eventually("the office to listen", 10, async || {
        listeners(&office).await.is_some_and(|n| n == 1).then_some(())
    })
    .await;
    tell(&office, "ann", 1, 400).await;
    // Not reading for a while is what makes it slow.
    sleep(Duration::from_millis(300)).await;
    for number in 1..=400 {
        let update = page.next_of("order.update").await;
        assert_eq!(update["orderId"], uuid::Uuid::from_u128(number).to_string());
    }
}

#[tokio::test]
async fn a_page_too_slow_for_its_orders_is_closed_with_a_code_that_says_so() {
    let office = Office::with(5, &["--ws-max-send-buffer", "1"]).await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    eventually("the office to listen", 10, async || {
        listeners(&office).await.is_some_and(|n| n == 1).then_some(())
    })
    .await;
    let mut from = 1;
    let closed = timeout(Duration::from_secs(20), async {
        loop {
            tell(&office, "ann", from, 500).await;
            from += 500;
            while let Ok(Some(message)) = timeout(Duration::from_millis(100), page.0.next()).await {
                if let tokio_tungstenite::tungstenite::Message::Close(frame) = message.unwrap() {
                    return frame.unwrap();
                }
            }
        }
    })
    .await
    .expect("a close");
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (1013, "too slow for its order updates"));
    let mut back = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    assert_eq!(back.next().await["type"], "sale.open", "it may come back at once");
}

/// How many connections of the database listen.
async fn listeners(office: &Office) -> Option<i64> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN box_office'
        AND state = 'idle'";
    Some(office.database.number(sql).await)
}

#[tokio::test]
async fn an_order_is_heard_in_another_process_long_before_it_would_be_read_there() {
    let office = Office::selling(9).await;
    let other = office.another(&[]).await;
    eventually("both to listen", 10, async || listeners(&office).await.is_some_and(|n| n == 2).then_some(()))
        .await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    // Read every ten seconds while notifications arrive: nine out of ten would take longer than a second.
    for key in 0..4 {
        let since = Instant::now();
        let order = if key % 2 == 0 {
            other.ordered("ann", &format!("k{key}"), json!({ "qty": 1 })).await
        } else {
            other.hold("ann", &format!("k{key}"), 1).await
        };
        assert_eq!(page.next_of("order.update").await["orderId"], order);
        assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn when_the_listening_connection_ends_another_one_listens() {
    let office = Office::selling(9).await;
    let other = office.another(&[]).await;
    eventually("both to listen", 10, async || listeners(&office).await.is_some_and(|n| n == 2).then_some(()))
        .await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    let client = office.database.connect().await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN box_office'
        AND datname = current_database()";
    client.execute(sql, &[]).await.unwrap();
    let order = other.ordered("ann", "k", json!({ "qty": 1 })).await;
    assert_eq!(page.next_of("order.update").await["orderId"], order);
    eventually("both to listen again", 20, async || {
        listeners(&office).await.is_some_and(|n| n == 2).then_some(())
    })
    .await;
    let order = other.ordered("ann", "k2", json!({ "qty": 1 })).await;
    assert_eq!(page.next_of("order.update").await["orderId"], order);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_notifications_stop_without_a_word_the_tables_are_read() {
    let proxy = Proxy::start();
    let database = shared().database();
    let other = Office::on(&database, &["--open", "--seed-total", "9"]).await;
    let office = Office::on(&proxy.database(&database), &["--open"]).await;
    eventually("both to listen", 10, async || listeners(&other).await.is_some_and(|n| n == 2).then_some(()))
        .await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    proxy.mute(true);
    let order = other.ordered("ann", "k", json!({ "qty": 1 })).await;
    assert_eq!(page.next_of("order.update").await["orderId"], order);
    eventually("the silence to be noticed", 20, async || {
        office.log().contains("nothing was heard for 4 s").then_some(())
    })
    .await;
    let since = Instant::now();
    let order = other.ordered("ann", "k2", json!({ "qty": 1 })).await;
    assert_eq!(page.next_of("order.update").await["orderId"], order);
    assert!(since.elapsed() < Duration::from_secs(6), "read every second now: {:?}", since.elapsed());
    proxy.mute(false);
    let order = other.ordered("ann", "k3", json!({ "qty": 1 })).await;
    assert_eq!(page.next_of("order.update").await["orderId"], order);
}

#[tokio::test]
async fn a_page_is_told_how_many_wait_outside() {
    let keys = ring("p1", Alg::EdDsa, 1);
    let edge = Edge::publishing(&keys).await;
    let arguments = ["--pass-jwks-url", &edge.url, "--pass-room", "e1", "--seed-total", "5"];
    let office = Office::on(&shared().database(), &arguments).await;
    let pass = pass(&keys, "e1", 1, 600);
    let mut page = Socket::open_as(&office, Some(("vestibule-pass", &pass)), "/ws").await.unwrap();
    let told =
        json!({ "type": "queue.update", "status": "queueing", "waiting": 51_873, "ratePerMinute": 1600 });
    assert_eq!(page.next_of("queue.update").await, told);
}

#[tokio::test]
async fn without_a_pass_nothing_is_seen_placed_or_paid_and_the_gateway_needs_none() {
    let keys = ring("p1", Alg::EdDsa, 1);
    let edge = Edge::publishing(&keys).await;
    let arguments = ["--pass-jwks-url", &edge.url, "--pass-room", "e1", "--seed-total", "5", "--seed-seats"];
    let office = Office::on(&shared().database(), &arguments).await;
    for path in ["seats", "seats/stream"] {
        office.get(&format!("/api/events/e1/{path}")).await.assert_problem(401, "no-pass");
    }
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (path, body) in [
        ("/api/orders", json!({ "eventId": "e1", "qty": 1 })),
        ("/api/reservations", json!({ "eventId": "e1", "seatId": "A-1-1" })),
        ("/api/reservations/e1/A-1-1/confirm", json!({})),
        ("/api/reservations/e1/A-1-1/extend", json!({})),
        ("/api/payments/intent", json!({ "orderId": nobody })),
        ("/api/payments/authorize", json!({ "paymentId": nobody })),
    ] {
        office.post("ann", path, &body).await.assert_problem(401, "no-pass");
    }
    for path in ["orders", "reservations"] {
        office.get(&format!("/api/{path}/{nobody}")).await.assert_problem(401, "no-pass");
    }
    office.delete("ann", "/api/reservations/e1/A-1-1").await.assert_problem(401, "no-pass");
    office.delete("ann", &format!("/api/orders/{nobody}")).await.assert_problem(401, "no-pass");
    office.get(&format!("/api/payments/{nobody}/status")).await.assert_problem(401, "no-pass");
    office.post("", "/api/payments/webhook", &json!({})).await.assert_problem(401, "bad-signature");

    // In the name of its visitor, a pass does all of it: order, pay, be released.
    let pass = pass(&keys, "e1", 0xaa, 600);
    let headers =
        [("vestibule-pass", pass.as_str()), ("idempotency-key", "k"), ("x-user-id", "somebody-else")];
    let call =
        async |path: &str, body: Value| office.call(Method::POST, path, &headers, &body.to_string()).await;
    let order = call("/api/orders", json!({ "eventId": "e1", "qty": 1 })).await;
    let intent = call("/api/payments/intent", json!({ "orderId": order.field("orderId") })).await;
    let payment = intent.field("paymentId");
    assert_eq!(call("/api/payments/authorize", json!({ "paymentId": payment })).await.status, 202);
    let paid = eventually("a paid order", 20, async || {
        let path = format!("/api/payments/{payment}/status");
        let answer = office.call(Method::GET, &path, &headers, "").await;
        (answer.json["orderStatus"] == "PAID").then_some(answer)
    })
    .await;
    assert_eq!(paid.header("vestibule-command"), "release");
    let own = "SELECT count(*) FROM orders WHERE status = 'PAID' AND user_id = repeat('aa', 12)";
    assert_eq!(office.database.number(own).await, 1);
}

#[tokio::test]
async fn who_connects_hears_soon_where_own_orders_stand() {
    let office = Office::selling(9).await;
    eventually("the office to listen", 10, async || (listeners(&office).await == Some(1)).then_some(()))
        .await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    office.pay("ann", &order).await;
    // Otherwise orders are read every ten seconds; five times would rarely all fall close before one.
    for _ in 0..5 {
        let since = Instant::now();
        let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
        let update = page.next_of("order.update").await;
        assert_eq!(
            (update["orderId"].as_str(), update["status"].as_str()),
            (Some(order.as_str()), Some("PAID"))
        );
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_news_come_from_the_new_primary() {
    let primary = Postgres::start();
    let database = primary.database();
    let standby = primary.standby();
    let both = both(&database, &primary, &standby);
    let office = Office::on(&both, &["--open", "--seed-total", "9"]).await;
    let other = Office::on(&both, &["--open"]).await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN box_office'";
    let old = TestDatabase { url: database.url.clone() };
    // A connection that is being made in the moment of the freeze would escape it.
    eventually("both to listen at the old primary", 10, async || {
        (old.number(listening).await == 2).then_some(())
    })
    .await;
    primary.freeze();
    standby.promote();
    let new = TestDatabase { url: database.url.replace(primary.host(), standby.host()) };
    eventually("both to listen at the new primary", 40, async || {
        (new.number(listening).await == 2).then_some(())
    })
    .await;
    // A call that meets a connection to the silent server is refused, and comes again.
    let mut page = eventually("a page that listens", 20, async || {
        Socket::open(&office, "ann", "/ws?eventId=e1").await.ok()
    })
    .await;
    let order = other.insist_on_order("ann", "k", json!({ "qty": 1 })).await.field("orderId").to_owned();
    assert_eq!(page.next_of("order.update").await["orderId"], order);
    primary.thaw();
}
