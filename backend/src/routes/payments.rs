//! Payments by the gateway: the buyer begins them and watches; the gateway tells how they end.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use traces::Context;
use utoipa::ToSchema;
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
use crate::trace;

/// What the payment calls need.
#[derive(Debug)]
pub struct Payments {
    pub secret: Secret,
    pub rules: PaymentRules,
    /// The token of `/admin`; without it there is none.
    pub admin_token: Option<String>,
}

/// An event that was taken, now or before.
#[derive(Serialize, ToSchema)]
struct Taken {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<PaymentStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
}

impl Payments {
    pub fn of(config: &PaymentConfig) -> Self {
        let PaymentConfig { secret, rules, admin_token, .. } = config;
        Self { secret: secret.clone(), rules: *rules, admin_token: admin_token.clone() }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PaymentIntentRequest)]
struct Intent {
    order_id: Uuid,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PaymentAuthorizeRequest)]
struct Authorize {
    payment_id: Uuid,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
struct PaymentView {
    payment_id: Uuid,
    order_id: Uuid,
    status: PaymentStatus,
    order_status: Status,
    #[serde(flatten)]
    amount: Amount,
}

#[utoipa::path(
    post,
    path = "/api/payments/intent",
    operation_id = "intendPayment",
    tag = "payments",
    description = "The one payment of an order on hold; made if there is none.",
    request_body = Intent,
    responses((status = 201, description = "Made", body = PaymentView), (status = 200, description = "It was there", body = PaymentView), super::openapi::Problems),
)]
pub(super) async fn intent(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    body: Body,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let Intent { order_id } = super::json(body).await?;
    // The gateway's answers belong to this trace.
    let trace = trace::current().map(Context::traceparent);
    let asked = shop.db.intend_payment(order_id, &user_id, trace.as_deref()).await?;
    let (payment, first) = done(asked, Error::UnknownOrder)?;
    Ok(shown(payment, if first { StatusCode::CREATED } else { StatusCode::OK }))
}

#[utoipa::path(
    post,
    path = "/api/payments/authorize",
    operation_id = "authorizePayment",
    tag = "payments",
    description = "Begins to pay.",
    request_body = Authorize,
    responses((status = 202, description = "The gateway works on it", body = PaymentView), (status = 200, description = "It is decided", body = PaymentView), super::openapi::Problems),
)]
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

#[utoipa::path(
    get,
    path = "/api/payments/{id}/status",
    operation_id = "showPayment",
    tag = "payments",
    description = "How it stands.",
    params(("id" = String, Path, description = "of the payment")),
    responses((status = 200, description = "Done", body = PaymentView), super::openapi::Problems),
)]
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
#[utoipa::path(
    post,
    path = "/api/payments/webhook",
    operation_id = "hearGateway",
    tag = "payments",
    description = "From the gateway.",
    params(("Gateway-Signature" = String, Header, description = "t=SECONDS,v1=HEX: HMAC-SHA256 of SECONDS.BODY")),
    request_body = GatewayEvent,
    security(()),
    responses((status = 200, description = "Done", body = Taken), super::openapi::Problems),
)]
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
        Heard::Applied { now, .. } => {
            Ok(Json(Taken { ok: true, status: Some(now), duplicate: None }).into_response())
        }
        Heard::Duplicate => Ok(Json(Taken { ok: true, status: None, duplicate: Some(true) }).into_response()),
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
