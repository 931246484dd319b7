//! An origin that does not answer, as the visitor sees it.

use http::{HeaderMap, StatusCode, header};
use pingora::{Error, ErrorSource, ErrorType};

use super::refusal::problem;
use crate::request::{Answer, Fields, Known};
use crate::trace::TraceId;

/// After how many seconds trying again is worth it.
const RETRY_AFTER: &str = "5";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No server takes connections.
    Unreachable,
    /// It took the request and did not answer in time.
    Slow,
    /// What it answered is no HTTP, or broke off.
    Broken,
    /// The client's own body is malformed.
    BadBody,
    /// The client's own body did not arrive.
    SlowBody,
    Internal,
}

impl Failure {
    /// `None`: the client is gone, there is nobody to tell.
    pub(super) fn of(error: &Error) -> Option<Self> {
        use ErrorType::{
            ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, ReadError,
            ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
        };
        Some(match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ReadTimedout) => Self::SlowBody,
            (ErrorSource::Downstream, ReadError | WriteError | WriteTimedout | ConnectionClosed) => {
                return None;
            }
            (ErrorSource::Downstream, _) => Self::BadBody,
            (
                _,
                ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | TLSHandshakeFailure
                | TLSHandshakeTimedout,
            ) => Self::Unreachable,
            (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => Self::Slow,
            (ErrorSource::Upstream, _) => Self::Broken,
            _ => Self::Internal,
        })
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken => StatusCode::BAD_GATEWAY,
            Self::BadBody => StatusCode::BAD_REQUEST,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream-unreachable",
            Self::Slow => "upstream-timeout",
            Self::Broken => "upstream-failed",
            Self::BadBody => "bad-request",
            Self::SlowBody => "request-timeout",
            Self::Internal => "internal",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "The site behind the waiting room cannot be reached. Your session is kept: try again."
            }
            Self::Slow => "The site behind the waiting room took too long. Your session is kept: try again.",
            Self::Broken => "The site behind the waiting room broke off. Your session is kept: try again.",
            Self::BadBody => "The body of the request is malformed.",
            Self::SlowBody => "The body of the request did not arrive in time.",
            Self::Internal => "Something went wrong here. Try again.",
        }
    }

    /// A page for `people`, problem details for everything else.
    pub(super) fn answer(self, people: bool, trace_id: TraceId) -> Answer {
        let mut answer = problem(self.status(), self.code(), Some(self.detail().into()), Some(trace_id));
        if people {
            answer.body = page(self.detail(), trace_id).into();
            answer.headers.replace(&header::CONTENT_TYPE, "text/html; charset=utf-8");
        }
        if self.status().is_server_error() {
            answer.headers.add(&header::RETRY_AFTER, RETRY_AFTER);
        }
        answer
    }
}

/// Whether a person looks at the answer.
pub(super) fn is_navigation(fields: &Fields) -> bool {
    is_of_person(fields.text(Known::SecFetchMode), fields.text(Known::Accept))
}

/// The same of a head that Pingora read.
pub(super) fn is_navigation_of(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|line| line.to_str().ok());
    is_of_person(text("sec-fetch-mode"), text("accept"))
}

fn is_of_person(fetch_mode: Option<&str>, accept: Option<&str>) -> bool {
    let says = |line: Option<&str>, value| line.is_some_and(|line| line.contains(value));
    says(fetch_mode, "navigate") || says(accept, "text/html")
}

fn page(detail: &str, trace_id: TraceId) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>One moment</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem;\
         color-scheme:light dark}}small{{opacity:.6}}</style>\
         <h1>One moment</h1><p>{detail}</p><p><a href=\"\">Try again</a></p><small>{trace_id}</small></html>"
    )
}
