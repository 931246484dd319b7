//! The head of an answer: read once, checked, and written anew for the visitor.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, BytesMut};
use http::Method;
use httparse::{Header, ParserConfig, Response, Status};
use pingora::protocols::http::date::get_cached_date;

use super::body::{Body, Chunked};
use crate::edge::forward::{COMMAND, is_event_stream, parse_command};
use crate::request::{Command, Digits};

const MAX_FIELDS: usize = 256;
/// Room for what is added to a head.
const ADDED_BYTES: usize = 256;

/// What an answer depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// Whether the visitor's connection goes on behind this answer.
    pub(super) keep_alive: bool,
    pub(super) cookies: &'a [http::HeaderValue],
}

#[derive(Debug)]
pub(super) enum Answer {
    /// 1xx: another head follows.
    Interim(BytesMut),
    Final(FinalAnswer),
}

#[derive(Debug)]
pub(super) struct FinalAnswer {
    pub(super) status: u16,
    /// For the visitor.
    pub(super) head: BytesMut,
    pub(super) body: Body,
    /// Whether the visitor was told that the connection goes on.
    pub(super) keeps_client: bool,
    /// Whether the origin's connection may be used again behind the body.
    pub(super) reusable: bool,
    pub(super) streams_events: bool,
    /// What the origin says of the session, if the answer is no cached one.
    pub(super) command: Option<Command>,
}

/// The origin's head is no HTTP/1, or means two things.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHead;

impl Answer {
    /// Reads the head at the start of `bytes`; with it comes its length. `None`: it is not whole yet.
    pub(super) fn read(bytes: &[u8], asked: Asked<'_>) -> Result<Option<(usize, Self)>, BadHead> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = Response::new(&mut []);
        let mut config = ParserConfig::default();
        config
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(BadHead),
        };
        let code = response.code.unwrap_or_default();
        let facts = Facts::read(response.headers, response.version == Some(0))?;
        let mut head = BytesMut::with_capacity(bytes.len() + ADDED_BYTES);
        put_status(&mut head, code, response.reason.unwrap_or_default());
        for field in response.headers.iter().filter(|field| facts.passes(field, asked)) {
            put(&mut head, field.name.as_bytes(), field.value);
        }
        match code {
            // Nobody asked for another protocol.
            101 => Err(BadHead),
            100..=199 => {
                head.put_slice(b"\r\n");
                Ok(Some((length, Self::Interim(head))))
            }
            _ => Ok(Some((length, Self::Final(facts.finish(head, code, asked)?)))),
        }
    }
}

