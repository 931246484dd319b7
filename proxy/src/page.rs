//! The waiting page: made once for a room, with a place for what one visitor is told.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderName, HeaderValue, header};
use room::ids::RoomName;
use sha2::{Digest as _, Sha256};

const TEMPLATE: &str = include_str!("../web/waiting/page.html");
/// A browser without scripts looks again this often: often enough to count as present.
pub const REFRESH_SECS: u32 = 10;
const NEWCOMER: &str = "Your place is being kept. This page looks again by itself.";

/// One room's page.
#[derive(Debug)]
pub struct Page {
    before: String,
    after: String,
    newcomer: Bytes,
    newcomer_gzip: Bytes,
    policy: HeaderValue,
}

/// A page to send.
#[derive(Debug)]
pub struct Shown {
    pub body: Bytes,
    pub gzip: bool,
}

impl Page {
    pub fn new(room: &RoomName, queue_path: &str) -> Self {
        let filled = TEMPLATE
            .replace("{{ROOM}}", room.as_str())
            .replace("{{QUEUE_PATH}}", &escape(queue_path))
            .replace("{{REFRESH_SECONDS}}", &REFRESH_SECS.to_string());
        let (before, after) = filled.split_once("{{STANDING_TEXT}}").unwrap_or((&filled, ""));
        let newcomer = format!("{before}{NEWCOMER}{after}");
        Self {
            newcomer_gzip: compress(newcomer.as_bytes()),
            newcomer: newcomer.into(),
            policy: policy(),
            before: before.into(),
            after: after.into(),
        }
    }

    /// The same bytes for everybody who has just come: nothing is made for a flood.
    pub fn for_newcomer(&self, accepts_gzip: bool) -> Shown {
        let body = if accepts_gzip { &self.newcomer_gzip } else { &self.newcomer };
        Shown { body: body.clone(), gzip: accepts_gzip }
    }

    /// With words for one visitor, for browsers without scripts.
    pub fn with(&self, words: &str, accepts_gzip: bool) -> Shown {
        let text = [&self.before, escape(words).as_str(), &self.after].concat();
        let body = if accepts_gzip { compress(text.as_bytes()) } else { text.into() };
        Shown { body, gzip: accepts_gzip }
    }

    /// The headers of every page.
    pub fn headers(&self, shown: &Shown) -> Vec<(HeaderName, HeaderValue)> {
        let fixed = HeaderValue::from_static;
        let mut headers = vec![
            (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, fixed("no-store")),
            (header::VARY, fixed("Accept, Accept-Encoding, Cookie")),
            (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
            (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (header::REFERRER_POLICY, fixed("same-origin")),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
        ];
        if shown.gzip {
            headers.push((header::CONTENT_ENCODING, fixed("gzip")));
        }
        headers
    }
}

/// Only the page's own script and style run, and it talks to its own origin alone.
fn policy() -> HeaderValue {
    let hash = |tag: &str| {
        let (_, rest) = TEMPLATE.split_once(&format!("<{tag}>")).unwrap_or_default();
        let (inside, _) = rest.split_once(&format!("</{tag}>")).unwrap_or_default();
        STANDARD.encode(Sha256::digest(inside))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// For text and for attributes in double quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::new(&"e1".parse().unwrap(), "/_queue")
    }

    #[test]
    fn every_placeholder_is_filled_and_the_page_fits_one_round_trip() {
        let page = page();
        let shown = page.for_newcomer(false);
        let text = String::from_utf8(shown.body.to_vec()).unwrap();
        assert!(!text.contains("{{"), "a placeholder is left");
        assert!(text.contains("data-room=\"e1\"") && text.contains(NEWCOMER));
        assert!(page.for_newcomer(true).body.len() < 14 * 1024);
    }

    #[test]
    fn words_for_a_visitor_cannot_become_markup() {
        let shown = page().with("<script>alert(1)</script>", false);
        let text = String::from_utf8(shown.body.to_vec()).unwrap();
        assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script>alert"));
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page() {
        let policy = page().policy;
        let policy = policy.to_str().unwrap();
        let empty = STANDARD.encode(Sha256::digest(""));
        assert_eq!(policy.matches("sha256-").count(), 2);
        assert!(!policy.contains(&empty), "a tag was not found");
    }
}
