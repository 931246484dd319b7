//! One purchase is one trace over both programs: somebody waits, is let in with an order, pays, and the gateway's webhook
//! ends it. Real processes, one collector.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use axum::http::Method;
use serde_json::{Value, json};
use traces::collector::{Collector, Kept, attribute, hex, tree};

use crate::support::eventually;
use crate::support::http::Answer;
use crate::support::office::Office;
use crate::support::postgres::shared;
use crate::support::vestibule::{Vestibule, Visitor, office_behind};

/// By its end this trace is none of the tenth that is kept of what only reads.
const TRACE: &str = "4bf92f3577b34da6a3ffffffffffffff";
/// The browser's span.
const PARENT: &str = "00f067aa0ba902b7";
/// One at a time, so that the second has to wait; at once, as far as the rate goes.
const ROOM: &str = "total_active_users = 1\nnew_users_per_minute = 60000\nsettle_window = \"0s\"";

/// Each of the three calls of a buyer: the edge, its call to the origin, the box office.
const PURCHASE: &str = "POST
  POST
    POST /purchase
      counter: purchase
        commit of a group
POST
  POST
    POST /api/payments/intent
      outbox: payment
        PUT
          gateway: charge
            POST
              POST /api/payments/webhook
POST
  POST
    POST /api/payments/authorize";

/// Both programs, told to tell the collector.
struct Street {
    office: Office,
    edge: Vestibule,
    collector: Collector,
}

impl Street {
    async fn open() -> Self {
        let collector = Collector::start().await;
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
        let office = office_behind(&shared().database(), &["--seed-total", "5"], &variables).await;
        let edge = Vestibule::before(&[&office], ROOM, &variables).await;
        Self { office, edge, collector }
    }
}

/// The calls of one buyer, all in one trace.
struct Buyer {
    visitor: Visitor,
}

impl Buyer {
    async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let parent = traceparent(TRACE);
        let headers = [("traceparent", parent.as_str()), ("idempotency-key", "k")];
        self.visitor.ask(Method::POST, path, &headers, &body.to_string()).await
    }

    async fn stands(&mut self, state: &str) {
        self.visitor.stands(state, &[("traceparent", &traceparent(TRACE))]).await;
    }

    /// The id of a payment that is on its way.
    async fn pay(&mut self, order: &str) -> String {
        let intent = self.post("/api/payments/intent", &json!({ "orderId": order })).await;
        let payment = intent.field("paymentId").to_owned();
        let begun = self.post("/api/payments/authorize", &json!({ "paymentId": payment })).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        payment
    }
}

