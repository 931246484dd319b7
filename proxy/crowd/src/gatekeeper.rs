//! Tells an answer of the origin from one of the waiting room, by its looks alone.

use hyper::header;

use crate::client::Answer;

/// Whether `answer` came from behind the gate although neither the request had a pass nor the answer brings one.
pub fn passed_ungated(path: &str, had_pass: bool, answer: &Answer) -> bool {
    !had_pass && !answer.gained.pass && is_origins(path, answer)
}

/// Only what succeeded counts: the refusals of gate and shop look alike.
fn is_origins(path: &str, answer: &Answer) -> bool {
    if !answer.status.is_success() || path.starts_with("/_queue") || answer.body.is_empty() {
        return false;
    }
    let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(header::CONTENT_TYPE);
    if content_type.starts_with("text/html") {
        // Waiting pages are never to be indexed; the shop's are.
        return !text(header::HeaderName::from_static("x-robots-tag")).contains("noindex");
    }
    !answer.json::<serde_json::Value>().is_some_and(|body| is_ours(&body))
}

/// A standing, a room's public state, a key set or a problem.
fn is_ours(body: &serde_json::Value) -> bool {
    let problem = body.get("type").and_then(serde_json::Value::as_str);
    ["rate_per_minute", "keys"].iter().any(|field| body.get(field).is_some())
        || problem.is_some_and(|kind| kind.starts_with("urn:vestibule:problem:"))
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};
    use room::time::Micros;

    use super::*;
    use crate::clock::Span;
    use crate::jar::Gained;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>(),
            body: body.into(),
            span: Span::at(Micros(1)),
            gained: Gained::default(),
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");
    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    #[test]
    fn an_answer_of_the_shop_without_a_pass_is_ungated() {
        let list = answer(200, &[JSON], r#"[{"id":"e1"}]"#);
        assert!(passed_ungated("/api/events", false, &list));
        assert!(!passed_ungated("/api/events", true, &list));
        let entered = Answer { gained: Gained { ticket: false, pass: true }, ..list };
        assert!(!passed_ungated("/api/events", false, &entered));
        assert!(passed_ungated("/", false, &answer(200, &[HTML], "<h1>Shop</h1>")));
    }

    #[test]
    fn answers_of_the_waiting_room_are_not() {
        for ours in [
            answer(200, &[HTML, ("x-robots-tag", "noindex")], "<h1>Please wait</h1>"),
            answer(200, &[JSON], r#"{"state":"waiting","rate_per_minute":60}"#),
            answer(503, &[JSON], r#"[{"id":"e1"}]"#),
            answer(200, &[JSON], r#"{"type":"urn:vestibule:problem:queued"}"#),
            answer(204, &[], ""),
        ] {
            assert!(!passed_ungated("/", false, &ours), "{ours:?}");
        }
        assert!(!passed_ungated("/_queue/anything", false, &answer(200, &[JSON], "[]")));
    }
}
