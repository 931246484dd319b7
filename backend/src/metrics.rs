//! Every metric, declared once.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::db::outbox::OutboxCounts;
use crate::sale::Status;

const ATTEMPTS: &str = "purchase_attempts_total";
const PURCHASE: &str = "purchase_duration_seconds";
const LOCK_WAIT: &str = "pg_locks_wait_seconds";
const RESERVATIONS: &str = "reservation_status_total";
const PAYMENTS: &str = "payment_total";
const SOCKETS: &str = "ws_connections";
const MESSAGES: &str = "ws_messages_total";
const DROPPED: &str = "ws_dropped_total";
const WAITING: &str = "counter_waiting";
const GROUP_SIZE: &str = "counter_group_size";
const OUTBOX: &str = "outbox_pending";
const OUTBOX_DEAD: &str = "outbox_dead";
const HTTP: &str = "http_server_request_duration_seconds";

/// Seconds: from a statement on a warm connection to the longest deadline.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Requests that one transaction serves.
const GROUP_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Makes the recorder of this process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(GROUP_SIZE.into()), &GROUP_BUCKETS)?
        .install_recorder()?;
    describe_counter!(
        ATTEMPTS,
        "First answers to purchases (HOLD, REJECTED, ERROR) and first payments (PAID)"
    );
    describe_histogram!(PURCHASE, "Time of a purchase, from the parsed request to its answer");
    describe_histogram!(LOCK_WAIT, "Time until the event's row lock was ours");
    describe_counter!(RESERVATIONS, "Holds by the state they went to");
    describe_counter!(PAYMENTS, "Payments by result");
    describe_gauge!(SOCKETS, "Open WebSockets");
    describe_counter!(MESSAGES, "WebSocket messages by direction and type");
    describe_counter!(DROPPED, "WebSocket messages replaced by a newer one before they were sent");
    describe_gauge!(WAITING, "Requests at the counter that wait for their answer");
    describe_histogram!(GROUP_SIZE, "Requests that were served by one transaction");
    describe_gauge!(OUTBOX, "Rows of the outbox that are still to be told");
    describe_gauge!(OUTBOX_DEAD, "Rows of the outbox that were given up");
    describe_histogram!(HTTP, "Time of HTTP requests");
    gauge!(SOCKETS).set(0.0);
    for result in ["HOLD", "PAID", "REJECTED", "ERROR"] {
        counter!(ATTEMPTS, "result" => result).increment(0);
    }
    Ok(handle)
}

/// What became of one attempt to buy.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    Hold,
    Paid,
    Rejected,
    Error,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "HOLD",
            Self::Paid => "PAID",
            Self::Rejected => "REJECTED",
            Self::Error => "ERROR",
        }
    }
}

/// Counts an attempt, and the state its order went to.
pub fn attempted(outcome: Outcome) {
    counter!(ATTEMPTS, "result" => outcome.as_str()).increment(1);
    match outcome {
        Outcome::Hold => reservations(Status::Hold, 1),
        Outcome::Paid => reservations(Status::Paid, 1),
        Outcome::Rejected => reservations(Status::Rejected, 1),
        Outcome::Error => {}
    }
}

pub fn purchase_took(span: Duration) {
    histogram!(PURCHASE).record(span);
}

pub fn lock_waited(span: Duration) {
    histogram!(LOCK_WAIT).record(span);
}

pub fn reservations(status: Status, count: u64) {
    counter!(RESERVATIONS, "status" => status.as_str()).increment(count);
}

/// `line`: `purchases`, `payments`.
pub fn joined_line(line: &'static str) {
    gauge!(WAITING, "line" => line).increment(1);
}

pub fn left_line(line: &'static str) {
    gauge!(WAITING, "line" => line).decrement(1);
}

pub fn group_served(line: &'static str, size: usize) {
    histogram!(GROUP_SIZE, "line" => line).record(size as f64);
}

/// `result`: `paid`, `repeated`, `expired`, `refused`, `error`; by the gateway also `failed`, `cancelled`, `refunding`,
/// `refunded`.
pub fn payment(result: &'static str) {
    counter!(PAYMENTS, "result" => result).increment(1);
}

pub fn socket_opened() {
    gauge!(SOCKETS).increment(1);
}

pub fn socket_closed() {
    gauge!(SOCKETS).decrement(1);
}

pub fn message_sent(kind: &'static str) {
    counter!(MESSAGES, "direction" => "out", "type" => kind).increment(1);
}

pub fn message_received(kind: &'static str) {
    counter!(MESSAGES, "direction" => "in", "type" => kind).increment(1);
}

pub fn messages_replaced(kind: &'static str, count: u64) {
    counter!(DROPPED, "type" => kind).increment(count);
}

pub fn outbox(counts: OutboxCounts) {
    gauge!(OUTBOX).set(counts.pending as f64);
    gauge!(OUTBOX_DEAD).set(counts.dead as f64);
}

/// `route` is the pattern, so the number of series does not grow with requests.
pub fn served(method: &'static str, route: &str, status: u16, span: Duration) {
    histogram!(
        HTTP,
        "http_request_method" => method,
        "http_route" => route.to_owned(),
        "http_response_status_code" => status.to_string()
    )
    .record(span);
}
