//! Buying and paying.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use room::time::Micros;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Segment, Shop};
use crate::db::DbError;
use crate::db::orders::{Attempt, Attempted, OrderNews, Payment};
use crate::db::settle::Bill;
use crate::error::Error;
use crate::metrics;
use crate::passes::Caller;
use crate::sale::{IdempotencyKey, Qty, SaleError, Status};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PurchaseRequest)]
struct Wanted {
    event_id: String,
    #[schema(minimum = 1)]
    qty: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "UPPERCASE", rename_all_fields = "camelCase")]
#[schema(as = Purchase)]
enum Answer {
    Hold { order_id: Uuid, remaining: u32, hold_expires_at: String },
    Rejected { reason: &'static str, remaining: u32 },
}

#[derive(Serialize, ToSchema)]
struct Paid {
    ok: bool,
    status: Status,
}

#[utoipa::path(
    post,
    path = "/purchase",
    operation_id = "purchase",
    tag = "purchase",
    description = "Puts so many tickets on hold, once a key.",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters; repeated only to retry", min_length = 1, max_length = 255)),
    request_body = Wanted,
    responses((status = 200, description = "On hold, or refused because too few are left", body = Answer), super::openapi::Problems),
)]
pub(super) async fn purchase(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let started = Instant::now();
    let user_id = caller.buyer()?;
    let key = key(&headers)?;
    let Wanted { event_id, qty } = super::json(body).await?;
    let attempt =
        Attempt { event_id: event_id.parse()?, qty: Qty::new(qty, shop.rules.max_qty)?, user_id, key };
    shop.within_hours(&attempt.event_id, &attempt.user_id, Some(&attempt.key)).await?;
    let attempted = shop.counter.purchase(attempt.clone()).await;
    record(&attempt, &attempted, started);
    match attempted? {
        Attempted::Held { order, remaining, expires_at, replayed } => {
            if !replayed {
                shop.tell(order, attempt.event_id.as_str(), &attempt.user_id, Status::Hold);
            }
            let hold_expires_at = Micros::from(expires_at).to_rfc3339();
            Ok(answered(Answer::Hold { order_id: order, remaining, hold_expires_at }, replayed))
        }
        Attempted::OutOfStock { remaining, replayed } => {
            Ok(answered(Answer::Rejected { reason: "OUT_OF_STOCK", remaining }, replayed))
        }
        Attempted::InFlight => Err(Error::InFlight),
        Attempted::OtherBody => Err(Error::KeyReused),
        Attempted::UnknownEvent => Err(Error::UnknownEvent),
    }
}

#[utoipa::path(
    post,
    path = "/pay/{order}",
    operation_id = "pay",
    tag = "purchase",
    description = "Buys what is on hold, without a gateway.",
    params(("order" = String, Path, description = "its id")),
    responses((status = 200, description = "Done", body = Paid), super::openapi::Problems),
)]
pub(super) async fn pay(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    order: Segment,
) -> Result<Response, Error> {
    let started = Instant::now();
    let user_id = caller.buyer()?;
    let order: Uuid = order?.parse().map_err(|_| Error::UnknownOrder)?;
    let bill = Bill { order, user_id: user_id.clone(), from: Status::Hold };
    let payment = shop.counter.pay(bill).await;
    record_payment(order, &user_id, &payment, started);
    match payment? {
        Payment::Paid { event_id, first } => {
            if first {
                shop.tell(order, &event_id, &user_id, Status::Paid);
            }
            let paid = Json(Paid { ok: true, status: Status::Paid });
            Ok(super::paid(([(header::CACHE_CONTROL, "no-store")], paid).into_response()))
        }
        Payment::HoldExpired => Err(Error::HoldExpired),
        Payment::Unknown => Err(Error::UnknownOrder),
        Payment::NotPayable(status) => Err(Error::NotPayable(status)),
    }
}

/// The one key of a request.
pub(super) fn key(headers: &HeaderMap) -> Result<IdempotencyKey, SaleError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let value = values.next().ok_or(SaleError::KeyMissing)?;
    match values.next() {
        Some(_) => Err(SaleError::KeyUnreadable),
        None => value.to_str().map_err(|_| SaleError::KeyUnreadable)?.parse(),
    }
}

fn answered(answer: Answer, replayed: bool) -> Response {
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response();
    if replayed {
        let replayed = header::HeaderValue::from_static("true");
        response.headers_mut().insert("idempotency-replayed", replayed);
    }
    response
}

/// Metrics and the log line of a purchase. A replay is logged and counts as no new attempt.
fn record(attempt: &Attempt, attempted: &Result<Attempted, DbError>, started: Instant) {
    let (outcome, replayed) = match *attempted {
        Ok(Attempted::Held { replayed, .. }) => (metrics::Outcome::Hold, replayed),
        Ok(Attempted::OutOfStock { replayed, .. }) => (metrics::Outcome::Rejected, replayed),
        Ok(_) | Err(_) => (metrics::Outcome::Error, false),
    };
    if !replayed {
        metrics::attempted(outcome);
    }
    metrics::purchase_took(started.elapsed());
    tracing::info!(
        eventId = attempt.event_id.as_str(),
        userId = attempt.user_id,
        qty = attempt.qty.get(),
        result = outcome.as_str(),
        replayed,
        latencyMs = millis(started),
        idempotencyKey = attempt.key.as_str(),
        "purchase"
    );
}

fn record_payment(order: Uuid, user_id: &str, payment: &Result<Payment, DbError>, started: Instant) {
    let result = match payment {
        Ok(Payment::Paid { first: true, .. }) => {
            metrics::attempted(metrics::Outcome::Paid);
            "paid"
        }
        Ok(Payment::Paid { first: false, .. }) => "repeated",
        Ok(Payment::HoldExpired) => "expired",
        Ok(Payment::Unknown | Payment::NotPayable(_)) => "refused",
        Err(_) => "error",
    };
    metrics::payment(result);
    tracing::info!(userId = user_id, orderId = %order, result, latencyMs = millis(started), "payment");
}

pub(super) fn millis(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

impl Shop {
    pub(super) fn tell(&self, order: Uuid, event_id: &str, user_id: &str, status: Status) {
        self.hub.tell(&OrderNews { order, event_id: event_id.into(), user_id: user_id.into(), status });
    }
}
