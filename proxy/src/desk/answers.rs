//! Answers as visitors and apps get them: pages, standings, problems.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use room::wire::{Problem, Standing};
use serde::Serialize;

use crate::request::{Answer, Head};

/// The media type that adds the field names of hosted waiting rooms.
const HOSTED_NAMES: &str = "application/vnd.waiting-room+json";
/// Most standings are shorter, with a ticket in them too.
const STANDING_BYTES: usize = 1024;

pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    typed(status, "application/json", value)
}

/// RFC 9457. `detail` is the cure.
pub fn problem(head: &Head, status: StatusCode, code: &str, title: &str, detail: &str) -> Answer {
    let mut problem = Problem::new(status.as_u16(), code, title, Some(detail.into()));
    problem.trace_id = Some(head.trace_id.clone());
    typed(status, "application/problem+json", &problem)
}

/// A problem that always reads the same but for its trace: for those who come in floods.
#[derive(Debug)]
pub struct FixedProblem {
    status: StatusCode,
    before: String,
    after: String,
}

impl FixedProblem {
    pub fn new(status: StatusCode, code: &str, title: &str, detail: &str) -> Self {
        const TRACE: &str = "00000000000000000000000000000000";
        let mut problem = Problem::new(status.as_u16(), code, title, Some(detail.into()));
        problem.trace_id = Some(TRACE.into());
        let text = serde_json::to_string(&problem).unwrap_or_default();
        let (before, after) = text.split_once(TRACE).unwrap_or((&text, ""));
        Self { status, before: before.into(), after: after.into() }
    }

    pub fn answer(&self, head: &Head) -> Answer {
        let body = [self.before.as_str(), &head.trace_id, &self.after].concat();
        Answer { status: self.status, headers: headers_of("application/problem+json"), body: body.into() }
    }
}

fn typed(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Answer {
    // Plain data of our own serialises; were it not to, an empty body with the right status is still an answer.
    let body = serde_json::to_vec(value).unwrap_or_default();
    Answer { status, headers: headers_of(kind), body: body.into() }
}

fn headers_of(kind: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(8);
    headers.extend([
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    ]);
    headers
}

pub fn empty(status: StatusCode) -> Answer {
    let headers = vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Answer { status, headers, body: Bytes::new() }
}

/// A standing as the client asked for it, with a `code` where it stands for an error.
pub fn standing(head: &Head, status: StatusCode, code: Option<&str>, standing: &Standing) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Hosted {
        in_waiting_room: bool,
        /// Minutes.
        wait_time: u64,
        wait_time_known: bool,
        queue_is_full: bool,
        refresh_interval_seconds: u32,
    }
    #[derive(Serialize)]
    struct Coded<'a> {
        code: &'a str,
    }
    let hosted = wants_hosted_names(&head.headers).then(|| Hosted {
        in_waiting_room: true,
        wait_time: standing.estimate.map_or(0, |estimate| estimate.p50_seconds.div_ceil(60)),
        wait_time_known: standing.estimate.is_some(),
        queue_is_full: code == Some("full"),
        refresh_interval_seconds: standing.next_update_seconds,
    });
    let mut object = Vec::with_capacity(STANDING_BYTES);
    if let Some(code) = code {
        add_fields(&mut object, &Coded { code });
    }
    add_fields(&mut object, standing);
    if let Some(hosted) = &hosted {
        add_fields(&mut object, hosted);
    }
    let kind = if hosted.is_some() { HOSTED_NAMES } else { "application/json" };
    let mut answer = Answer { status, headers: headers_of(kind), body: object.into() };
    answer.headers.push((header::VARY, HeaderValue::from_static("Accept, Accept-Encoding, Cookie")));
    answer
}

/// Adds the fields of a struct to a JSON object, or begins one: what serde's `flatten` gives, at the price of a plain
/// struct. It is what a crowd without browsers asks for.
fn add_fields(object: &mut Vec<u8>, fields: &impl Serialize) {
    let seam = object.pop().map(|_| object.len());
    // Plain data of our own serialises.
    let _ = serde_json::to_writer(&mut *object, fields);
    if let Some(brace) = seam.and_then(|seam| object.get_mut(seam)) {
        *brace = b',';
    }
}

