//! What operators rely on: exit codes, probes, logs, metrics, an orderly end.

use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use crate::support::eventually;
use crate::support::office::{Office, command};
use crate::support::postgres::shared;

#[tokio::test]
async fn the_end_waits_for_a_purchase_that_is_being_made() {
    let office = Arc::new(Office::selling(5).await);
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let purchase = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.buy("ann", "k", 1).await }
    });
    office.waits_for_a_lock().await;
    office.signal("-INT");
    eventually("the listener to close", 5, async || {
        tokio::net::TcpStream::connect(&office.address).await.is_err().then_some(())
    })
    .await;
    lock.commit().await.unwrap();
    assert_eq!(purchase.await.unwrap().json["status"], "HOLD");
    let mut office = Arc::into_inner(office).unwrap();
    assert_eq!(office.end_by("-TERM").await.code(), Some(0));
}

#[test]
fn wrong_arguments_and_settings_have_their_exit_codes() {
    let database = shared().database().url;
    for (arguments, code, says) in [
        (vec!["--no-such-flag"], 64, "--no-such-flag"),
        (vec!["--open", "--max-qty", "0"], 64, "--max-qty"),
        (vec!["--open", "--log-level", "box_office=loud"], 64, "LOG_LEVEL"),
        (vec![], 78, "PASS_JWKS_URL"),
        (vec!["--pass-jwks-url", "https://edge/jwks"], 78, "http://"),
        (vec!["--pass-secret-file", "/nowhere/secret"], 78, "/nowhere/secret"),
        (vec!["--open", "--event-id", ""], 78, "EVENT_ID"),
        (vec!["--help"], 0, ""),
    ] {
        let output = command(&database).args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn logs_are_json_lines_that_continue_the_trace() {
    let office = Office::selling(5).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("x-user-id", "ann"), ("idempotency-key", "k-1"), ("traceparent", traceparent.as_str())];
    office.call(Method::POST, "/purchase", &headers, r#"{"eventId":"e1","qty":2}"#).await;
    let log = office.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let purchase = lines.iter().find(|line| line["msg"] == "purchase").expect("the line of the purchase");
    for (field, value) in [
        ("lvl", "info"),
        ("service", "box-office"),
        ("trace_id", trace),
        ("eventId", "e1"),
        ("userId", "ann"),
        ("result", "HOLD"),
        ("idempotencyKey", "k-1"),
    ] {
        assert_eq!(purchase[field], value, "{purchase}");
    }
    assert_eq!(purchase["qty"], 2);
    assert!(purchase["latencyMs"].as_f64().is_some_and(|millis| millis > 0.0));
    assert!(purchase["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')));

    let unknown = [("x-user-id", "ann"), ("traceparent", traceparent.as_str())];
    let problem = office.call(Method::GET, "/nowhere", &unknown, "").await;
    assert_eq!(problem.field("trace_id"), trace);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let office = Office::selling(3).await;
    let order = office.hold("ann", "k1", 2).await;
    office.buy("ann", "k1", 2).await;
    office.buy("ann", "k2", 2).await;
    office.buy("ann", "k1", 1).await;
    office.pay("ann", &order).await;
    office.pay("ann", &order).await;
    let metrics = office.get("/metrics").await.text;
    for line in [
        r#"purchase_attempts_total{result="HOLD"} 1"#,
        r#"purchase_attempts_total{result="REJECTED"} 1"#,
        r#"purchase_attempts_total{result="ERROR"} 1"#,
        r#"purchase_attempts_total{result="PAID"} 1"#,
        r#"payment_total{result="paid"} 1"#,
        r#"payment_total{result="repeated"} 1"#,
        r#"reservation_status_total{status="PAID"} 1"#,
        "purchase_duration_seconds_count 4",
        "pg_locks_wait_seconds_count 2",
        r#"http_request_method="POST",http_route="/pay/{order}",http_response_status_code="200"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn visitors_who_come_through_the_edge_are_not_shown_metrics() {
    let office = Office::selling(1).await;
    let through_the_edge = [("x-forwarded-for", "203.0.113.9")];
    let answer = office.call(Method::GET, "/metrics", &through_the_edge, "").await;
    assert_eq!((answer.status.as_u16(), answer.field("code")), (404, "not-found"));
}

#[tokio::test]
async fn a_restart_keeps_the_stock_and_seeds_nothing_anew() {
    let mut office = Office::selling(5).await;
    office.hold("ann", "k", 2).await;
    assert!(office.end_by("-TERM").await.success());
    let again = office.another(&["--seed-total", "99", "--seed-name", "Other"]).await;
    let event = again.get("/api/events/e1").await;
    assert_eq!((event.number("total"), event.number("held"), event.number("remaining")), (5, 2, 3));
    assert_eq!(again.get("/api/events").await.json["events"][0]["id"], "e1");
}

#[tokio::test]
async fn several_processes_may_start_on_an_empty_database_at_once() {
    let database = shared().database();
    let arguments = ["--open", "--seed-total", "5"];
    let (first, second, third) = tokio::join!(
        Office::on(&database, &arguments),
        Office::on(&database, &arguments),
        Office::on(&database, &arguments),
    );
    for office in [first, second, third] {
        assert_eq!(office.get("/api/events/e1").await.number("total"), 5);
    }
}

#[tokio::test]
async fn the_shop_page_runs_nothing_but_its_own() {
    let office = Office::selling(5).await;
    let page = office.get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("connect-src 'self'"), "{policy}");
}
