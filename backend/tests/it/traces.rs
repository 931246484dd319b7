//! What a collector is told of a purchase.

use axum::http::Method;
use serde_json::json;
use traces::collector::{Collector, attribute, hex, tree};

use crate::support::eventually;
use crate::support::office::Office;
use crate::support::postgres::shared;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The edge's span.
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_purchase_is_one_tree_from_the_edge_to_commit_outbox_gateway_and_webhook() {
    let (office, collector) = traced().await;
    let body = json!({ "eventId": "e1", "qty": 1 }).to_string();
    let headers = [("x-user-id", "ann"), ("idempotency-key", "k"), ("traceparent", &from_edge("01"))];
    let order = office.call(Method::POST, "/purchase", &headers, &body).await.field("orderId").to_owned();
    let body = json!({ "orderId": order }).to_string();
    let intent = office.call(Method::POST, "/api/payments/intent", &headers, &body).await;
    let payment = intent.field("paymentId").to_owned();
    let body = json!({ "paymentId": payment }).to_string();
    office.call(Method::POST, "/api/payments/authorize", &headers, &body).await;
    office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;

    let spans = eventually("the webhook's span", 15, async || {
        let spans = collector.trace(TRACE);
        spans.iter().any(|kept| kept.span.name == "POST /api/payments/webhook").then_some(spans)
    })
    .await;
    let expected = "POST /purchase
  counter: purchase
    commit of a group
POST /api/payments/intent
  outbox: payment
    PUT
      gateway: charge
        POST
          POST /api/payments/webhook
POST /api/payments/authorize";
    assert_eq!(tree(&spans, PARENT).join("\n"), expected);
    assert!(spans.iter().all(|kept| kept.service == "box-office"), "{spans:?}");
    let named = |name: &str| &spans.iter().find(|kept| kept.span.name == name).unwrap().span;
    let purchase = named("POST /purchase");
    assert_eq!(attribute(purchase, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(purchase, "http.route").as_deref(), Some("/purchase"));
    assert_eq!(attribute(named("commit of a group"), "box_office.group.size").as_deref(), Some("1"));
    assert!(spans.iter().all(|kept| kept.span.end_time_unix_nano >= kept.span.start_time_unix_nano));
}

#[tokio::test]
async fn a_trace_that_the_edge_does_not_keep_is_not_told_and_a_purchase_that_begins_here_is() {
    let (office, collector) = traced().await;
    let body = json!({ "eventId": "e1", "qty": 1 }).to_string();
    let unkept = [("x-user-id", "ann"), ("idempotency-key", "a"), ("traceparent", &from_edge("00"))];
    office.call(Method::POST, "/purchase", &unkept, &body).await;
    let refused = [("x-user-id", "ann")];
    let answer = office.call(Method::POST, "/purchase", &refused, &body).await;
    assert_eq!(answer.status, 400);
    let begun = answer.field("trace_id");
    let spans = eventually("the span of the refused purchase", 15, async || {
        let spans = collector.trace(begun);
        (!spans.is_empty()).then_some(spans)
    })
    .await;
    assert_eq!(hex(&spans[0].span.parent_span_id), "");
    assert_eq!(collector.trace(TRACE).len(), 0);
}

#[tokio::test]
async fn what_only_reads_is_kept_by_chance_and_the_last_spans_are_told_before_the_end() {
    let collector = Collector::start().await;
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let mut office =
        Office::with_variables(&shared().database(), &["--open", "--seed-total", "5"], &variables).await;
    for _ in 0..20 {
        office.get("/api/events").await;
    }
    office.buy("ann", "k", 1).await;
    assert!(office.end_by("-TERM").await.success());
    // The purchase, its wait at the counter, the commit.
    assert_eq!(collector.count(), 3);
}

#[tokio::test]
async fn a_collector_that_is_away_hinders_no_purchase() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let mut office =
        Office::with_variables(&shared().database(), &["--open", "--seed-total", "5"], &variables).await;
    office.hold("ann", "k", 1).await;
    assert!(office.end_by("-TERM").await.success());
}

async fn traced() -> (Office, Collector) {
    let collector = Collector::start().await;
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let arguments = ["--open", "--seed-total", "5"];
    (Office::with_variables(&shared().database(), &arguments, &variables).await, collector)
}

fn from_edge(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}
