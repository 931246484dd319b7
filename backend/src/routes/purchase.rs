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
use serde_json::json;
use uuid::Uuid;

use super::{Segment, Shop};
use crate::db::orders::{Attempt, Attempted, OrderNews, Payment};
use crate::error::Error;
use crate::metrics;
use crate::passes::Caller;
use crate::sale::{IdempotencyKey, Qty, SaleError, Status};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    event_id: String,
    qty: i64,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "UPPERCASE", rename_all_fields = "camelCase")]
enum Answer {
    Hold {
        order_id: Uuid,
        remaining: u32,
        hold_expires_at: String,
    },
    Rejected {
        reason: &'static str,
        remaining: u32,
    },
}

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
    let attempt = Attempt {
        event_id: event_id.parse()?,
        qty: Qty::new(qty, shop.rules.max_qty)?,
        user_id,
        key,
    };
    let result = shop
        .db
        .purchase(&attempt, shop.rules)
        .await
        .map_err(Error::from)
        .and_then(|attempted| {
            if let Attempted::Held {
                order,
                replayed: false,
                ..
            } = &attempted
            {
                shop.tell(*order, attempt.event_id.as_str(), &attempt.user_id, Status::Hold);
            }
            answer(&attempted)
        });
    record(&attempt, &result, started);
    let (answer, replayed) = result?;
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response();
    if replayed {
        response
            .headers_mut()
            .insert("idempotency-replayed", header::HeaderValue::from_static("true"));
    }
    Ok(response)
}

pub(super) async fn pay(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    order: Segment,
) -> Result<Response, Error> {
    let started = Instant::now();
    let user_id = caller.buyer()?;
    let order: Uuid = order?.parse().map_err(|_| Error::UnknownOrder)?;
    let payment = shop.db.pay(order, &user_id).await;
    record_payment(order, &user_id, &payment, started);
    match payment? {
        Payment::Paid { event_id, first } => {
            if first {
                shop.tell(order, &event_id, &user_id, Status::Paid);
            }
            let paid = Json(json!({ "ok": true, "status": Status::Paid }));
            Ok(([(header::CACHE_CONTROL, "no-store")], paid).into_response())
        }
        Payment::HoldExpired => Err(Error::HoldExpired),
        Payment::Unknown => Err(Error::UnknownOrder),
        Payment::NotPayable(status) => Err(Error::NotPayable(status)),
    }
}

/// The one key of a request.
fn key(headers: &HeaderMap) -> Result<IdempotencyKey, SaleError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let value = values.next().ok_or(SaleError::KeyMissing)?;
    match values.next() {
        Some(_) => Err(SaleError::KeyUnreadable),
        None => value.to_str().map_err(|_| SaleError::KeyUnreadable)?.parse(),
    }
}

/// The answer, and whether it was given before.
fn answer(attempted: &Attempted) -> Result<(Answer, bool), Error> {
    match *attempted {
        Attempted::Held {
            order,
            remaining,
            expires_at,
            replayed,
        } => {
            let hold_expires_at = Micros::from(expires_at).to_rfc3339();
            Ok((
                Answer::Hold {
                    order_id: order,
                    remaining,
                    hold_expires_at,
                },
                replayed,
            ))
        }
        Attempted::OutOfStock { remaining, replayed } => Ok((
            Answer::Rejected {
                reason: "OUT_OF_STOCK",
                remaining,
            },
            replayed,
        )),
        Attempted::InFlight => Err(Error::InFlight),
        Attempted::OtherBody => Err(Error::KeyReused),
        Attempted::UnknownEvent => Err(Error::UnknownEvent),
    }
}

/// Metrics and the log line of a purchase. A replay is logged and counts as no new attempt.
fn record(attempt: &Attempt, result: &Result<(Answer, bool), Error>, started: Instant) {
    let outcome = match result {
        Ok((Answer::Hold { .. }, _)) => metrics::Outcome::Hold,
        Ok((Answer::Rejected { .. }, _)) => metrics::Outcome::Rejected,
        Err(_) => metrics::Outcome::Error,
    };
    let replayed = matches!(result, Ok((_, true)));
    if !replayed {
        metrics::attempted(outcome);
        match outcome {
            metrics::Outcome::Hold => metrics::reservations(Status::Hold, 1),
            metrics::Outcome::Rejected => metrics::reservations(Status::Rejected, 1),
            metrics::Outcome::Paid | metrics::Outcome::Error => {}
        }
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

fn record_payment(
    order: Uuid,
    user_id: &str,
    payment: &Result<Payment, crate::db::DbError>,
    started: Instant,
) {
    let result = match payment {
        Ok(Payment::Paid { first: true, .. }) => {
            metrics::attempted(metrics::Outcome::Paid);
            metrics::reservations(Status::Paid, 1);
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

fn millis(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

impl Shop {
    fn tell(&self, order: Uuid, event_id: &str, user_id: &str, status: Status) {
        self.hub.tell(&OrderNews {
            order,
            event_id: event_id.into(),
            user_id: user_id.into(),
            status,
        });
    }
}
