//! The HTTP face: thin handlers over `db`, `sale` and `live`.

mod admin;
mod events;
mod facts;
mod health;
mod openapi;
mod orders;
mod page;
mod payments;
mod practice;
mod purchase;
mod reservations;
mod seats;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::SaleRules;
use crate::counter::Counter;
use crate::db::Db;
use crate::db::events::Event;
use crate::ending::{Ending, Stage};
use crate::error::Error;
use crate::live::{Hub, SeatFeed};
use crate::outbox::Bell;
use crate::passes::Gatekeeper;
use crate::practice::timetable::Timetable;
use crate::sale::EventId;
use crate::trace;

pub use facts::Facts;
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
    pub facts: Facts,
    pub seat_feed: SeatFeed,
    pub practice: Arc<Timetable>,
    pub ending: Ending,
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
    let (calls, document) = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(page::show))
        .routes(routes!(events::list))
        .routes(routes!(events::show))
        .routes(routes!(events::availability))
        .routes(routes!(practice::result))
        .routes(routes!(seats::map))
        .routes(routes!(seats::stream))
        .routes(routes!(orders::place))
        .routes(routes!(orders::show, orders::cancel))
        .routes(routes!(reservations::reserve))
        .routes(routes!(reservations::show))
        .routes(routes!(reservations::cancel))
        .routes(routes!(reservations::confirm))
        .routes(routes!(reservations::extend))
        .routes(routes!(payments::intent))
        .routes(routes!(payments::authorize))
        .routes(routes!(payments::status))
        .routes(routes!(payments::webhook))
        .routes(routes!(admin::outbox))
        .routes(routes!(admin::retry))
        .routes(routes!(purchase::purchase))
        .routes(routes!(purchase::pay))
        .routes(routes!(sockets::open))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts();
    let document = openapi::json(&document);
    calls
        .route("/openapi.json", get(async move || openapi::answer(document)))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(axum::middleware::map_response_with_state(Arc::clone(&shop), practice::keep_visitors))
        .layer(axum::middleware::map_response_with_state(Arc::clone(&shop), part))
        .layer(axum::middleware::from_fn(trace::observe))
        .with_state(shop)
}

/// From the beginning of the end each answer is the last on its connection: the next request goes elsewhere.
async fn part(State(shop): State<Arc<Shop>>, mut answer: Response) -> Response {
    if shop.ending.has_reached(Stage::Lingering) && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
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
