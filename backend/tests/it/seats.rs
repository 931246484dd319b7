//! Named seats: one buyer each, whatever the crush; maps that are seen live.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::http::Answer;
use crate::support::office::Office;
use crate::support::stream::Stream;

/// An office with so many seats: sections A, B, …
async fn seated(total: u32, arguments: &[&str]) -> Office {
    Office::with(total, &[&["--seed-seats"], arguments].concat()).await
}

fn statuses(map: &Answer) -> Vec<(String, String)> {
    let sections = map.json["sections"].as_array().unwrap();
    let rows = sections.iter().flat_map(|section| section["rows"].as_array().unwrap());
    let seats = rows.flat_map(|row| row["seats"].as_array().unwrap());
    let text = |seat: &Value, name: &str| seat[name].as_str().unwrap().to_owned();
    seats.map(|seat| (text(seat, "id"), text(seat, "status"))).collect()
}

#[tokio::test]
async fn a_map_has_sections_rows_and_prices_and_shows_what_is_taken() {
    let office = seated(200, &[]).await;
    let map = office.get("/api/events/e1/seats").await;
    assert_eq!(
        (map.json["seated"].clone(), map.number("version"), map.field("currency")),
        (json!(true), 0, "EUR")
    );
    let first = &map.json["sections"][0];
    assert_eq!((first["name"].as_str(), first["rows"][0]["priceMinor"].as_i64()), (Some("A"), Some(7500)));
    let all = statuses(&map);
    assert!(all.len() == 200 && all.iter().all(|(_, status)| status == "FREE"), "{all:?}");

    let placed = office.order("ann", "k", json!({ "seatIds": ["A-1-2", "A-1-1"] })).await;
    assert_eq!((placed.number("amountMinor"), placed.number("remaining")), (15_000, 198));
    assert_eq!(placed.json["seatIds"], json!(["A-1-1", "A-1-2"]));
    let held = eventually("a fresh map", 5, async || {
        let map = office.get("/api/events/e1/seats").await;
        (map.number("version") == 1).then(|| statuses(&map))
    })
    .await;
    let taken: Vec<_> =
        held.iter().filter(|(_, status)| status == "HELD").map(|(id, _)| id.as_str()).collect();
    assert_eq!(taken, ["A-1-1", "A-1-2"]);
    office.pay("ann", placed.field("orderId")).await;
    assert_eq!(office.seat("A-1-1").await, "SOLD");

    let event = office.get("/api/events/e1").await;
    assert_eq!((event.json["seated"].clone(), event.number("sold")), (json!(true), 2));
    office.get("/api/events/nowhere/seats").await.assert_problem(404, "unknown-event");
    office.assert_settled().await;
}

#[tokio::test]
async fn an_event_without_seats_has_an_empty_map_and_one_with_seats_is_not_sold_by_number() {
    let office = Office::selling(5).await;
    let map = office.get("/api/events/e1/seats").await;
    assert_eq!((map.json["seated"].clone(), map.json["sections"].clone()), (json!(false), json!([])));
    let seated = seated(50, &[]).await;
    seated.buy("ann", "k", 1).await.assert_problem(404, "unknown-event");
    assert_eq!(seated.stock().await, (0, 0));
}

