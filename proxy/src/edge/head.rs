//! From the bytes of a head to facts, or to a refusal. Stricter than any origin behind it, so that both always agree
//! where a request ends and for whom it is.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::Method;

use super::fields::{self, Framing};
use super::path;
use super::refusal::Refusal;
use crate::request::Fields;

/// The largest head, request line included.
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_FIELDS: usize = 100;

/// A head that was checked.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct RawHead {
    /// The bytes as they are forwarded: as they came, unless the target had to be rewritten.
    pub(super) bytes: Bytes,
    pub(super) method: Method,
    /// Lower case, without port and trailing dot.
    pub(super) host: String,
    /// Canonical, for matching.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) fields: Fields,
    pub(super) framing: Framing,
    /// Whether the client wants to use the connection again.
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    /// Whether it asks for a WebSocket.
    pub(super) websocket: bool,
    /// Whether it is as simple as nearly all are: HTTP/1.1, a counted body or none, nothing that is hop by hop.
    pub(super) plain: bool,
}

/// Looks for the end of a head in what has arrived so far, from where an earlier search left off. `Ok(Some(n))`: the
/// head is the first `n` bytes.
pub(super) fn find_end(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, Refusal> {
    let next = |from: usize| memchr::memchr(b'\n', bytes.get(from..)?).map(|at| at + from);
    while let Some(at) = next(*searched) {
        *searched = at + 1;
        match bytes.get(..at).unwrap_or_default() {
            [.., b'\r', b'\n', b'\r'] => return Ok(Some(at + 1)),
            [.., b'\r'] => {}
            _ => return Err(Refusal::Malformed("a line ends without a carriage return")),
        }
    }
    *searched = bytes.len();
    Ok(None)
}

impl RawHead {
    /// `bytes` is one whole head with the empty line that ends it.
    pub(super) fn parse(bytes: BytesMut) -> Result<Self, Refusal> {
        if bytes.first().is_none_or(u8::is_ascii_whitespace) {
            return Err(Refusal::Malformed("it does not start with a request line"));
        }
        let bytes = bytes.freeze();
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&bytes, &mut fields) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(Refusal::Malformed("the head ends early")),
            Err(error) => return Err(refused(error)),
        }
        let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())
            .map_err(|_| Refusal::Malformed("the method is no token"))?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(Refusal::Method);
        }
        let http10 = request.version == Some(0);
        let target = Target::split(request.path.unwrap_or_default())?;
        let fields = Fields::of(bytes.clone(), request.headers)
            .map_err(|_| Refusal::Malformed("a field is not in its head"))?;
        let host = fields::host(&fields, target.authority)?;
        let place = path::normalise(target.path.as_bytes())?;
        let rewritten = place.rewritten.or_else(|| target.authority.map(|_| target.path.as_bytes().to_vec()));
        let forwarded = match rewritten {
            Some(path) => {
                rewrite(&bytes, &method, &path, target.query, request.path.unwrap_or_default().len())
            }
            None => bytes.clone(),
        };
        let connection = fields::connection(&fields);
        let keep_alive = if http10 { connection.keep_alive } else { !connection.close };
        let framing = fields::framing(&fields, http10)?;
        let expects_continue = fields::expects_continue(&fields)?;
        let counted = matches!(framing, Framing::Length(_));
        let plain = !http10 && counted && !expects_continue && !connection.upgrade && !connection.others;
        let may_upgrade = !http10 && method == Method::GET && framing == Framing::Length(0);
        Ok(Self {
            framing,
            expects_continue,
            plain,
            websocket: may_upgrade && connection.upgrade && fields::asks_for_websocket(&fields),
            bytes: forwarded,
            host,
            path: place.canonical,
            query: target.query.map(str::to_owned),
            keep_alive,
            method,
            fields,
        })
    }
}

fn refused(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::HeaderName => Refusal::Malformed("a field name is no token"),
        httparse::Error::HeaderValue => Refusal::Malformed("a field value has a control character"),
        httparse::Error::NewLine => Refusal::Malformed("a line does not end with CR LF"),
        httparse::Error::Token | httparse::Error::Status => {
            Refusal::Malformed("the request line is no request line")
        }
    }
}

/// A request target in parts, none of them decoded.
struct Target<'a> {
    /// Only in the absolute form.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn split(target: &'a str) -> Result<Self, Refusal> {
        let (authority, rest) = match absolute(target) {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                (Some(authority), rest)
            }
            None => (None, target),
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        if query.is_some_and(|query| query.contains('#')) {
            return Err(Refusal::Malformed("the query has a `#`"));
        }
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        Ok(Self { authority, path, query })
    }
}

