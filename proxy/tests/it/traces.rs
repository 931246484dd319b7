//! What a collector is told of requests, and what the origin is told of their trace.

use std::time::Duration;

use ::traces::collector::{Collector, Kept, attribute, hex, tree};

use crate::rig::{Client, Origin};
use crate::rolling::{Edge, Setup, enter};
use crate::site::until_within;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The browser's span.
const PARENT: &str = "00f067aa0ba902b7";
const OPEN: &str = "total_active_users = 100\nnew_users_per_minute = 60000";

#[tokio::test]
async fn a_request_that_changes_something_is_told_with_its_call_and_the_origin_goes_on_from_there() {
    let (edge, origin, collector) = traced("0").await;
    let mut visitor = enter(edge.site).await;
    // Both ways to the origin: the short one, and Pingora's.
    for (line, connection) in [("/purchase", "keep-alive"), ("/pay", "keep-alive, X-None")] {
        let trace = if line == "/purchase" { TRACE.to_owned() } else { TRACE.replace('4', "5") };
        let headers = [("traceparent", format!("00-{trace}-{PARENT}-00")), ("Connection", connection.into())];
        let answer = post(&edge, &mut visitor, line, &headers).await;
        assert_eq!(answer, 200, "{line}");
        let spans = told(&collector, &trace, 2).await;
        assert_eq!(tree(&spans, PARENT), ["POST", "  POST"], "{line}");
        let [request, call] = [PARENT.to_owned(), hex(&named(&spans, PARENT).span.span_id)]
            .map(|parent| named(&spans, &parent).span.clone());
        assert_eq!(attribute(&request, "vestibule.verdict").as_deref(), Some("forwarded"));
        assert_eq!(attribute(&request, "vestibule.room").as_deref(), Some("e1"));
        assert_eq!(attribute(&request, "http.response.status_code").as_deref(), Some("200"));
        let received = origin.requests().into_iter().find(|received| received.target == line).unwrap();
        assert_eq!(received.one("traceparent"), format!("00-{trace}-{}-01", hex(&call.span_id)));
        assert_eq!(received.one("x-request-id"), trace);
    }
}

#[tokio::test]
async fn nobody_outside_has_a_trace_kept_and_of_what_the_edge_answers_itself_a_share_is_told() {
    let (edge, origin, collector) = traced("0").await;
    let mut visitor = enter(edge.site).await.with("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(visitor.visit("/read").await.shows(), "GET /read");
    let received = origin.requests().into_iter().find(|received| received.target == "/read").unwrap();
    assert_eq!(received.one("traceparent"), format!("00-{TRACE}-{PARENT}-00"));
    // A flood of joins is no purchase.
    for _ in 0..20 {
        visitor.call("POST /_queue/join").await;
    }
    edge.signal("-TERM");
    let mut edge = edge;
    assert_eq!(edge.exit().await.0, Some(0));
    assert_eq!(collector.trace(TRACE).len(), 0);
}

#[tokio::test]
async fn an_entry_tells_how_long_its_visitor_waited_and_everything_is_told_when_all_is_kept() {
    let (edge, _origin, collector) = traced("1").await;
    let mut visitor = enter(edge.site).await.with("traceparent", &format!("00-{TRACE}-{PARENT}-00"));
    visitor.visit("/read").await;
    let spans = told(&collector, TRACE, 2).await;
    assert_eq!(tree(&spans, PARENT), ["GET", "  GET"]);
    let entered = |kept: &Kept| kept.span.events.iter().any(|event| event.name == "queue.entered");
    until_within("the entry is told", Duration::from_secs(10), || collector.all().iter().any(entered)).await;
    assert!(!spans.iter().any(entered), "it was no entry");
    assert!(collector.all().iter().all(|kept| kept.service == "vestibule"));
}

async fn traced(share: &str) -> (Edge, Origin, Collector) {
    let collector = Collector::start().await;
    let origin = Origin::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_TRACES_SAMPLER_ARG", share),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let edge = Setup::new(origin.address, None, OPEN).start_with(&variables).await;
    (edge, origin, collector)
}

/// The status of a request with the visitor's pass and nothing in its body.
async fn post(
    edge: &Edge,
    visitor: &mut crate::site::Visitor,
    target: &str,
    headers: &[(&str, String)],
) -> u16 {
    let lines =
        headers.iter().fold(String::new(), |lines, (name, value)| lines + name + ": " + value + "\r\n");
    let pass = visitor.pass().unwrap();
    let lines = format!("Queue-Pass: {pass}\r\nContent-Length: 0\r\n{lines}");
    Client::connect(edge.site).await.ask(&format!("POST {target}"), &lines).await.status
}

async fn told(collector: &Collector, trace: &str, spans: usize) -> Vec<Kept> {
    until_within("spans are told", Duration::from_secs(10), || collector.trace(trace).len() >= spans).await;
    collector.trace(trace)
}

/// The span below this one.
fn named<'a>(spans: &'a [Kept], parent: &str) -> &'a Kept {
    spans.iter().find(|kept| hex(&kept.span.parent_span_id) == parent).unwrap()
}
