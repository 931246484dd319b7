//! Orders of tickets: once a key, all or nothing, given back when asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::eventually;
use crate::support::office::Office;

#[tokio::test]
async fn an_order_is_placed_once_a_key_and_a_replay_hears_the_first_result() {
    let office = Office::selling(10).await;
    let first = office.order("ann", "k", json!({ "qty": 3 })).await;
    assert_eq!((first.status.as_u16(), first.field("status"), first.number("qty")), (201, "HOLD", 3));
    assert_eq!(
        (first.number("remaining"), first.number("amountMinor"), first.field("currency")),
        (7, 15_000, "EUR")
    );
    assert_eq!((first.json["seatIds"].clone(), first.header("idempotency-replayed")), (json!([]), ""));
    let order = first.field("orderId");
    assert_eq!(office.pay("ann", order).await.status, 200);

    let again = office.order("ann", "k", json!({ "qty": 3 })).await;
    assert_eq!((again.status.as_u16(), &again.json), (201, &first.json), "whatever happened since");
    assert_eq!(again.header("idempotency-replayed"), "true");
    office.order("ann", "k", json!({ "qty": 2 })).await.assert_problem(422, "idempotency-key-reused");
    office.order("bob", "k", json!({ "qty": 2 })).await;
    assert_eq!(office.stock().await, (2, 3));
    office.assert_settled().await;
}

#[tokio::test]
async fn what_is_the_same_in_other_words_is_a_replay() {
    let office = Office::selling(10).await;
    let order = office.ordered("ann", "k", json!({ "qty": 3 })).await;
    let headers = [("x-user-id", "ann"), ("idempotency-key", "k")];
    let body = r#" { "qty" : 3, "seatIds": null, "eventId": "e1" } "#;
    let again = office.call(Method::POST, "/api/orders", &headers, body).await;
    assert_eq!((again.status.as_u16(), again.field("orderId")), (201, order.as_str()));
}

#[tokio::test]
async fn a_key_is_one_purchase_whichever_way_it_is_made() {
    let office = Office::selling(10).await;
    let held = office.hold("ann", "bought", 2).await;
    let again = office.order("ann", "bought", json!({ "qty": 2 })).await;
    assert_eq!((again.field("orderId"), again.header("idempotency-replayed")), (held.as_str(), "true"));
    office.order("ann", "bought", json!({ "qty": 3 })).await.assert_problem(422, "idempotency-key-reused");
    let elsewhere = json!({ "qty": 2, "section": "A" });
    office.order("ann", "bought", elsewhere).await.assert_problem(422, "idempotency-key-reused");
    office.ordered("ann", "ordered", json!({ "qty": 2 })).await;
    let bought = office.buy("ann", "ordered", 2).await;
    assert_eq!((bought.status.as_u16(), office.stock().await), (200, (4, 0)), "{bought:?}");
}

