//! Answers as visitors and apps get them: pages, standings, problems.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use room::wire::{Problem, Standing};
use serde::Serialize;

use crate::request::{Answer, Digits, Fields, Head, Known, Lines};

use super::cookies::Cookie;

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
    problem.trace_id = Some(head.trace_id.to_string());
    typed(status, "application/problem+json", &problem)
}

/// A problem that always reads the same but for its trace: for those who come in floods.
#[derive(Debug)]
pub struct FixedProblem {
    status: StatusCode,
    headers: Lines,
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
        let headers = headers_of("application/problem+json");
        Self { status, headers, before: before.into(), after: after.into() }
    }

    pub fn answer(&self, head: &Head) -> Answer {
        let body = [self.before.as_str(), head.trace_id.as_str(), &self.after].concat();
        Answer { status: self.status, headers: self.headers.with_room(OWN_BYTES), body: body.into() }
    }
}

fn typed(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Answer {
    // Plain data of our own serialises; were it not to, an empty body with the right status is still an answer.
    let body = serde_json::to_vec(value).unwrap_or_default();
    Answer { status, headers: headers_of(kind), body: body.into() }
}

/// Room for what one answer says besides, a ticket mostly, for what the edge says, and for a body that is small.
const OWN_BYTES: usize = 1536;
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

fn headers_of(kind: &'static str) -> Lines {
    let mut headers = Lines::with_capacity(OWN_BYTES);
    headers.add(&header::CONTENT_TYPE, kind);
    headers.add(&header::CACHE_CONTROL, "no-store");
    headers.add(&header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers.add(&ROBOTS, "noindex");
    headers
}

pub fn empty(status: StatusCode) -> Answer {
    let mut headers = Lines::default();
    headers.add(&header::CACHE_CONTROL, "no-store");
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
    let hosted = wants_hosted_names(head).then(|| Hosted {
        in_waiting_room: true,
        wait_time: standing.estimate.map_or(0, |estimate| estimate.p50_seconds.div_ceil(60)),
        wait_time_known: standing.estimate.is_some(),
        queue_is_full: code == Some("full"),
        refresh_interval_seconds: standing.next_update_seconds,
    });
    let mut object = object(code, standing);
    if let Some(hosted) = &hosted {
        add_fields(&mut object, hosted);
    }
    let kind = if hosted.is_some() { HOSTED_NAMES } else { "application/json" };
    Answer { status, headers: standing_headers(kind), body: object.into() }
}

/// A standing that was written before, for clients that did not ask for other names.
pub fn written(status: StatusCode, text: &Bytes) -> Answer {
    static HEADERS: LazyLock<Lines> = LazyLock::new(|| standing_headers("application/json"));
    Answer { status, headers: HEADERS.with_room(OWN_BYTES), body: text.clone() }
}

fn standing_headers(kind: &'static str) -> Lines {
    let mut headers = headers_of(kind);
    headers.add(&header::VARY, "Accept, Accept-Encoding, Cookie");
    headers
}

/// A standing as a JSON object, with a code in front of its fields.
pub fn object(code: Option<&str>, standing: &Standing) -> Vec<u8> {
    #[derive(Serialize)]
    struct Coded<'a> {
        code: &'a str,
    }
    let mut object = Vec::with_capacity(STANDING_BYTES);
    if let Some(code) = code {
        add_fields(&mut object, &Coded { code });
    }
    add_fields(&mut object, standing);
    object
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
    pub fn with(mut self, name: &HeaderName, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// In whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(&header::RETRY_AFTER, Digits::of(secs.max(1)).as_bytes())
    }

    #[must_use]
    pub(super) fn with_cookies<'a>(mut self, cookies: impl IntoIterator<Item = Cookie<'a>>) -> Self {
        for cookie in cookies {
            cookie.add_to(&mut self.headers);
        }
        self
    }
}

/// Whether a person looks at the answer: a navigation that prefers HTML.
pub fn is_navigation(head: &Head) -> bool {
    let by_method = matches!(head.method, Method::GET | Method::HEAD);
    let destination = head.fields.text(Known::SecFetchDest);
    by_method
        && matches!(destination, None | Some("document" | "iframe"))
        && head.fields.text(Known::Accept).is_some_and(prefers_html)
}

/// A page that is loaded before anybody asked for it.
pub fn is_prefetch(head: &Head) -> bool {
    let says = |known| head.fields.text(known).is_some_and(|value| value.contains("prefetch"));
    says(Known::SecPurpose) || says(Known::Purpose)
}

pub fn accepts_gzip(fields: &Fields) -> bool {
    let offers = fields.text(Known::AcceptEncoding).unwrap_or_default().split(',');
    offers.map(Offer::read).any(|offer| matches!(offer.name, "gzip" | "*") && offer.quality > 0.0)
}

pub fn wants_hosted_names(head: &Head) -> bool {
    head.fields.text(Known::Accept).is_some_and(|accept| accept.contains(HOSTED_NAMES))
}

/// RFC 9110 §12.5.1, for the one question asked here: is HTML at least as welcome as JSON, and named?
fn prefers_html(accept: &str) -> bool {
    let (mut html, mut json) = (0.0, 0.0);
    for offer in accept.split(',').map(Offer::read) {
        let best = match offer.name {
            "text/html" | "application/xhtml+xml" => &mut html,
            "application/json" | "application/problem+json" | HOSTED_NAMES => &mut json,
            _ => continue,
        };
        *best = f64::max(*best, offer.quality);
    }
    html > 0.0 && html >= json
}

struct Offer<'a> {
    name: &'a str,
    quality: f64,
}

impl<'a> Offer<'a> {
    fn read(text: &'a str) -> Self {
        let Some((name, params)) = text.split_once(';') else {
            return Self { name: text.trim(), quality: 1.0 };
        };
        let mut params = params.split(';').map(str::trim);
        let quality =
            params.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        Self { name: name.trim(), quality }
    }
}

#[cfg(test)]
mod tests {
    use room::wire::{Estimate, State};

    use super::*;

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
            assert_eq!(prefers_html(accept), html, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (offer, taken) in
            [("gzip, br", true), ("br", false), ("gzip;q=0", false), ("*", true), ("", false)]
        {
            let fields = [("accept-encoding", offer)].into_iter().collect();
            assert_eq!(accepts_gzip(&fields), taken, "{offer}");
        }
    }
}
