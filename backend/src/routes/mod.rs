//! The HTTP face: thin handlers over `db`, `sale` and `live`.

mod events;
mod health;
mod page;
mod purchase;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::routing::{get, post};
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
use crate::live::Hub;
use crate::passes::Gatekeeper;
use crate::sale::EventId;
use crate::trace;

pub use page::Page;

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
    // Told before it is sent: a client that asks first (`Expect: 100-continue`) never sends it.
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Error::BodyTooLarge(MAX_BODY_BYTES));
    }
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    let bytes: Bytes = match collected {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Error::BodyTooLarge(MAX_BODY_BYTES)),
        Ok(Err(error)) => return Err(Error::BodyCut(error.to_string())),
        Err(_) => {
            return Err(Error::BodyCut(format!("not whole within {} s", BODY_TIMEOUT.as_secs())));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| Error::BadJson(error.to_string()))
}