#[tokio::test]
async fn several_seats_are_taken_all_or_none() {
    let office = seated(50, &[]).await;
    office.ordered("ann", "k", json!({ "seatIds": ["A-1-1", "A-1-2"] })).await;
    let refused = office.order("bob", "k", json!({ "seatIds": ["A-1-2", "A-1-3"] })).await;
    refused.assert_problem(409, "RESERVATION_CONFLICT");
    assert!(refused.field("detail").contains("A-1-2") && !refused.field("detail").contains("A-1-3"));
    let again = office.order("bob", "k", json!({ "seatIds": ["A-1-3", "A-1-2"] })).await;
    again.assert_problem(409, "RESERVATION_CONFLICT");
    assert_eq!(again.field("detail"), refused.field("detail"), "in whatever order they are named");
    let other = office.order("bob", "k", json!({ "seatIds": ["A-1-3"] })).await;
    other.assert_problem(422, "idempotency-key-reused");
    let unknown = office.order("bob", "k2", json!({ "seatIds": ["A-1-3", "Z-1-1"] })).await;
    unknown.assert_problem(404, "unknown-seat");
    assert_eq!((office.seat("A-1-3").await.as_str(), office.stock().await), ("FREE", (2, 0)));
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_buyers_of_the_last_seat_are_one_buyer() {
    let office = Arc::new(seated(1, &[]).await);
    let offices = [Arc::clone(&office), Arc::new(office.another(&[]).await)];
    let mut buyers = JoinSet::new();
    for buyer in 0..1000 {
        let office = Arc::clone(&offices[buyer % 2]);
        let wanted = if buyer % 3 == 0 { json!({ "qty": 1 }) } else { json!({ "seatIds": ["A-1-1"] }) };
        buyers.spawn(async move { office.insist_on_order(&format!("b{buyer}"), "k", wanted).await });
    }
    let answers = buyers.join_all().await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    let lost = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((won, lost, office.stock().await), (1, 999, (1, 0)));
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_for_overlapping_seats_wait_for_nobody_in_a_circle() {
    let office = Arc::new(seated(50, &["--hold-ttl-sec", "1"]).await);
    let other = Arc::new(office.another(&["--hold-ttl-sec", "1"]).await);
    let mut buyers = JoinSet::new();
    for buyer in 0..120_usize {
        let office = Arc::clone(if buyer % 2 == 0 { &office } else { &other });
        // Neighbours want each other's seats, named the other way round; holds expire in between.
        let (one, two) = (format!("A-1-{}", buyer % 8 + 1), format!("A-1-{}", (buyer + 3) % 8 + 1));
        buyers.spawn(async move {
            let mut placed = 0;
            for round in 0..6 {
                let wanted = if buyer % 4 < 2 { [&one, &two] } else { [&two, &one] };
                let answer = office
                    .order(&format!("b{buyer}"), &format!("k{round}"), json!({ "seatIds": wanted }))
                    .await;
                assert!(matches!(answer.status.as_u16(), 201 | 409 | 503), "{answer:?}");
                placed += usize::from(answer.status == 201);
                if answer.status == 201 && round % 2 == 0 {
                    let path = format!("/api/orders/{}", answer.field("orderId"));
                    assert!(matches!(
                        office.delete(&format!("b{buyer}"), &path).await.status.as_u16(),
                        200 | 410 | 503
                    ));
                }
            }
            placed
        });
    }
    let placed: usize = buyers.join_all().await.into_iter().sum();
    assert!(placed > 0);
    eventually("all holds to end", 20, async || (office.stock().await.0 == 0).then_some(())).await;
    assert!(!office.log().contains("deadlock"), "{}", office.log());
    office.assert_settled().await;
}

#[tokio::test]
async fn the_best_seats_are_together_and_of_the_section_that_was_asked_for() {
    let office = seated(200, &[]).await;
    let best = office.order("ann", "k", json!({ "qty": 3 })).await;
    assert_eq!(best.json["seatIds"], json!(["A-1-1", "A-1-2", "A-1-3"]));
    office.ordered("bob", "k", json!({ "seatIds": ["A-1-5"] })).await;
    let around = office.order("cid", "k", json!({ "qty": 2 })).await;
    assert_eq!(around.json["seatIds"], json!(["A-1-6", "A-1-7"]), "not 4 and 6");
    let single = office.order("dan", "k", json!({ "qty": 1 })).await;
    assert_eq!(single.json["seatIds"], json!(["A-1-4"]));
    let back = office.order("eve", "k", json!({ "qty": 2, "section": "B" })).await;
    assert_eq!(back.json["seatIds"], json!(["B-1-1", "B-1-2"]));
    let none = office.order("eve", "k2", json!({ "qty": 2, "section": "Q" })).await;
    none.assert_problem(409, "out-of-stock");
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crush_for_the_best_seats_sells_every_seat_once() {
    let office = Arc::new(seated(120, &[]).await);
    let offices = [Arc::clone(&office), Arc::new(office.another(&[]).await)];
    let mut buyers = JoinSet::new();
    for buyer in 0..70 {
        let office = Arc::clone(&offices[buyer % 2]);
        buyers.spawn(async move {
            let user = format!("b{buyer}");
            for attempt in 0..40 {
                let answer = office.insist_on_order(&user, &format!("k{attempt}"), json!({ "qty": 2 })).await;
                if answer.status == 201 {
                    assert_eq!(office.pay(&user, answer.field("orderId")).await.status, 200);
                    return answer.json["seatIds"].as_array().unwrap().clone();
                }
                // The last seats were just in somebody's hand; they may come back.
                if office.stock().await == (0, 120) {
                    break;
                }
            }
            Vec::new()
        });
    }
    let seats: Vec<Value> = buyers.join_all().await.into_iter().flatten().collect();
    let different: HashSet<&str> = seats.iter().map(|seat| seat.as_str().unwrap()).collect();
    assert_eq!((seats.len(), different.len(), office.stock().await), (120, 120, (0, 120)));
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_has_no_more_seats_than_one_may_however_fast_the_clicks() {
    let office = Arc::new(seated(100, &["--max-qty", "5"]).await);
    let other = Arc::new(office.another(&["--max-qty", "5"]).await);
    let mut clicks = JoinSet::new();
    for click in 1..=20 {
        let office = Arc::clone(if click % 2 == 0 { &office } else { &other });
        let wanted = json!({ "seatIds": [format!("A-1-{}", click % 10 + 1)] });
        clicks.spawn(async move { office.insist_on_order("ann", &format!("k{click}"), wanted).await });
    }
    let answers = clicks.join_all().await;
    let placed = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!((placed, office.stock().await), (5, (5, 0)));
    let more = office.order("ann", "more", json!({ "qty": 1 })).await;
    more.assert_problem(429, "visitor-limit");
    assert!(!more.header("retry-after").is_empty());
    office.ordered("bob", "k", json!({ "qty": 5 })).await;
    let one = answers.iter().find(|answer| answer.status == 201).unwrap().field("orderId");
    office.delete("ann", &format!("/api/orders/{one}")).await;
    office.ordered("ann", "again", json!({ "qty": 1 })).await;
    office.assert_settled().await;
}

#[tokio::test]
async fn seats_whose_hold_expires_are_free_again() {
    let office = seated(50, &["--hold-ttl-sec", "1"]).await;
    office.ordered("ann", "k", json!({ "seatIds": ["A-1-1"] })).await;
    assert_eq!(office.seat("A-1-1").await, "HELD");
    eventually("the seat", 10, async || (office.seat("A-1-1").await == "FREE").then_some(())).await;
    office.ordered("bob", "k", json!({ "seatIds": ["A-1-1"] })).await;
    office.assert_settled().await;
}

#[tokio::test]
async fn a_page_sees_every_change_of_the_map_and_resumes_where_it_was() {
    let office = seated(50, &[]).await;
    let other = office.another(&[]).await;
    let mut page = Stream::open(&office, "/api/events/e1/seats/stream", None).await;
    assert_eq!(page.next().await, (Some(0), "ready".into(), json!({ "version": 0 })));
    let order = other.ordered("ann", "k", json!({ "seatIds": ["A-1-1", "A-1-2"] })).await;
    let change = |version: i64, status: &str, seats: Value| {
        (Some(version), "seats".to_owned(), json!({ "version": version, "status": status, "seats": seats }))
    };
    assert_eq!(page.next().await, change(1, "HELD", json!(["A-1-1", "A-1-2"])));
    other.pay("ann", &order).await;
    assert_eq!(page.next().await, change(2, "SOLD", json!(["A-1-1", "A-1-2"])));
    let gone = office.ordered("bob", "k", json!({ "seatIds": ["A-1-3"] })).await;
    office.delete("bob", &format!("/api/orders/{gone}")).await;
    drop(page);

    let mut back = Stream::open(&other, "/api/events/e1/seats/stream", Some("2")).await;
    assert_eq!(back.next().await.1, "ready");
    assert_eq!(back.next().await, change(3, "HELD", json!(["A-1-3"])));
    assert_eq!(back.next().await, change(4, "FREE", json!(["A-1-3"])));
    office.ordered("bob", "k2", json!({ "seatIds": ["A-1-4"] })).await;
    assert_eq!(back.next().await, change(5, "HELD", json!(["A-1-4"])));
    let mut since = Stream::open(&office, "/api/events/e1/seats/stream?since=4", None).await;
    assert_eq!(
        (since.next().await.1, since.next().await),
        ("ready".into(), change(5, "HELD", json!(["A-1-4"])))
    );
}

#[tokio::test]
async fn a_page_that_was_away_for_too_long_is_told_to_read_the_map_anew() {
    let office = seated(50, &[]).await;
    office.ordered("ann", "k1", json!({ "seatIds": ["A-1-1"] })).await;
    office.ordered("ann", "k2", json!({ "seatIds": ["A-1-2"] })).await;
    let client = office.database.connect().await;
    client.execute("DELETE FROM seat_changes WHERE version = 1", &[]).await.unwrap();
    let mut page = Stream::open(&office, "/api/events/e1/seats/stream", Some("0")).await;
    assert_eq!(page.next().await, (Some(2), "reset".into(), json!({ "version": 2 })));
    // One that claims to have seen the future hears of the present.
    let mut confused = Stream::open(&office, "/api/events/e1/seats/stream", Some("999")).await;
    assert_eq!(confused.next().await.0, Some(2));
    office.get("/api/events/nowhere/seats/stream").await.assert_problem(404, "unknown-event");
    office.get("/api/events/e1/seats/stream?since=soon").await.assert_problem(400, "bad-query");
}

#[tokio::test]
async fn streams_end_with_the_program() {
    let mut office = seated(50, &[]).await;
    let mut page = Stream::open(&office, "/api/events/e1/seats/stream", None).await;
    page.next().await;
    let since = Instant::now();
    assert!(office.end_by("-TERM").await.success());
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert!(page.ends().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_seats_are_a_map_too() {
    let office = seated(50_000, &[]).await;
    let since = Instant::now();
    let map = office.get("/api/events/e1/seats").await;
    println!("50,000 seats: {} bytes in {:?}", map.text.len(), since.elapsed());
    assert_eq!(statuses(&map).len(), 50_000);
    let best = office.order("ann", "k", json!({ "qty": 8 })).await;
    assert_eq!(best.json["seatIds"].as_array().unwrap().len(), 8);
    let last = statuses(&map).pop().unwrap().0;
    office.ordered("bob", "k", json!({ "seatIds": [last] })).await;
    office.assert_settled().await;
}

#[tokio::test]
async fn a_map_is_made_once_and_never_of_an_event_that_was_sold() {
    let office = seated(50, &[]).await;
    let again = office.another(&["--seed-total", "50", "--seed-seats"]).await;
    assert_eq!(statuses(&again.get("/api/events/e1/seats").await).len(), 50);
    let plain = Office::selling(50).await;
    plain.hold("ann", "k", 1).await;
    let refused = plain.another(&["--seed-total", "50", "--seed-seats"]).await;
    let map = refused.call(Method::GET, "/api/events/e1/seats", &[], "").await;
    assert_eq!(map.json["seated"], false);
}
