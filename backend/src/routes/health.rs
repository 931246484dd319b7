//! For whoever runs this: is it up, and what does it count? No pass is needed.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shop;
use crate::ending::Stage;
use crate::error::Error;

#[derive(Deserialize)]
pub(super) struct Ask {
    /// `ping`: answer only if PostgreSQL does.
    db: Option<String>,
}

#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "operation",
    description = "Whether this process serves, and with db=ping whether PostgreSQL answers.",
    params(("db" = Option<String>, Query, description = "ping: ask PostgreSQL too")),
    security(()),
    responses((status = 200, description = "Done", body = Value), super::openapi::Problems),
)]
pub(super) async fn healthz(
    State(shop): State<Arc<Shop>>,
    ask: Result<Query<Ask>, QueryRejection>,
) -> Result<Json<Value>, Error> {
    if ask?.db.as_deref() != Some("ping") {
        return Ok(Json(json!({ "status": "ok" })));
    }
    shop.db.ping().await?;
    Ok(Json(json!({ "status": "ok", "db": "ok" })))
}

#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    tag = "operation",
    description = "Whether new requests belong here: 503 once the program was told to end, although it still answers.",
    security(()),
    responses(
        (status = 200, description = "Ready", body = Value),
        (status = 503, description = "Not any more", body = Value),
    ),
)]
pub(super) async fn readyz(State(shop): State<Arc<Shop>>) -> (StatusCode, Json<Value>) {
    if shop.ending.has_reached(Stage::Lingering) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": ["stopping"] })));
    }
    (StatusCode::OK, Json(json!({ "ready": true })))
}

#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operation",
    description = "Prometheus text; 404 to whatever came through a proxy: visitors are not shown it.",
    security(()),
    responses((status = 200, description = "Done", body = String, content_type = "text/plain"), super::openapi::Problems),
)]
pub(super) async fn metrics(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> Result<Response, Error> {
    // The edge puts it on every request that it forwards, whatever the visitor sent.
    if headers.contains_key("x-forwarded-for") {
        return Err(Error::NotFound);
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, shop.metrics.render()).into_response())
}
