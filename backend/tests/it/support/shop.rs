//! Buyers of orders, seats and payments, and what must be true when they are done.

use axum::http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::eventually;
use super::http::{Answer, call};
use super::office::Office;

impl Office {
    /// `POST` of a JSON body by a user.
    pub(crate) async fn post(&self, user: &str, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &[("x-user-id", user)], &body.to_string()).await
    }

    pub(crate) async fn delete(&self, user: &str, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[("x-user-id", user)], "").await
    }

    pub(crate) async fn get_as(&self, user: &str, path: &str) -> Answer {
        self.call(Method::GET, path, &[("x-user-id", user)], "").await
    }

    /// One order of event `e1`: `wanted` has `qty` or `seatIds`.
    pub(crate) async fn order(&self, user: &str, key: &str, wanted: Value) -> Answer {
        self.try_order(user, key, wanted).await.expect("an answer")
    }

    async fn try_order(&self, user: &str, key: &str, mut wanted: Value) -> Option<Answer> {
        wanted["eventId"] = "e1".into();
        let headers = [("x-user-id", user), ("idempotency-key", key)];
        call(&self.address, Method::POST, "/api/orders", &headers, &wanted.to_string()).await
    }

    /// As a shop page does it: busy and in flight mean again with the same key.
    pub(crate) async fn insist_on_order(&self, user: &str, key: &str, wanted: Value) -> Answer {
        for _ in 0..600 {
            match self.try_order(user, key, wanted.clone()).await {
                Some(answer) if answer.status == 503 || answer.json["code"] == "in-flight" => {}
                Some(answer) => return answer,
                None => {}
            }
            sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{user} is not answered")
    }

    /// The id of an order that must succeed.
    pub(crate) async fn ordered(&self, user: &str, key: &str, wanted: Value) -> String {
        let answer = self.order(user, key, wanted).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.field("orderId").to_owned()
    }

    /// Begins to pay by the gateway; says the id of the payment.
    pub(crate) async fn authorize(&self, user: &str, order: &str) -> String {
        let intent = self.post(user, "/api/payments/intent", &json!({ "orderId": order })).await;
        assert_eq!(intent.status, 201, "{intent:?}");
        let payment = intent.field("paymentId").to_owned();
        let begun = self.post(user, "/api/payments/authorize", &json!({ "paymentId": payment })).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        payment
    }

    /// Waits until payment and order stand like this.
    pub(crate) async fn payment_stands(&self, user: &str, payment: &str, stands: (&str, &str)) -> Answer {
        let what = format!("a payment and its order that are {stands:?}");
        eventually(&what, 30, async || {
            let answer = self.get_as(user, &format!("/api/payments/{payment}/status")).await;
            let now = (answer.json["status"].as_str(), answer.json["orderStatus"].as_str());
            (now == (Some(stands.0), Some(stands.1))).then_some(answer)
        })
        .await
    }

    /// `FREE`, `HELD` or `SOLD`, from the tables.
    pub(crate) async fn seat(&self, seat: &str) -> String {
        let sql = "SELECT status FROM seats WHERE event_id = 'e1' AND id = $1";
        self.database.connect().await.query_one(sql, &[&seat]).await.unwrap().get(0)
    }

    /// Panics unless everything adds up: counters, holds, orders, seats, and no money was kept for nothing. The
    /// outbox gets empty.
    pub(crate) async fn assert_settled(&self) {
        self.assert_outbox_empties().await;
        let client = self.database.connect().await;
        for (what, sql) in WRONG {
            let wrong: i64 = client.query_one(*sql, &[]).await.unwrap().get(0);
            assert_eq!(wrong, 0, "{what}");
        }
    }

    async fn assert_outbox_empties(&self) {
        eventually("an empty outbox", 30, async || {
            (self.database.number("SELECT count(*) FROM outbox").await == 0).then_some(())
        })
        .await;
    }
}

/// What must never be found.
const WRONG: &[(&str, &str)] = &[
    (
        "events whose counters are not the sums of their orders, or that are oversold",
        "SELECT count(*) FROM events e WHERE e.sold_qty + e.held_qty > e.total_qty
            OR e.sold_qty <> (SELECT coalesce(sum(qty), 0) FROM orders WHERE event_id = e.id AND status = 'PAID')
            OR e.held_qty <> (SELECT coalesce(sum(qty), 0) FROM orders
                WHERE event_id = e.id AND status IN ('HOLD', 'PAYING'))
            OR e.held_qty <> (SELECT coalesce(sum(qty), 0) FROM holds WHERE event_id = e.id)",
    ),
    (
        "holds without an order that is on hold",
        "SELECT count(*) FROM holds h LEFT JOIN orders o ON o.id = h.id AND o.status IN ('HOLD', 'PAYING')
            WHERE o.id IS NULL",
    ),
    (
        "seats that do not stand as their order does",
        "SELECT count(*) FROM seats s LEFT JOIN orders o ON o.id = s.order_id
            WHERE s.status <> CASE WHEN o.id IS NULL THEN 'FREE' WHEN o.status = 'PAID' THEN 'SOLD'
                WHEN o.status IN ('HOLD', 'PAYING') THEN 'HELD' ELSE 'nothing' END",
    ),
    (
        "seated orders that have not all of their seats",
        "SELECT count(*) FROM orders o WHERE o.seated AND o.status IN ('HOLD', 'PAYING', 'PAID')
            AND o.qty <> (SELECT count(*) FROM seats s WHERE s.order_id = o.id)",
    ),
    (
        "charges that succeeded although their order is not paid, or not by them",
        "SELECT count(*) FROM mock_charges c JOIN payments p ON p.id = c.payment_id JOIN orders o ON o.id = p.order_id
            WHERE c.state = 'succeeded' AND (p.status <> 'SUCCEEDED' OR o.status <> 'PAID')",
    ),
    (
        "payments that succeeded without a charge that did",
        "SELECT count(*) FROM payments p LEFT JOIN mock_charges c ON c.payment_id = p.id AND c.state = 'succeeded'
            WHERE p.status = 'SUCCEEDED' AND c.payment_id IS NULL AND EXISTS (SELECT 1 FROM mock_charges)",
    ),
    ("payments that are still open", "SELECT count(*) FROM payments WHERE status IN ('AUTHORIZING', 'REFUNDING')"),
];