fn absolute(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

/// The head with another target in its first line.
fn rewrite(bytes: &[u8], method: &Method, path: &[u8], query: Option<&str>, old: usize) -> Bytes {
    let start = method.as_str().len() + 1;
    let mut head = BytesMut::with_capacity(bytes.len() + 1);
    head.extend_from_slice(bytes.get(..start).unwrap_or_default());
    head.extend_from_slice(path);
    if let Some(query) = query {
        head.extend_from_slice(b"?");
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(bytes.get(start + old..).unwrap_or_default());
    head.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::path::PathError;

    fn read(text: &str) -> Result<RawHead, Refusal> {
        let bytes = BytesMut::from(text.as_bytes());
        match find_end(&bytes, &mut 0)? {
            Some(end) if end == bytes.len() => RawHead::parse(bytes),
            _ => Err(Refusal::Malformed("not one head")),
        }
    }

    fn get(lines: &str) -> Result<RawHead, Refusal> {
        read(&format!("GET /a?b=1 HTTP/1.1\r\nHost: Shop.Example.com:8080\r\n{lines}\r\n"))
    }

    #[test]
    fn a_head_becomes_facts() {
        let head = get("X: 1\r\nx: 2\r\n").unwrap();
        assert_eq!((head.host.as_str(), head.path.as_str()), ("shop.example.com", "/a"));
        assert_eq!(head.query.as_deref(), Some("b=1"));
        assert_eq!(head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"x")).count(), 2);
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive && !head.websocket && !head.expects_continue);
    }

    #[test]
    fn the_end_is_found_however_the_bytes_arrive() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut searched = 0;
        for length in 0..27 {
            assert_eq!(find_end(&text[..length], &mut searched), Ok(None), "{length}");
        }
        assert_eq!(find_end(text, &mut searched), Ok(Some(27)));
    }

    #[test]
    fn smuggling_forms_are_refused() {
        for (lines, refusal) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            ("Content-Length : 1\r\n", 400),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding:\u{b}chunked\r\n", 400),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("X: a\r\n b\r\n", 400),
            ("X: a\r\n\tb\r\n", 400),
            (" X: a\r\n", 400),
            ("X: a\nY: b\r\n", 400),
            ("X: a\rY: b\r\n", 400),
            ("X: a\0b\r\n", 400),
            ("X\u{e9}: a\r\n", 400),
            ("X Y: a\r\n", 400),
            (": a\r\n", 400),
            ("nothing\r\n", 400),
            ("Host: b\r\n", 400),
            ("Expect: more\r\n", 417),
        ] {
            let refused = get(lines).map(|_| ()).unwrap_err();
            assert_eq!(refused.answer().status.as_u16(), refusal, "{lines:?}: {refused}");
        }
    }

    #[test]
    fn a_request_line_is_read_strictly() {
        let line = |line: &str| read(&format!("{line}\r\nHost: a\r\n\r\n")).map(|_| ());
        assert_eq!(line("GET / HTTP/1.1"), Ok(()));
        assert_eq!(line("PURGE / HTTP/1.0"), Ok(()));
        assert_eq!(line("CONNECT a:1 HTTP/1.1"), Err(Refusal::Method));
        assert_eq!(line("TRACE / HTTP/1.1"), Err(Refusal::Method));
        assert_eq!(line("GET / HTTP/2.0"), Err(Refusal::Version));
        assert_eq!(line("GET * HTTP/1.1"), Err(Refusal::Path(PathError::NotAbsolute)));
        for bad in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / a HTTP/1.1",
            "/ HTTP/1.1",
            "GET / HTTP/1.1 ",
            "G\tT / HTTP/1.1",
        ] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_absolute_target_becomes_a_path() {
        let absolute =
            |target: &str| read(&format!("GET {target} HTTP/1.1\r\nHost: Shop.example\r\nX: 1\r\n\r\n"));
        for (target, line) in [
            ("http://shop.example/a?b", "GET /a?b HTTP/1.1"),
            ("HTTP://SHOP.EXAMPLE/a", "GET /a HTTP/1.1"),
            ("http://shop.example?b", "GET /?b HTTP/1.1"),
            ("http://shop.example", "GET / HTTP/1.1"),
        ] {
            let head = absolute(target).unwrap();
            assert_eq!(
                &head.bytes[..],
                format!("{line}\r\nHost: Shop.example\r\nX: 1\r\n\r\n").as_bytes(),
                "{target}"
            );
        }
        for bad in
            ["http://other/", "http://shop.example:80/", "http://me@shop.example/", "ftp://shop.example/"]
        {
            assert!(absolute(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_was_not_encoded_is_read_or_refused() {
        let raw = read("GET /b\u{e4}?c=\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((raw.path.as_str(), raw.query.as_deref()), ("/b\u{e4}", Some("c=\u{e4}")));
        let latin = [b"GET /b\xe4 HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()].concat();
        assert!(RawHead::parse(BytesMut::from(&latin[..])).is_err());
    }

    #[test]
    fn a_rewritten_path_is_what_is_forwarded() {
        let head = read("GET /x/../buy?to=/../y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(head.path, "/buy");
        assert!(head.bytes.starts_with(b"GET /buy?to=/../y HTTP/1.1\r\n"));
    }

    #[test]
    fn connections_stay_open_as_the_version_says() {
        let keeps = |version: &str, lines: &str| {
            read(&format!("GET / HTTP/1.{version}\r\nHost: a\r\n{lines}\r\n")).unwrap().keep_alive
        };
        assert!(keeps("1", ""));
        assert!(!keeps("1", "Connection: x, Close\r\n"));
        assert!(!keeps("0", ""));
        assert!(keeps("0", "Connection: keep-alive\r\n"));
    }

    #[test]
    fn an_upgrade_counts_only_when_all_of_it_is_there() {
        let asks = |lines: &str| get(lines).unwrap().websocket;
        assert!(asks("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"));
        assert!(!asks("Upgrade: websocket\r\n"));
        assert!(!asks("Connection: upgrade\r\n"));
        assert!(!asks("Connection: upgrade\r\nUpgrade: h2c\r\n"));
    }

    #[test]
    fn more_fields_than_anybody_needs_are_refused() {
        assert!(get(&"X: 1\r\n".repeat(99)).is_ok());
        assert_eq!(get(&"X: 1\r\n".repeat(100)).map(|_| ()), Err(Refusal::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = [b"GET /".as_slice(), &bytes, b"\r\n\r\n"].concat();
            if let Ok(Some(end)) = find_end(&whole, &mut 0) {
                let _ = RawHead::parse(BytesMut::from(&whole[..end]));
            }
        }
    }
}
