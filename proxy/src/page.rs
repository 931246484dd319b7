//! The waiting page: made once for a room, with a place for what one visitor is told.

mod board;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};
use http::{HeaderName, header};
use room::ids::RoomName;
use sha2::{Digest as _, Sha256};

pub use self::board::{Board, Moment, Notice, Posted};
use crate::request::Lines;

const TEMPLATE: &str = include_str!("../web/waiting/page.html");
/// A browser without scripts looks again this often: often enough to count as present.
pub const REFRESH_SECS: u32 = 10;
/// Room for a cookie and a time to come back.
const OWN_BYTES: usize = 768;
const NEWCOMER: &str = "Your place is being kept. This page looks again by itself.";

/// One room's page.
#[derive(Debug)]
pub struct Page {
    before: Part,
    after: Part,
    newcomer: Bytes,
    newcomer_gzip: Bytes,
    headers: Lines,
    headers_gzip: Lines,
    /// For those who are no browsers.
    pub board: Board,
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
            headers: headers(false),
            headers_gzip: headers(true),
            board: Board::default(),
            before: Part::new(before, FlushCompress::Full),
            after: Part::new(after, FlushCompress::Finish),
        }
    }

    /// The same bytes for everybody who has just come: nothing is made for a flood.
    pub fn for_newcomer(&self, accepts_gzip: bool) -> Shown {
        let body = if accepts_gzip { &self.newcomer_gzip } else { &self.newcomer };
        Shown { body: body.clone(), gzip: accepts_gzip }
    }

    /// With words for one visitor, for browsers without scripts.
    pub fn with(&self, words: &str, accepts_gzip: bool) -> Shown {
        let (Self { before, after, .. }, words) = (self, escape(words));
        let body = if accepts_gzip {
            between(before, words.as_bytes(), after)
        } else {
            [before.text.as_str(), &words, &after.text].concat().into()
        };
        Shown { body, gzip: accepts_gzip }
    }

    /// The headers of every page, with room for a cookie.
    pub fn headers(&self, shown: &Shown) -> Lines {
        let headers = if shown.gzip { &self.headers_gzip } else { &self.headers };
        headers.with_room(OWN_BYTES)
    }
}

fn headers(gzip: bool) -> Lines {
    let mut headers = Lines::default();
    headers.add(&header::CONTENT_TYPE, "text/html; charset=utf-8");
    headers.add(&header::CACHE_CONTROL, "no-store");
    headers.add(&header::VARY, "Accept, Accept-Encoding, Cookie");
    headers.add(&HeaderName::from_static("x-robots-tag"), "noindex");
    headers.add(&header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers.add(&header::REFERRER_POLICY, "same-origin");
    headers.add(&header::CONTENT_SECURITY_POLICY, policy());
    if gzip {
        headers.add(&header::CONTENT_ENCODING, "gzip");
    }
    headers
}

/// Only the page's own script and style run, and it talks to its own origin alone.
fn policy() -> String {
    let hash = |tag: &str| {
        let (_, rest) = TEMPLATE.split_once(&format!("<{tag}>")).unwrap_or_default();
        let (inside, _) = rest.split_once(&format!("</{tag}>")).unwrap_or_default();
        STANDARD.encode(Sha256::digest(inside))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
        hash("script"),
        hash("style"),
    )
}

/// A piece of the page that is the same for everybody.
#[derive(Debug)]
struct Part {
    text: String,
    /// A piece of a deflate stream (RFC 1951) that ends on a whole byte and refers to nothing before it.
    deflated: Vec<u8>,
    checksum: Crc,
}

impl Part {
    fn new(text: &str, end: FlushCompress) -> Self {
        let mut deflated = Vec::with_capacity(text.len() + 64);
        // Writing to memory does not fail.
        let _ = Compress::new(Compression::best(), false).compress_vec(text.as_bytes(), &mut deflated, end);
        let mut checksum = Crc::new();
        checksum.update(text.as_bytes());
        Self { text: text.to_owned(), deflated, checksum }
    }
}

/// The largest stored block of a deflate stream.
const MAX_STORED_BYTES: usize = u16::MAX as usize;

/// A gzip file (RFC 1952) in which only the words between are new: they are stored, not compressed.
fn between(before: &Part, words: &[u8], after: &Part) -> Bytes {
    let length = before.deflated.len() + words.len() + after.deflated.len();
    let mut gzip = Vec::with_capacity(length + 64);
    gzip.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    gzip.extend_from_slice(&before.deflated);
    for block in words.chunks(MAX_STORED_BYTES) {
        let length = block.len() as u16;
        gzip.push(0);
        gzip.extend_from_slice(&length.to_le_bytes());
        gzip.extend_from_slice(&(!length).to_le_bytes());
        gzip.extend_from_slice(block);
    }
    gzip.extend_from_slice(&after.deflated);
    let mut checksum = Crc::new();
    checksum.combine(&before.checksum);
    let mut of_words = Crc::new();
    of_words.update(words);
    checksum.combine(&of_words);
    checksum.combine(&after.checksum);
    gzip.extend_from_slice(&checksum.sum().to_le_bytes());
    gzip.extend_from_slice(&checksum.amount().to_le_bytes());
    gzip.into()
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
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
    use std::io::Read as _;

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
    fn a_compressed_page_is_the_page() {
        let page = page();
        for words in ["", "You are number 7 of 51,873 & <more>.", &"long ".repeat(40_000)] {
            let (plain, gzip) = (page.with(words, false), page.with(words, true));
            let mut text = Vec::new();
            let read = flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text);
            assert!(read.is_ok() && gzip.gzip && text == plain.body, "{} bytes of words", words.len());
        }
        assert!(page.with("You are number 7.", true).body.len() < 14 * 1024, "it still fits one round trip");
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page() {
        let policy = policy();
        let empty = STANDARD.encode(Sha256::digest(""));
        assert_eq!(policy.matches("sha256-").count(), 2);
        assert!(!policy.contains(&empty), "a tag was not found");
    }
}
