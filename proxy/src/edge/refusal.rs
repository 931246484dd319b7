//! What the edge says when it does not even look further: one place for status, code and cure.

use http::{HeaderValue, StatusCode, header};
use room::wire::Problem;

use super::path::PathError;
use crate::request::{Answer, Lines};
use crate::trace::TraceId;

/// Why the edge itself turns a request away. After each of them the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request is not valid HTTP/1: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the request needs exactly one valid `Host`")]
    Host,
    #[error("the method is not served here")]
    Method,
    #[error("the head did not arrive in time")]
    Slow,
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the head is larger than 32 KiB or has more than 100 fields")]
    HeadTooLarge,
    #[error("a body here needs `Content-Length`")]
    LengthRequired,
    #[error("a body here is at most 4 KiB")]
    BodyTooLarge,
    #[error("the only expectation that is met is `100-continue`")]
    Expectation,
    #[error("the only transfer coding that is understood is `chunked`, once")]
    Coding,
    #[error("the only version of HTTP that is spoken on this connection is 1")]
    Version,
    #[error("a WebSocket of the waiting room needs `Sec-WebSocket-Version: 13` and a key")]
    Handshake,
    #[error("the edge holds as many connections as it may")]
    Full,
}

impl Refusal {
    const fn kind(self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::Host => (StatusCode::BAD_REQUEST, "bad-request"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::Slow | Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "request-timeout"),
            Self::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large"),
            Self::LengthRequired => (StatusCode::LENGTH_REQUIRED, "length-required"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation-failed"),
            Self::Coding => (StatusCode::NOT_IMPLEMENTED, "transfer-coding"),
            Self::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http-version"),
            Self::Handshake => (StatusCode::UPGRADE_REQUIRED, "websocket-handshake"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "edge-full"),
        }
    }

    pub fn answer(self) -> Answer {
        let (status, code) = self.kind();
        let mut answer = problem(status, code, Some(self.to_string()), None);
        let extra = match self {
            Self::Full => Some((header::RETRY_AFTER, "5")),
            Self::Handshake => Some((header::SEC_WEBSOCKET_VERSION, "13")),
            Self::Method => Some((header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            answer.headers.add(&name, value);
        }
        answer
    }
}

/// An RFC 9457 answer that no cache keeps.
pub fn problem(status: StatusCode, code: &str, detail: Option<String>, trace_id: Option<TraceId>) -> Answer {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut problem = Problem::new(status.as_u16(), code, title, detail);
    problem.trace_id = trace_id.map(|id| id.to_string());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = Lines::from([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Answer { status, headers, body: body.into() }
}
