//! The HTTP face: thin handlers over `db`, `sale` and `live`.

mod admin;
mod events;
mod health;
mod orders;
mod page;
mod payments;
mod purchase;
mod reservations;
mod seats;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::{delete, get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::config::SaleRules;
use crate::counter::Counter;
use crate::db::Db;
use crate::db::events::Event;
use crate::error::Error;
use crate::live::{Hub, SeatFeed};
use crate::outbox::Bell;
use crate::passes::Gatekeeper;
use crate::payment::mock;
use crate::sale::EventId;
use crate::trace;

pub use page::Page;
pub use payments::Payments;
pub use seats::Maps;

/// The largest body any call takes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// A body arrives within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What handlers share.
#[derive(Debug)]
pub struct Shop {
    pub db: Db,
    pub counter: Counter,
    pub gatekeeper: Gatekeeper,
    pub hub: Arc<Hub>,
    pub rules: SaleRules,
    pub event_id: EventId,
    pub metrics: PrometheusHandle,
    pub page: Page,
    pub payments: Payments,
    /// Has the outbox looked at once.
    pub bell: Bell,
    pub maps: Maps,
    pub seat_feed: SeatFeed,
}

/// One part of the path, if it is text.
type Segment = Result<Path<String>, PathRejection>;

impl Shop {
    async fn find(&self, event_id: &str) -> Result<Event, Error> {
        let id: EventId = event_id.parse()?;
        self.db.event(id.as_str()).await?.ok_or(Error::UnknownEvent)
    }
}

pub fn routes(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::show))
        .route("/api/events/{id}/availability", get(events::availability))
        .route("/api/events/{id}/seats", get(seats::map))
        .route("/api/events/{id}/seats/stream", get(seats::stream))
        .route("/api/orders", post(orders::place))
        .route("/api/orders/{id}", get(orders::show).delete(orders::cancel))
        .route("/api/reservations", post(reservations::reserve))
        .route("/api/reservations/{id}", get(reservations::show))
        .route("/api/reservations/{id}/{seat}", delete(reservations::cancel))
        .route("/api/reservations/{id}/{seat}/confirm", post(reservations::confirm))
        .route("/api/reservations/{id}/{seat}/extend", post(reservations::extend))
        .route("/api/payments/intent", post(payments::intent))
        .route("/api/payments/authorize", post(payments::authorize))
        .route("/api/payments/{id}/status", get(payments::status))
        .route(mock::WEBHOOK_PATH, post(payments::webhook))
        .route("/admin/outbox", get(admin::outbox))
        .route("/admin/outbox/{id}/retry", post(admin::retry))
        .route("/purchase", post(purchase::purchase))
        .route("/pay/{order}", post(purchase::pay))
        .route("/ws", get(sockets::open))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(health::metrics))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(axum::middleware::from_fn(trace::observe))
        .with_state(shop)
}

/// Reads a JSON body of bounded size and time.
async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    serde_json::from_slice(&whole(body).await?).map_err(|error| Error::BadJson(error.to_string()))
}

/// Reads a body of bounded size and time.
async fn whole(body: Body) -> Result<Bytes, Error> {
    // Told before it is sent: a client that asks first (`Expect: 100-continue`) never sends it.
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Error::BodyTooLarge(MAX_BODY_BYTES));
    }
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match collected {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge(MAX_BODY_BYTES)),
        Ok(Err(error)) => Err(Error::BodyCut(error.to_string())),
        Err(_) => Err(Error::BodyCut(format!("not whole within {} s", BODY_TIMEOUT.as_secs()))),
    }
}

/// Tells the edge that this visitor has what they came for: the slot is free for the next one.
fn paid(mut answer: Response) -> Response {
    answer.headers_mut().insert("vestibule-command", HeaderValue::from_static("release"));
    answer
}