impl Answer {
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// In whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(header::RETRY_AFTER, HeaderValue::from(secs.max(1)))
    }

    #[must_use]
    pub fn with_cookies(mut self, cookies: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.headers.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
        self
    }
}

/// Whether a person looks at the answer: a navigation that prefers HTML.
pub fn is_navigation(head: &Head) -> bool {
    let by_method = matches!(head.method, Method::GET | Method::HEAD);
    let destination = text(&head.headers, "sec-fetch-dest");
    by_method && matches!(destination, None | Some("document" | "iframe")) && prefers_html(&head.headers)
}

/// A page that is loaded before anybody asked for it.
pub fn is_prefetch(head: &Head) -> bool {
    let purpose = |name| text(&head.headers, name).is_some_and(|value| value.contains("prefetch"));
    purpose("sec-purpose") || purpose("purpose")
}

pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let offers = text(headers, "accept-encoding").unwrap_or_default().split(',');
    offers.map(Offer::read).any(|offer| matches!(offer.name, "gzip" | "*") && offer.quality > 0.0)
}

fn wants_hosted_names(headers: &HeaderMap) -> bool {
    text(headers, "accept").is_some_and(|accept| accept.contains(HOSTED_NAMES))
}

/// RFC 9110 §12.5.1, for the one question asked here: is HTML at least as welcome as JSON, and named?
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = text(headers, "accept").unwrap_or_default();
    let best = |kinds: &[&str]| {
        let offers = accept.split(',').map(Offer::read).filter(|offer| kinds.contains(&offer.name));
        offers.map(|offer| offer.quality).fold(0.0, f64::max)
    };
    let html = best(&["text/html", "application/xhtml+xml"]);
    html > 0.0 && html >= best(&["application/json", "application/problem+json", HOSTED_NAMES])
}

struct Offer<'a> {
    name: &'a str,
    quality: f64,
}

impl<'a> Offer<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        Self { name, quality }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use room::wire::{Estimate, State};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn fields_are_added_as_serde_flattens_them() {
        #[derive(Serialize)]
        struct Coded {
            code: &'static str,
        }
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            coded: &'a Coded,
            #[serde(flatten)]
            standing: &'a Standing,
            #[serde(flatten)]
            again: &'a Coded,
        }
        let (coded, bare) = (Coded { code: "queued" }, bare());
        let told = Standing {
            position: Some(7),
            estimate: Some(Estimate { p50_seconds: 5, p90_seconds: 9 }),
            progress: Some(0.25),
            message: Some("\"a,{}\"\n".into()),
            ticket: Some("a.b.c".into()),
            ..bare.clone()
        };
        for standing in [&bare, &told] {
            let mut object = Vec::new();
            add_fields(&mut object, standing);
            assert_eq!(object, serde_json::to_vec(standing).unwrap());
            let mut object = Vec::new();
            add_fields(&mut object, &coded);
            add_fields(&mut object, standing);
            add_fields(&mut object, &coded);
            assert_eq!(
                object,
                serde_json::to_vec(&Whole { coded: &coded, standing, again: &coded }).unwrap()
            );
        }
    }

    fn bare() -> Standing {
        Standing {
            room: "e1".parse().unwrap(),
            state: State::Securing,
            position: None,
            ahead: None,
            waiting: 0,
            estimate: None,
            progress: None,
            rate_per_minute: 60,
            paused: None,
            message: None,
            claim_expires_at: None,
            opens_at: None,
            close_reason: None,
            next_update_seconds: 2,
            ticket: None,
            as_of: "2026-01-01T00:00:00.000Z".into(),
        }
    }

    #[test]
    fn a_browser_prefers_html_and_a_script_does_not() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, html) in [
            (browser, true),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html;q=0", false),
            ("", false),
        ] {
            assert_eq!(prefers_html(&headers(&[("accept", accept)])), html, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (offer, taken) in
            [("gzip, br", true), ("br", false), ("gzip;q=0", false), ("*", true), ("", false)]
        {
            assert_eq!(accepts_gzip(&headers(&[("accept-encoding", offer)])), taken, "{offer}");
        }
    }
}
