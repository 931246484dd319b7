//! Around every request: its trace id, its time, and the one place that writes problems out.

use std::borrow::Cow;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use traces::context::TRACEPARENT;
use traces::export::sampling_in_force;
use traces::{Context, Kind, Span};
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::metrics;

tokio::task_local! {
    /// The span of the request that is being answered.
    static CURRENT: Context;
}

/// The place in its trace of the request that is being answered: calls that belong to it carry it on.
pub fn current() -> Option<Context> {
    CURRENT.try_with(|context| *context).ok()
}

/// The outermost layer.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let mut work = span(&request, method, route);
    let trace_id = work.context().trace_id();
    let span = tracing::info_span!("request", trace_id);
    let answered = CURRENT.scope(work.context(), next.run(request).instrument(span)).await;
    let response = answer(answered, &trace_id);
    let status = response.status();
    work.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        work.fail(status.canonical_reason().unwrap_or("error"));
    }
    metrics::served(method, route, status.as_u16(), started.elapsed());
    response
}

/// Continues the trace that came (only the edge and the gateway call here: whether it is kept is their decision), or
/// begins one. A second `traceparent` makes both void (W3C Trace Context §3.2).
fn span(request: &Request, method: &'static str, route: &str) -> Span {
    let mut lines = request.headers().get_all(TRACEPARENT).iter();
    let parent =
        lines.next().filter(|_| lines.next().is_none()).and_then(|line| Context::parse(line.as_bytes()));
    let kept = |context: Context| sampling_in_force().keeps(request.method(), context.trace());
    let begun = Context::begin(false);
    let is_kept = parent.map_or_else(|| kept(begun), Context::is_kept);
    let name = if is_kept { Cow::Owned(format!("{method} {route}")) } else { Cow::Borrowed("") };
    let mut span = match parent {
        Some(parent) => Span::continued(parent, Kind::Server, name),
        None => Span::root(begun.with_kept(is_kept), Kind::Server, name),
    };
    span.set("http.request.method", method);
    if span.is_told() {
        span.set("http.route", route.to_owned());
    }
    span
}

/// Writes a [`Problem`] out; any other answer stays as it is.
fn answer(mut response: Response, trace_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let Problem { status, code, detail, retry_after_secs } = problem;
    let body = Body {
        kind: format!("urn:vestibule:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: &detail,
        code,
        trace_id,
        message: &detail,
        trace_id_alias: trace_id,
    };
    let mut written = (status, Json(body)).into_response();
    let headers = written.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == axum::http::StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Vestibule-Pass"));
    }
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        headers.insert(header::ALLOW, allow);
    }
    written
}

/// RFC 9457, and the names under which some clients look for the same.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    trace_id: &'a str,
    message: &'a str,
    #[serde(rename = "traceId")]
    trace_id_alias: &'a str,
}

/// A label from a closed set, whatever method somebody invents.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
