//! Around every request: its trace id, its time, and the one place that writes problems out.

use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::metrics;

/// The id that ties log lines of one purchase together, from the edge to the commit: 32 lowercase hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceId(String);

impl TraceId {
    /// Continues a `traceparent` (W3C Trace Context §3.2), or begins a trace.
    fn of(headers: &HeaderMap) -> Self {
        let continued = headers.get("traceparent").and_then(|value| continued(value.to_str().ok()?));
        Self(continued.unwrap_or_else(fresh))
    }
}

fn continued(traceparent: &str) -> Option<String> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2);
    let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let hex = [version, trace, parent, flags].into_iter().all(is_hex);
    let set = |part: &str| part.bytes().any(|byte| byte != b'0');
    // Version 00 ends here; later ones may go on.
    let ends = version != "00" || parts.next().is_none();
    (lengths && hex && ends && version != "ff" && set(trace) && set(parent)).then(|| trace.into())
}

fn fresh() -> String {
    let mut bytes = [0; 16];
    // Without randomness the zero id says that there is no trace.
    let _zero_on_failure = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// The outermost layer.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = TraceId::of(request.headers());
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", trace_id = %trace.0);
    let response = answer(next.run(request).instrument(span).await, &trace);
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    metrics::served(method, route, response.status().as_u16(), started.elapsed());
    response
}

/// Writes a [`Problem`] out; any other answer stays as it is.
fn answer(mut response: Response, trace: &TraceId) -> Response {
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
        trace_id: &trace.0,
        message: &detail,
        trace_id_alias: &trace.0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_traceparent_is_continued_and_any_other_begins_anew() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(continued(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        assert_eq!(continued(&format!("cc-{trace}-00f067aa0ba902b7-01-more")).as_deref(), Some(trace));
        for bad in [
            String::new(),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(continued(&bad), None, "{bad}");
        }
        assert_eq!(fresh().len(), 32);
    }
}