#[tokio::test]
async fn more_than_is_left_is_refused_and_the_refusal_replayed_until_its_key_is_forgotten() {
    let office = Office::with(3, &["--idempotency-ttl-sec", "2"]).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    let refused = office.order("bob", "k", json!({ "qty": 2 })).await;
    refused.assert_problem(409, "out-of-stock");
    office.delete("ann", &format!("/api/orders/{order}")).await;
    let again = office.order("bob", "k", json!({ "qty": 2 })).await;
    again.assert_problem(409, "out-of-stock");
    assert_eq!(again.field("detail"), refused.field("detail"));
    eventually("the key to be free again", 20, async || {
        (office.order("bob", "k", json!({ "qty": 2 })).await.status == 201).then_some(())
    })
    .await;
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_order_is_being_placed_its_duplicate_hears_so_even_from_another_process() {
    let office = Arc::new(Office::selling(10).await);
    let other = office.another(&[]).await;
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let first = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.order("ann", "k", json!({ "qty": 1 })).await }
    });
    eventually("the first to wait for the row", 5, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (office.database.number(waiting).await > 0).then_some(())
    })
    .await;
    let duplicate = timeout(Duration::from_secs(1), other.order("ann", "k", json!({ "qty": 1 })))
        .await
        .expect("no waiting");
    duplicate.assert_problem(409, "in-flight");
    assert_eq!(duplicate.header("retry-after"), "1");
    lock.commit().await.unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.status, 201);
    assert_eq!(other.order("ann", "k", json!({ "qty": 1 })).await.json, first.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_many_times_at_once_is_one_order() {
    let office = Arc::new(Office::selling(10).await);
    let offices = [Arc::new(office.another(&[]).await), Arc::clone(&office)];
    let mut clicks = JoinSet::new();
    for click in 0..40 {
        let office = Arc::clone(&offices[click % 2]);
        clicks.spawn(async move {
            // Both ways of buying share the scope of a key.
            if click % 4 == 3 {
                return office.buy("ann", "click", 2).await;
            }
            office.order("ann", "click", json!({ "qty": 2 })).await
        });
    }
    let mut orders = HashSet::new();
    for answer in clicks.join_all().await {
        match answer.status.as_u16() {
            200 | 201 => drop(orders.insert(answer.field("orderId").to_owned())),
            422 => answer.assert_problem(422, "idempotency-key-reused"),
            _ => answer.assert_problem(409, "in-flight"),
        }
    }
    assert_eq!((orders.len(), office.stock().await), (1, (2, 0)));
    office.assert_settled().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_is_refused_with_its_code_and_takes_nothing() {
    let office = Office::selling(50).await;
    let long = "k".repeat(256);
    let cases: [(&str, &str, u16, &str); 15] = [
        ("k", r#"{"eventId":"e1","qty":0}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":-1}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":9}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","seatIds":[]}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","seatIds":["1","2","3","4","5","6","7","8","9"]}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1"}"#, 400, "bad-order"),
        ("k", r#"{"eventId":"e1","qty":1,"seatIds":["A-1-1"]}"#, 400, "bad-order"),
        ("k", r#"{"eventId":"e1","seatIds":["A-1-1","A-1-1"]}"#, 400, "bad-order"),
        ("k", r#"{"eventId":"e1","qty":1,"price":1}"#, 400, "bad-json"),
        ("k", r#"{"eventId":"e1","seatIds":["A 1"]}"#, 404, "unknown-seat"),
        ("k", r#"{"eventId":"e1","seatIds":["A-1-1"]}"#, 404, "unknown-seat"),
        ("k", r#"{"eventId":"nowhere","qty":1}"#, 404, "unknown-event"),
        ("", r#"{"eventId":"e1","qty":1}"#, 400, "idempotency-key-missing"),
        (&long, r#"{"eventId":"e1","qty":1}"#, 400, "idempotency-key-too-long"),
        ("two words", r#"{"eventId":"e1","qty":1}"#, 400, "idempotency-key-unreadable"),
    ];
    for (key, body, status, code) in cases {
        let headers = [("x-user-id", "ann"), ("idempotency-key", key)];
        let answer = office.call(Method::POST, "/api/orders", &headers, body).await;
        answer.assert_problem(status, code);
    }
    let keyless = office.post("ann", "/api/orders", &json!({ "eventId": "e1", "qty": 1 })).await;
    keyless.assert_problem(400, "idempotency-key-missing");
    let nameless = [("idempotency-key", "k")];
    let answer = office.call(Method::POST, "/api/orders", &nameless, r#"{"eventId":"e1","qty":1}"#).await;
    answer.assert_problem(401, "no-user");
    assert_eq!(office.stock().await, (0, 0));
    assert_eq!(office.database.number("SELECT count(*) FROM orders").await, 0);
}

#[tokio::test]
async fn an_order_is_seen_and_given_back_by_its_owner_only() {
    let office = Office::selling(5).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    let path = format!("/api/orders/{order}");
    assert_eq!(office.get_as("ann", &path).await.field("status"), "HOLD");
    office.get_as("bob", &path).await.assert_problem(404, "unknown-order");
    office.delete("bob", &path).await.assert_problem(404, "unknown-order");
    office.get_as("ann", "/api/orders/nonsense").await.assert_problem(404, "unknown-order");
    for _ in 0..2 {
        let gone = office.delete("ann", &path).await;
        assert_eq!((gone.status.as_u16(), gone.field("status")), (200, "CANCELLED"));
    }
    assert_eq!(office.stock().await, (0, 0));
    office.pay("ann", &order).await.assert_problem(409, "not-payable");

    let paid = office.ordered("ann", "k2", json!({ "qty": 2 })).await;
    let answer = office.pay("ann", &paid).await;
    assert_eq!((answer.status.as_u16(), answer.header("vestibule-command")), (200, "release"));
    office.delete("ann", &format!("/api/orders/{paid}")).await.assert_problem(409, "not-changeable");
    assert_eq!(
        office.get_as("ann", &format!("/api/orders/{paid}")).await.header("vestibule-command"),
        "release"
    );
    office.assert_settled().await;
}

#[tokio::test]
async fn an_order_whose_time_is_over_cannot_be_given_back_or_bought() {
    let office = Office::with(5, &["--hold-ttl-sec", "1"]).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    eventually("the hold to expire", 10, async || (office.stock().await == (0, 0)).then_some(())).await;
    office.delete("ann", &format!("/api/orders/{order}")).await.assert_problem(410, "hold-expired");
    office.pay("ann", &order).await.assert_problem(410, "hold-expired");
    let intent = office.post("ann", "/api/payments/intent", &json!({ "orderId": order })).await;
    intent.assert_problem(410, "hold-expired");
    assert_eq!(office.get_as("ann", &format!("/api/orders/{order}")).await.field("status"), "EXPIRED");
    office.assert_settled().await;
}
