//! Payments by the gateway, whatever the gateway does: sold once, or given back and no money kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::gateway::{StubGateway, event};
use crate::support::office::Office;
use crate::support::postgres::Postgres;

#[tokio::test]
async fn a_charge_that_succeeds_sells_the_order_and_frees_the_slot() {
    let office = Office::selling(5).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    let payment = office.authorize("ann", &order).await;
    let paid = office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;
    assert_eq!((paid.number("amountMinor"), paid.field("currency")), (10_000, "EUR"));
    assert_eq!(paid.header("vestibule-command"), "release");
    assert_eq!(office.stock().await, (0, 2));
    let again = office.post("ann", "/api/payments/authorize", &json!({ "paymentId": payment })).await;
    assert_eq!((again.status.as_u16(), again.field("status")), (200, "SUCCEEDED"), "paid once");
    office.assert_settled().await;
    let metrics = office.get("/metrics").await.text;
    for line in
        [r#"payment_total{result="paid"} 1"#, r#"purchase_attempts_total{result="PAID"} 1"#, "outbox_dead 0"]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_hold_of_a_plain_purchase_can_be_paid_by_the_gateway_too() {
    let office = Office::selling(5).await;
    let order = office.hold("ann", "k", 2).await;
    let payment = office.authorize("ann", &order).await;
    office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;
    assert_eq!(office.stock().await, (0, 2));
    office.assert_settled().await;
}

#[tokio::test]
async fn a_charge_that_fails_gives_the_order_back() {
    let office = Office::with(5, &["--mock-gateway-failure", "100", "--mock-gateway-delay-ms", "20"]).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    let payment = office.authorize("ann", &order).await;
    office.payment_stands("ann", &payment, ("FAILED", "CANCELLED")).await;
    assert_eq!(office.stock().await, (0, 0));
    office.assert_settled().await;
}

#[tokio::test]
async fn a_gateway_that_never_calls_back_is_asked_how_the_charge_stands() {
    let gateway = StubGateway::answering("pending", "cancelled", "refunded").await;
    let arguments = gateway.arguments(&["--payment-ask-after-ms", "50"]);
    let office = Office::with(5, &arguments).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    eventually("the gateway to be asked again", 10, async || (gateway.asked("charge") > 2).then_some(()))
        .await;
    assert_eq!(office.get_as("ann", &format!("/api/orders/{order}")).await.field("status"), "PAYING");
    gateway.answer([Some("succeeded"), None, None]);
    office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;
    assert_eq!((gateway.asked("void"), office.stock().await), (0, (0, 1)));
    office.assert_settled().await;
}

#[tokio::test]
async fn a_charge_that_hangs_until_the_hold_is_over_is_called_off() {
    let arguments = [
        "--mock-gateway-silence",
        "100",
        "--hold-ttl-sec",
        "1",
        "--payment-window-sec",
        "1",
        "--payment-ask-after-ms",
        "50",
    ];
    let office = Office::with(5, &arguments).await;
    let order = office.ordered("ann", "k", json!({ "qty": 2 })).await;
    let payment = office.authorize("ann", &order).await;
    eventually("the tickets to come back", 20, async || (office.stock().await == (0, 0)).then_some(())).await;
    eventually("the payment to be called off", 20, async || {
        let status = office.get_as("ann", &format!("/api/payments/{payment}/status")).await;
        (status.json["status"] == "CANCELLED").then_some(())
    })
    .await;
    let charges = "SELECT count(*) FROM mock_charges WHERE state = 'cancelled'";
    assert_eq!(office.database.number(charges).await, 1);
    office.assert_settled().await;
}

#[tokio::test]
async fn money_that_comes_after_the_hold_is_sent_back_and_the_ticket_is_sold_once() {
    let gateway = StubGateway::answering("pending", "succeeded", "pending").await;
    let more = ["--hold-ttl-sec", "1", "--payment-window-sec", "0", "--payment-ask-after-ms", "50"];
    let office = Office::with(1, &gateway.arguments(&more)).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let mut tries = 0;
    let other = eventually("the ticket to be on sale again", 10, async || {
        tries += 1;
        let answer = office.buy("bob", &format!("k{tries}"), 1).await;
        if answer.json["status"] == "HOLD" {
            return Some(answer.field("orderId").to_owned());
        }
        None
    })
    .await;
    assert_eq!(office.pay("bob", &other).await.status, 200);
    office.payment_stands("ann", &payment, ("REFUNDING", "EXPIRED")).await;
    gateway.answer([None, None, Some("refunded")]);
    office.payment_stands("ann", &payment, ("REFUNDED", "REFUNDED")).await;
    assert_eq!(office.stock().await, (0, 1), "bob's");
    office.assert_settled().await;
}

#[tokio::test]
async fn an_event_of_the_gateway_counts_once_and_only_with_its_signature() {
    let gateway = StubGateway::answering("pending", "cancelled", "refunded").await;
    let office = Office::with(5, &gateway.arguments(&[])).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let success = event("evt_1", &payment, "succeeded");

    let unsigned = office.call(Method::POST, "/api/payments/webhook", &[], &success.to_string()).await;
    unsigned.assert_problem(401, "bad-signature");
    let forged = [("gateway-signature", "t=1,v1=00")];
    let answer = office.call(Method::POST, "/api/payments/webhook", &forged, &success.to_string()).await;
    answer.assert_problem(401, "bad-signature");
    for seconds in [-310, 310] {
        gateway.tell(&office, &success, seconds).await.assert_problem(401, "bad-signature");
    }
    let mut cheap = success.clone();
    cheap["amountMinor"] = 1.into();
    gateway.tell(&office, &cheap, 0).await.assert_problem(422, "amount-mismatch");
    let nobody = event("evt_0", "00000000-0000-0000-0000-000000000000", "succeeded");
    gateway.tell(&office, &nobody, 0).await.assert_problem(404, "unknown-payment");
    gateway.tell(&office, &json!({ "id": "evt_2" }), 0).await.assert_problem(400, "bad-json");
    assert_eq!(office.stock().await, (1, 0), "nothing happened so far");

    let taken = gateway.tell(&office, &success, -200).await;
    assert_eq!(
        (taken.status.as_u16(), taken.json.clone()),
        (200, json!({ "ok": true, "status": "SUCCEEDED" }))
    );
    let again = gateway.tell(&office, &success, 0).await;
    assert_eq!((again.status.as_u16(), again.json.clone()), (200, json!({ "ok": true, "duplicate": true })));
    let contrary = gateway.tell(&office, &event("evt_3", &payment, "failed"), 0).await;
    assert_eq!(contrary.field("status"), "SUCCEEDED", "what is sold stays sold");
    assert_eq!(office.stock().await, (0, 1));
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_many_times_at_once_sells_once() {
    let gateway = Arc::new(StubGateway::answering("pending", "cancelled", "refunded").await);
    let office = Arc::new(Office::with(5, &gateway.arguments(&[])).await);
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let mut deliveries = JoinSet::new();
    for number in 0..20 {
        let (gateway, office) = (Arc::clone(&gateway), Arc::clone(&office));
        let success = event(&format!("evt_{}", number % 3), &payment, "succeeded");
        deliveries.spawn(async move { gateway.tell(&office, &success, 0).await });
    }
    let answers = deliveries.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let repeated = answers.iter().filter(|answer| answer.json["duplicate"] == true).count();
    assert_eq!((repeated, office.stock().await), (17, (0, 1)));
    office.assert_settled().await;
}

#[tokio::test]
async fn an_order_has_one_payment_and_while_it_runs_nothing_else_happens_to_the_order() {
    let gateway = StubGateway::answering("pending", "cancelled", "refunded").await;
    let office = Office::with(5, &gateway.arguments(&[])).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let intent = office.post("ann", "/api/payments/intent", &json!({ "orderId": order })).await;
    assert_eq!((intent.status.as_u16(), intent.field("paymentId")), (200, payment.as_str()));
    let begun = office.post("ann", "/api/payments/authorize", &json!({ "paymentId": payment })).await;
    assert_eq!((begun.status.as_u16(), begun.field("orderStatus")), (202, "PAYING"));
    office.pay("ann", &order).await.assert_problem(409, "not-payable");
    office.delete("ann", &format!("/api/orders/{order}")).await.assert_problem(409, "not-changeable");
    for (path, body) in [
        ("/api/payments/intent", json!({ "orderId": order })),
        ("/api/payments/authorize", json!({ "paymentId": payment })),
    ] {
        assert_eq!(office.post("bob", path, &body).await.status, 404, "somebody else's");
        assert_eq!(office.post("ann", path, &json!({})).await.status, 400);
    }
    let status = format!("/api/payments/{payment}/status");
    office.get_as("bob", &status).await.assert_problem(404, "unknown-payment");
    office.get_as("ann", "/api/payments/nonsense/status").await.assert_problem(404, "unknown-payment");
    let failed = gateway.tell(&office, &event("evt_1", &payment, "failed"), 0).await;
    assert_eq!(failed.field("status"), "FAILED");
    let intent = office.post("ann", "/api/payments/intent", &json!({ "orderId": order })).await;
    intent.assert_problem(409, "not-payable");
    office.assert_settled().await;
}

#[tokio::test]
async fn a_payment_that_began_in_time_may_end_after_the_hold_would_have() {
    let gateway = StubGateway::answering("pending", "cancelled", "refunded").await;
    let more = ["--hold-ttl-sec", "1", "--payment-window-sec", "30"];
    let office = Office::with(5, &gateway.arguments(&more)).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let other = office.ordered("bob", "k", json!({ "qty": 1 })).await;
    eventually("a hold of the same length to expire", 10, async || {
        let order = office.get_as("bob", &format!("/api/orders/{other}")).await;
        (order.json["status"] == "EXPIRED").then_some(())
    })
    .await;
    let taken = gateway.tell(&office, &event("evt_1", &payment, "succeeded"), 0).await;
    assert_eq!(taken.field("status"), "SUCCEEDED");
    office.assert_settled().await;
}

#[tokio::test]
async fn a_payment_that_fails_again_and_again_is_shown_to_the_operator_who_may_try_it_again() {
    let gateway = StubGateway::answering("succeeded", "cancelled", "refunded").await;
    gateway.answer([None, None, None]);
    let token_file = gateway.secret_file.with_file_name("token");
    std::fs::write(&token_file, "operators-own-token\n").unwrap();
    let more = ["--payment-max-attempts", "2", "--admin-token-file", token_file.to_str().unwrap()];
    let office = Office::with(5, &gateway.arguments(&more)).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let payment = office.authorize("ann", &order).await;
    let operator = [("authorization", "Bearer operators-own-token")];
    let outbox = eventually("the payment to be given up", 20, async || {
        let answer = office.call(Method::GET, "/admin/outbox", &operator, "").await;
        (answer.json["dead"] == 1).then_some(answer)
    })
    .await;
    let letter = &outbox.json["deadLetters"][0];
    assert_eq!((letter["key"].as_str(), letter["attempts"].as_i64()), (Some(payment.as_str()), Some(2)));
    assert!(letter["lastError"].as_str().unwrap().contains("500"), "{letter}");
    eventually("the metric", 10, async || {
        office.get("/metrics").await.text.contains("outbox_dead 1").then_some(())
    })
    .await;

    office.get("/admin/outbox").await.assert_problem(401, "no-token");
    let wrong = [("authorization", "Bearer operators-0wn-token")];
    office.call(Method::GET, "/admin/outbox", &wrong, "").await.assert_problem(401, "no-token");
    let retry = format!("/admin/outbox/{}/retry", letter["id"]);
    office.call(Method::POST, &retry, &wrong, "").await.assert_problem(401, "no-token");
    gateway.answer([Some("succeeded"), None, None]);
    assert_eq!(office.call(Method::POST, &retry, &operator, "").await.status, 200);
    office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;
    office.call(Method::POST, &retry, &operator, "").await.assert_problem(404, "not-found");
    office.assert_settled().await;
}

#[tokio::test]
async fn without_a_token_file_there_is_no_admin() {
    let office = Office::selling(1).await;
    let said = [("authorization", "Bearer ")];
    office.call(Method::GET, "/admin/outbox", &said, "").await.assert_problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_leaves_its_payments_to_the_others() {
    let arguments =
        ["--mock-gateway-delay-ms", "1500", "--payment-ask-after-ms", "200", "--hold-ttl-sec", "60"];
    let office = Office::with(50, &arguments).await;
    let mut doomed = office.another(&arguments).await;
    let mut payments = Vec::new();
    for buyer in 0..10 {
        let user = format!("b{buyer}");
        let order = doomed.ordered(&user, "k", json!({ "qty": 1 })).await;
        payments.push((doomed.authorize(&user, &order).await, user));
    }
    doomed.end_by("-KILL").await;
    for (payment, user) in &payments {
        office.payment_stands(user, payment, ("SUCCEEDED", "PAID")).await;
    }
    assert_eq!(office.stock().await, (0, 10));
    office.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_charges_that_succeed_fail_and_hang_everything_adds_up_in_the_end() {
    let arguments = [
        "--mock-gateway-failure",
        "30",
        "--mock-gateway-silence",
        "20",
        "--hold-ttl-sec",
        "2",
        "--payment-window-sec",
        "1",
        "--payment-ask-after-ms",
        "100",
        "--mock-gateway-delay-ms",
        "700",
    ];
    let office = Arc::new(Office::with(30, &arguments).await);
    let offices = [Arc::clone(&office), Arc::new(office.another(&arguments).await)];
    let mut buyers = JoinSet::new();
    for buyer in 0..80 {
        let office = Arc::clone(&offices[buyer % 2]);
        buyers.spawn(async move { buy_patiently(&office, &format!("b{buyer}"), buyer).await });
    }
    let paid = buyers.join_all().await.into_iter().filter(|paid| *paid).count();
    eventually("all holds to end", 20, async || (office.stock().await.0 == 0).then_some(())).await;
    office.assert_settled().await;
    let sold = usize::try_from(office.stock().await.1).unwrap();
    assert!(sold == paid && paid > 0, "{paid} heard that they have paid, {sold} are sold");
}

/// Orders, pays around the end of the hold, and watches how it ends; says whether it is paid.
async fn buy_patiently(office: &Office, user: &str, number: usize) -> bool {
    let answer = office.insist_on_order(user, "k", json!({ "qty": 1 })).await;
    if answer.status == 409 {
        return false;
    }
    let order = answer.field("orderId").to_owned();
    // The moment matters here: some begin to pay when their time is nearly over.
    tokio::time::sleep(Duration::from_millis(number as u64 * 25)).await;
    let intent = office.post(user, "/api/payments/intent", &json!({ "orderId": order })).await;
    let Some(payment) = intent.json["paymentId"].as_str() else {
        intent.assert_problem(410, "hold-expired");
        return false;
    };
    let begun = office.post(user, "/api/payments/authorize", &json!({ "paymentId": payment })).await;
    if begun.status == 410 {
        return false;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let order = office.get_as(user, &format!("/api/orders/{order}")).await;
        match order.field("status") {
            "PAID" => return true,
            "CANCELLED" | "EXPIRED" | "REFUNDED" => return false,
            status => assert!(Instant::now() < deadline, "{user} is still {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_purchase_is_one_trace_from_the_buyer_to_the_webhook() {
    let office = Office::selling(5).await;
    let order = office.ordered("ann", "k", json!({ "qty": 1 })).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("x-user-id", "ann"), ("traceparent", traceparent.as_str())];
    let body = json!({ "orderId": order }).to_string();
    let intent = office.call(Method::POST, "/api/payments/intent", &headers, &body).await;
    let payment = intent.field("paymentId");
    office.post("ann", "/api/payments/authorize", &json!({ "paymentId": payment })).await;
    office.payment_stands("ann", payment, ("SUCCEEDED", "PAID")).await;
    let paid = eventually("the line of the webhook", 5, async || {
        let log = office.log();
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["paymentId"] == payment && line["result"] == "SUCCEEDED")
    })
    .await;
    assert_eq!(paid["trace_id"], trace, "{paid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_in_the_middle_of_payments_loses_and_doubles_none() {
    let mut server = Postgres::start();
    let arguments =
        ["--open", "--seed-total", "40", "--mock-gateway-delay-ms", "600", "--payment-ask-after-ms", "200"];
    let office = Office::on(&server.database(), &arguments).await;
    let mut payments = Vec::new();
    for buyer in 0..20 {
        let user = format!("b{buyer}");
        let order = office.ordered(&user, "k", json!({ "qty": 1 })).await;
        payments.push((office.authorize(&user, &order).await, user));
    }
    server.kill();
    eventually("the outage to be noticed", 10, async || {
        (office.get("/healthz?db=ping").await.status == 503).then_some(())
    })
    .await;
    server.up();
    for (payment, user) in &payments {
        eventually("the payment to be made", 30, async || {
            let answer = office.get_as(user, &format!("/api/payments/{payment}/status")).await;
            (answer.json["orderStatus"] == "PAID").then_some(())
        })
        .await;
    }
    assert_eq!(office.stock().await, (0, 20));
    office.assert_settled().await;
}
