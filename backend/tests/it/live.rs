//! Thousands who watch, some of them slow; news between processes, and when those stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::sockets::Socket;
use crate::support::eventually;
use crate::support::office::Office;
use crate::support::postgres::shared;
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
