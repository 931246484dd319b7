//! Payments by the gateway: the buyer begins them and watches; the gateway tells how they end.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Segment, Shop};
use crate::db::payments::{Asked, Heard, Payment};
use crate::error::Error;
use crate::passes::Caller;
use crate::payment::args::{PaymentConfig, PaymentRules};
use crate::payment::gateway::{Amount, GatewayEvent, now_secs};
use crate::payment::signature::{self, Secret};
use crate::payment::{PaymentStatus, drive};
use crate::sale::Status;

/// What the payment calls need.
#[derive(Debug)]
pub struct Payments {
    pub secret: Secret,
    pub rules: PaymentRules,
    /// The token of `/admin`; without it there is none.
    pub admin_token: Option<String>,
}

impl Payments {
    pub fn of(config: &PaymentConfig) -> Self {
        let PaymentConfig { secret, rules, admin_token, .. } = config;
        Self { secret: secret.clone(), rules: *rules, admin_token: admin_token.clone() }
    }
}

/// Trace contexts of version 00 are this long.
const TRACEPARENT_BYTES: usize = 55;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Intent {
    order_id: Uuid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Authorize {
    payment_id: Uuid,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentView {
    payment_id: Uuid,
    order_id: Uuid,
    status: PaymentStatus,
    order_status: Status,
    #[serde(flatten)]
    amount: Amount,
}

pub(super) async fn intent(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let Intent { order_id } = super::json(body).await?;
    let asked = shop.db.intend_payment(order_id, &user_id, traceparent(&headers)).await?;
    let (payment, first) = done(asked, Error::UnknownOrder)?;
    Ok(shown(payment, if first { StatusCode::CREATED } else { StatusCode::OK }))
}

pub(super) async fn authorize(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    body: Body,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let Authorize { payment_id } = super::json(body).await?;
    let asked = shop.db.authorize_payment(payment_id, &user_id, shop.payments.rules).await?;
    let (payment, _) = done(asked, Error::UnknownPayment)?;
    shop.bell.ring();
    let status = if payment.status.is_open() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(shown(payment, status))
}

pub(super) async fn status(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    id: Segment,
) -> Result<Response, Error> {
    let id: Uuid = id?.parse().map_err(|_| Error::UnknownPayment)?;
    let payment = shop.db.payment(id, Some(&caller.buyer()?)).await?.ok_or(Error::UnknownPayment)?;
    Ok(shown(payment, StatusCode::OK))
}

/// From the gateway, which has no pass: its signature speaks for it.
pub(super) async fn webhook(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let body = super::whole(body).await?;
    let signed = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    shop.payments.secret.verify(signed, now_secs(), &body)?;
    let event: GatewayEvent =
        serde_json::from_slice(&body).map_err(|error| Error::BadJson(error.to_string()))?;
    if !(1..=128).contains(&event.id.len()) || event.id.contains('\0') {
        return Err(Error::BadJson("`id` has 1 to 128 bytes, none of them zero".into()));
    }
    let heard = shop.db.hear_event(&event).await?;
    drive::record(event.payment_id, event.state, heard);
    shop.bell.ring();
    match heard {
        Heard::Applied { now, .. } => Ok(Json(json!({ "ok": true, "status": now })).into_response()),
        Heard::Duplicate => Ok(Json(json!({ "ok": true, "duplicate": true })).into_response()),
        Heard::UnknownPayment => Err(Error::UnknownPayment),
        Heard::OtherAmount => Err(Error::OtherAmount),
    }
}

fn done(asked: Asked, unknown: Error) -> Result<(Payment, bool), Error> {
    match asked {
        Asked::Done { payment, first } => Ok((payment, first)),
        Asked::Unknown => Err(unknown),
        Asked::HoldExpired => Err(Error::HoldExpired),
        Asked::NotPayable(status) => Err(Error::NotPayable(status)),
    }
}

fn shown(payment: Payment, status: StatusCode) -> Response {
    let Payment { id, order, status: standing, order_status, amount, .. } = payment;
    let is_paid = order_status == Status::Paid;
    let view = PaymentView { payment_id: id, order_id: order, status: standing, order_status, amount };
    let answer = (status, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response();
    if is_paid { super::paid(answer) } else { answer }
}

/// What the gateway continues, if it is one.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let fits =
        text.len() == TRACEPARENT_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    fits.then_some(text)
}
