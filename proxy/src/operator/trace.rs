//! Each call has a trace id: in its log lines, and in the problem that answers it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use room::wire::Problem;
use tracing::Instrument;

use super::in_time;
use crate::random;

/// Continues the caller's trace, or begins one.
pub(super) async fn traced(request: Request, next: Next) -> Response {
    let trace_id = continued(request.headers()).unwrap_or_else(begun);
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

/// The id in a valid `traceparent` (W3C Trace Context): `00-<32 hex>-<16 hex>-<2 hex>`.
fn continued(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, id, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |text: &str| text.bytes().any(|b| b != b'0');
    let valid = is_hex(version, 2) && version != "ff" && is_hex(id, 32) && is_hex(parent, 16);
    (valid && is_some(id) && is_some(parent)).then(|| id.to_owned())
}

fn begun() -> String {
    format!("{:032x}", u128::from_be_bytes(random::bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_trace_is_continued_and_any_other_begun() {
        let of = |line: &str| {
            continued(&HeaderMap::from_iter([("traceparent".parse().unwrap(), line.parse().unwrap())]))
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for line in [
            "",
            "00-4bf9-00f067aa0ba902b7-01",
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{id}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
        ] {
            assert_eq!(of(line), None, "{line}");
        }
        assert_eq!(begun().len(), 32);
        assert_ne!(begun(), begun());
    }
}
