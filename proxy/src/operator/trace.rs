//! Each call has a trace id: in its log lines, and in the problem that answers it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use room::wire::Problem;
use tracing::Instrument;

use super::in_time;
use crate::trace::Trace;

/// Continues the caller's trace, or begins one.
pub(super) async fn traced(request: Request, next: Next) -> Response {
    let lines = request.headers().get_all("traceparent").iter().map(HeaderValue::as_bytes);
    let trace_id = Trace::of(lines).id.to_string();
    let span = tracing::info_span!("operator", trace_id);
    let response = in_time(request, next).instrument(span).await;
    explained(response, trace_id)
}

/// Writes the body of a refusal: the handlers leave it as a [`Problem`] among the response's extensions.
fn explained(mut response: Response, trace_id: String) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    problem.trace_id = Some(trace_id);
    // Text and numbers always have a JSON form.
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    let content_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