#[tokio::test]
async fn a_purchase_is_one_trace_from_the_line_to_the_webhook() {
    let mut street = Street::open().await;
    let mut holder = street.edge.somebody_inside().await;
    let mut ann = Buyer { visitor: Visitor::of(&street.edge) };
    let joined = ann.post("/_queue/join?room=e1", &json!({})).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let began = Instant::now();
    ann.stands("waiting").await;
    holder.ask(Method::POST, "/_queue/leave?room=e1", &[], "").await;
    ann.stands("turn").await;
    let waited = began.elapsed();

    // Entry and order are one request: the turn is claimed by what the visitor came for.
    let order = ann.post("/purchase", &json!({ "eventId": "e1", "qty": 1 })).await;
    assert_eq!(order.json["status"], "HOLD", "{order:?}");
    assert!(ann.visitor.has_pass());
    let payment = ann.pay(order.field("orderId")).await;
    eventually("the payment", 30, async || {
        let headers = [("traceparent", traceparent(TRACE))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let path = format!("/api/payments/{payment}/status");
        let status = ann.visitor.ask(Method::GET, &path, &headers, "").await;
        (status.json["orderStatus"] == "PAID").then_some(())
    })
    .await;
    let spans = spans(&street, PURCHASE).await;
    assert_eq!(tree(&spans, PARENT).join("\n"), PURCHASE);
    assert_whole(&spans);
    let entry = entered(&spans);
    assert!(entry >= waited.as_millis(), "told {entry} ms, waited {waited:?}");
    assert!(lines(&street.office.log(), TRACE).iter().any(|line| line["msg"] == "purchase"));
    what_fails_is_in_the_same_trace_and_in_the_edges_log(&mut street, &mut ann).await;
}

/// The office is gone: the edge answers instead.
async fn what_fails_is_in_the_same_trace_and_in_the_edges_log(street: &mut Street, ann: &mut Buyer) {
    assert!(street.office.end_by("-TERM").await.success());
    let failed = ann.post("/purchase", &json!({ "eventId": "e1", "qty": 1 })).await;
    assert!(failed.status.is_server_error(), "{failed:?}");
    assert_eq!(failed.field("trace_id"), TRACE);
    let whole = format!("{PURCHASE}\nPOST\n  POST");
    let spans = spans(street, &whole).await;
    assert_eq!(tree(&spans, PARENT).join("\n"), whole);
    assert_whole(&spans);
    let lines = lines(&street.edge.log(), TRACE);
    assert!(
        lines.iter().any(|line| line["service"] == "vestibule" && line["lvl"] == "warn"),
        "{}",
        street.edge.log()
    );
}

#[tokio::test]
async fn of_what_only_reads_both_programs_keep_the_same_tenth() {
    let mut street = Street::open().await;
    let mut holder = street.edge.somebody_inside().await;
    // The share is decided by the last 56 bits: from 5 % to 95 % of them.
    let traces: Vec<String> =
        (0..10_u64).map(|i| format!("4bf92f3577b34da6a3{:014x}", ((1 << 56) / 20) * (2 * i + 1))).collect();
    for trace in &traces {
        let parent = traceparent(trace);
        let answer = holder.ask(Method::GET, "/api/events", &[("traceparent", &parent)], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(street.office.end_by("-TERM").await.success());
    street.edge.end().await;
    let kept: BTreeMap<&String, Vec<String>> = traces
        .iter()
        .map(|trace| (trace, tree(&street.collector.trace(trace), PARENT)))
        .filter(|(_, spans)| !spans.is_empty())
        .collect();
    let whole = ["GET", "  GET", "    GET /api/events"].map(str::to_owned).to_vec();
    assert_eq!(kept, BTreeMap::from([(&traces[0], whole)]));
    assert_whole(&street.collector.trace(&traces[0]));
}

/// As many as this tree has, once they are told.
async fn spans(street: &Street, tree: &str) -> Vec<Kept> {
    eventually("all spans", 15, async || {
        let spans = street.collector.trace(TRACE);
        (spans.len() >= tree.lines().count()).then_some(spans)
    })
    .await
}

/// No span hangs in the air: the outer two of each call are the edge's, all below them the box office's.
fn assert_whole(spans: &[Kept]) {
    let id = |kept: &Kept| hex(&kept.span.span_id);
    let parent = |kept: &Kept| hex(&kept.span.parent_span_id);
    let ids: HashSet<String> = spans.iter().map(id).collect();
    assert_eq!(ids.len(), spans.len(), "two spans have one id");
    let requests: HashSet<String> = spans.iter().filter(|kept| parent(kept) == PARENT).map(id).collect();
    for kept in spans {
        let (own, above) = (&kept.span.name, parent(kept));
        assert!(above == PARENT || ids.contains(&above), "{own} is an orphan");
        let is_of_edge = above == PARENT || requests.contains(&above);
        assert_eq!(kept.service, if is_of_edge { "vestibule" } else { "box-office" }, "{own}");
    }
    assert!(spans.len() > 2 * requests.len(), "the box office has told nothing");
}

/// How long the one entry among these spans says that its visitor has waited, in milliseconds.
fn entered(spans: &[Kept]) -> u128 {
    let of_span = |kept: &Kept| {
        let events = kept.span.events.iter().filter(|event| event.name == "queue.entered");
        events.map(|event| event.attributes.clone()).collect::<Vec<_>>()
    };
    let [entry] = spans.iter().flat_map(of_span).collect::<Vec<_>>().try_into().expect("one entry");
    let mut about = spans[0].span.clone();
    about.attributes = entry;
    attribute(&about, "waited_ms").expect("how long").parse().unwrap()
}

/// The lines of a log that carry the trace.
fn lines(log: &str, trace: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["trace_id"] == trace)
        .collect()
}

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{PARENT}-00")
}
