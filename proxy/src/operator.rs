//! The operator's listener: metrics, probes, and the calls that look at rooms and change them.

mod auth;
mod calls;
mod patch;
mod readiness;
mod refusal;
mod rooms;
mod trace;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;

pub use self::calls::{HouseCalls, RoomCalls};
pub use self::readiness::{Latch, Readiness};
use self::refusal::Refusal;
use crate::config::settings::Settings;
use crate::metrics::Exposition;

/// What the listener shows and changes. Cheap to clone.
#[derive(Clone)]
pub struct OperatorApp {
    /// The running settings: rooms and operators may change with a reload.
    pub settings: Arc<ArcSwap<Settings>>,
    pub calls: Arc<dyn RoomCalls>,
    pub exposition: Exposition,
    pub readiness: Readiness,
}

impl std::fmt::Debug for OperatorApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorApp")
    }
}

/// Longer bodies are refused: a change of a room is a few hundred bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `stop`, then finishes the answers under way.
pub async fn serve(
    listener: impl Listener<Addr = SocketAddr>,
    app: OperatorApp,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(app)).with_graceful_shutdown(stop).await
}

fn router(app: OperatorApp) -> Router {
    let guarded = Router::new()
        .route("/api/rooms", get(rooms::list))
        .route("/api/rooms/{name}", get(rooms::one).patch(rooms::change))
        .route("/api/rooms/{name}/{action}", post(rooms::act))
        .fallback(|| async { Refusal::NoSuchPath })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .layer(middleware::from_fn_with_state(app.clone(), auth::guard));
    Router::new()
        .route("/metrics", get(exposition))
        .route("/livez", get(|| async { "live\n" }))
        .route("/healthz", get(|| async { "live\n" }))
        .route("/readyz", get(readiness::ready))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(trace::traced))
        .with_state(app)
}

async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(PATIENCE, next.run(request)).await;
    answered.unwrap_or_else(|_| Refusal::TooSlow.into_response())
}

async fn exposition(State(app): State<OperatorApp>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.exposition.render())
}