/// What the fields say about the message itself.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
struct Facts<'a> {
    http10: bool,
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    has_date: bool,
    has_age: bool,
    streams_events: bool,
    command: Option<Command>,
    /// Named by `Connection`: they belong to this hop.
    nominated: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    fn read(fields: &[Header<'a>], http10: bool) -> Result<Self, BadHead> {
        let mut facts = Self { http10, ..Self::default() };
        for field in fields {
            facts.note(field)?;
        }
        // RFC 9112 §6.3: a coding that does not end with `chunked` ends with the connection. Nobody sends such.
        if facts.coded && !facts.chunked { Err(BadHead) } else { Ok(facts) }
    }

    fn note(&mut self, field: &Header<'a>) -> Result<(), BadHead> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            3 if is("age") => self.has_age = true,
            4 if is("date") => self.has_date = true,
            10 if is("connection") => self.note_connection(field.value),
            12 if is("content-type") => self.streams_events |= is_event_stream(field.value),
            14 if is("content-length") => {
                let length = content_length(field.value)?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(BadHead);
                }
                self.length = Some(length);
            }
            17 if is("transfer-encoding") => {
                // Twice, or together with others, it means two things.
                let chunked = field.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                (self.chunked, self.coded) = (chunked && !self.coded, true);
            }
            17 if is(COMMAND) => self.command = parse_command(field.value),
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &'a [u8]) {
        let options = std::str::from_utf8(value).unwrap_or_default().split(',').map(str::trim);
        for option in options.filter(|option| !option.is_empty()) {
            match option {
                _ if option.eq_ignore_ascii_case("close") => self.close = true,
                _ if option.eq_ignore_ascii_case("keep-alive") => self.keep_alive = true,
                _ => self.nominated.push(option),
            }
        }
    }

    /// Whether a field goes on to the visitor as it is.
    fn passes(&self, field: &Header<'_>, asked: Asked<'_>) -> bool {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let taken = match field.name.len() {
            7 => is("upgrade"),
            10 => is("connection") || is("keep-alive"),
            13 => !asked.cookies.is_empty() && is("cache-control"),
            14 => is("content-length"),
            16 => is("proxy-connection"),
            17 => is("transfer-encoding") || is(COMMAND),
            _ => false,
        };
        !taken && !self.nominated.iter().any(|name| is(name))
    }

    fn finish(self, mut head: BytesMut, code: u16, asked: Asked<'_>) -> Result<FinalAnswer, BadHead> {
        let bodiless = asked.method == Method::HEAD || matches!(code, 204 | 304);
        let body = match (bodiless, self.chunked, self.length) {
            (true, ..) => Body::Done,
            (_, true, _) => Body::Chunked(Chunked::Size),
            (_, _, Some(0)) => Body::Done,
            (_, _, Some(length)) => Body::Length(length),
            (_, _, None) => Body::UntilClose,
        };
        // An answer of HTTP/1.0 has no chunks.
        if self.http10 && self.chunked {
            return Err(BadHead);
        }
        match (body, self.length) {
            (Body::Chunked(_) | Body::UntilClose, _) => put(&mut head, b"Transfer-Encoding", b"chunked"),
            (Body::Done, _) if self.chunked && asked.method == Method::HEAD => {
                put(&mut head, b"Transfer-Encoding", b"chunked");
            }
            (_, Some(length)) if code != 204 => {
                put(&mut head, b"Content-Length", Digits::of(length).as_bytes());
            }
            _ => {}
        }
        if !self.has_date {
            put(&mut head, b"Date", get_cached_date().as_bytes());
        }
        put(&mut head, b"Connection", if asked.keep_alive { b"keep-alive" } else { b"close" });
        for cookie in asked.cookies {
            put(&mut head, b"Set-Cookie", cookie.as_bytes());
        }
        if !asked.cookies.is_empty() {
            // A shared cache that kept them would hand one visitor's pass to others.
            put(&mut head, b"Cache-Control", b"private, no-store");
        }
        head.put_slice(b"\r\n");
        let stays = if self.http10 { self.keep_alive && !self.close } else { !self.close };
        Ok(FinalAnswer {
            status: code,
            head,
            body,
            keeps_client: asked.keep_alive,
            reusable: stays && body != Body::UntilClose && !(self.chunked && self.length.is_some()),
            streams_events: self.streams_events,
            command: self.command.filter(|_| !self.has_age),
        })
    }
}

/// RFC 9112 §6.3: a list of equal lengths is one length.
fn content_length(value: &[u8]) -> Result<u64, BadHead> {
    let mut found = None;
    for length in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let length: u64 = length.ok_or(BadHead)?;
        if found.is_some_and(|before| before != length) {
            return Err(BadHead);
        }
        found = Some(length);
    }
    found.ok_or(BadHead)
}

fn put_status(head: &mut BytesMut, code: u16, reason: &str) {
    head.put_slice(b"HTTP/1.1 ");
    head.put_slice(Digits::of(code.into()).as_bytes());
    head.put_slice(b" ");
    head.put_slice(reason.as_bytes());
    head.put_slice(b"\r\n");
}

fn put(head: &mut BytesMut, name: &[u8], value: &[u8]) {
    head.put_slice(name);
    head.put_slice(b": ");
    if memchr::memchr2(b'\r', b'\n', value).is_some() {
        // RFC 9112 §5.2: a folded line is unfolded.
        head.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    } else {
        head.put_slice(value);
    }
    head.put_slice(b"\r\n");
}
