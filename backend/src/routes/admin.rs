//! For the operator: what the outbox gave up, and another try. Only with the token of `ADMIN_TOKEN_FILE`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::{Segment, Shop};
use crate::db::outbox::DeadLetter;
use crate::error::Error;

/// Rows of one answer.
const MOST: u32 = 200;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OutboxView {
    pending: i64,
    dead: i64,
    dead_letters: Vec<DeadView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
struct DeadView {
    id: i64,
    topic: String,
    key: Option<String>,
    payload: String,
    attempts: u32,
    last_error: String,
}

#[utoipa::path(
    get,
    path = "/admin/outbox",
    operation_id = "showOutbox",
    tag = "admin",
    description = "What the outbox gave up.",
    security(("operator" = [])),
    responses((status = 200, description = "Done", body = OutboxView), super::openapi::Problems),
)]
pub(super) async fn outbox(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Error> {
    shop.admit(&headers)?;
    let counts = shop.db.outbox_counts().await?;
    let dead: Vec<DeadView> = shop.db.dead_letters(MOST).await?.into_iter().map(DeadView::from).collect();
    let view = OutboxView { pending: counts.pending, dead: counts.dead, dead_letters: dead };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}

#[utoipa::path(
    post,
    path = "/admin/outbox/{id}/retry",
    operation_id = "retryLetter",
    tag = "admin",
    description = "Another try.",
    params(("id" = String, Path, description = "of the row")),
    security(("operator" = [])),
    responses((status = 200, description = "Done", body = Value), super::openapi::Problems),
)]
pub(super) async fn retry(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    id: Segment,
) -> Result<Json<Value>, Error> {
    shop.admit(&headers)?;
    let id: i64 = id?.parse().map_err(|_| Error::NotFound)?;
    if !shop.db.revive_letter(id).await? {
        return Err(Error::NotFound);
    }
    shop.bell.ring();
    Ok(Json(json!({ "ok": true })))
}

impl Shop {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Error> {
        let token = self.payments.admin_token.as_ref().ok_or(Error::NotFound)?;
        let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let said = said.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Error::NoToken)?;
        if bool::from(said.as_bytes().ct_eq(token.as_bytes())) { Ok(()) } else { Err(Error::NoToken) }
    }
}

impl From<DeadLetter> for DeadView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, topic, key, payload, attempts, last_error } = letter;
        Self { id, topic, key, payload, attempts, last_error }
    }
}
