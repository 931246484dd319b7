//! The head of a request as the origin gets it.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

use crate::edge::dress::{bearer, imitates, without_ours};
use crate::edge::head::RawHead;
use crate::edge::trip::Trip;
use crate::request::{Fields, Known};

/// Room for what is added to a head.
const ADDED_BYTES: usize = 1024;

/// As it came, but for what belongs to one hop, what is ours to say, and what was ours to read.
pub(super) fn compose(raw: &RawHead, trip: &Trip, body: &[u8]) -> BytesMut {
    let mut request = BytesMut::with_capacity(raw.bytes.len() + ADDED_BYTES + body.len());
    let mut run = 0..0;
    for line in Lines::of(&raw.bytes) {
        match in_place_of(raw.bytes.get(line.clone()).unwrap_or_default(), trip) {
            // What stays as it is goes together with its neighbours.
            InPlace::Itself => run.end = line.end,
            InPlace::Bytes(instead) => {
                request.put_slice(raw.bytes.get(run).unwrap_or_default());
                request.put_slice(&instead);
                run = line.end..line.end;
            }
        }
    }
    request.put_slice(raw.bytes.get(run).unwrap_or_default());
    put_own(&mut request, &raw.fields, trip);
    request.put_slice(b"\r\n");
    request.put_slice(body);
    request
}

/// Where the lines of a head lie, the request line first. It was checked: each ends with CR LF, and nothing else does.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn of(head: &'a [u8]) -> Self {
        Self { head, at: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    /// With its end. The empty line is none.
    fn next(&mut self) -> Option<Range<usize>> {
        let length = memchr::memchr(b'\n', self.head.get(self.at..)?)? + 1;
        let line = self.at..self.at + length;
        self.at = line.end;
        (length > 2).then_some(line)
    }
}

/// What goes to the origin instead of a line.
enum InPlace {
    Itself,
    Bytes(Vec<u8>),
}

fn in_place_of(line: &[u8], trip: &Trip) -> InPlace {
    let Some(colon) = memchr::memchr2(b':', b' ', line).filter(|at| line.get(*at) == Some(&b':')) else {
        // The request line: names of fields have no blanks.
        return InPlace::Itself;
    };
    let (name, value) = line.split_at(colon);
    if is_of_one_hop(name) || imitates(name) || is_of_another_trace(name, trip) {
        return InPlace::Bytes(Vec::new());
    }
    let value = || value.get(1..).unwrap_or_default().trim_ascii();
    match name.len() {
        6 if name.eq_ignore_ascii_case(b"cookie") => match without_ours(value()) {
            None => InPlace::Itself,
            Some(kept) if kept.is_empty() => InPlace::Bytes(kept),
            Some(kept) => InPlace::Bytes([name, b": ", &kept, b"\r\n"].concat()),
        },
        13 if name.eq_ignore_ascii_case(b"authorization") && bearer(value()).is_some() => {
            InPlace::Bytes(Vec::new())
        }
        _ => InPlace::Itself,
    }
}

/// RFC 9110 §7.6.1. What `Connection` names besides does not come this way.
fn is_of_one_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Where the trace begins here, what came of one was not valid; and what is sent takes the place of what came.
fn is_of_another_trace(name: &[u8], trip: &Trip) -> bool {
    trip.trace.sent.is_some() && name.eq_ignore_ascii_case(b"traceparent")
        || trip.trace.is_new && name.eq_ignore_ascii_case(b"tracestate")
}

fn put_own(request: &mut BytesMut, fields: &Fields, trip: &Trip) {
    put(request, b"X-Forwarded-For", trip.hops.forwarded_for.as_bytes());
    put(request, b"X-Forwarded-Proto", if trip.hops.secure { b"https" } else { b"http" });
    if let Some(host) = fields.get(Known::Host) {
        put(request, b"X-Forwarded-Host", host);
    }
    put(request, b"X-Request-Id", trip.trace.id.as_bytes());
    if let Some(sent) = &trip.trace.sent {
        put(request, b"traceparent", sent.as_bytes());
    }
    if let Some(pass) = &trip.forward.pass {
        put(request, b"Vestibule-Pass", pass.token.as_bytes());
        put(request, b"Vestibule-Visitor", pass.visitor.to_string().as_bytes());
    }
}

fn put(request: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        request.put_slice(part);
    }
}
