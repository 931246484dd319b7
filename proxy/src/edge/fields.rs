//! The fields of a head that say where a request goes and where it ends.

use std::net::Ipv6Addr;

use super::refusal::Refusal;
use crate::request::{Fields, Known, plain_text};

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In bytes; 0 without a body.
    Length(u64),
    Chunked,
}

/// Exactly one `Host`, and the same as in an absolute target.
pub(super) fn host(fields: &Fields, authority: Option<&str>) -> Result<String, Refusal> {
    let line = fields.only(Known::Host).and_then(plain_text).ok_or(Refusal::Host)?;
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(line)) {
        return Err(Refusal::Malformed("`Host` differs from the host of the target"));
    }
    if let Some(rest) = line.strip_prefix('[') {
        let (name, port) = rest.split_once(']').ok_or(Refusal::Host)?;
        let address: Ipv6Addr = name.parse().map_err(|_| Refusal::Host)?;
        return is_port(port).then(|| address.to_string()).ok_or(Refusal::Host);
    }
    let (name, port) = line.split_at(line.find(':').unwrap_or(line.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    // Without a branch a byte.
    let named = name.bytes().fold(!name.is_empty(), |named, byte| named & is_host_byte(byte));
    (named && is_port(port)).then(|| name.to_ascii_lowercase()).ok_or(Refusal::Host)
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// Nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    let number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.is_empty() || number(port))
}

/// RFC 9112 §6.3, with every doubtful combination refused.
pub(super) fn framing(fields: &Fields, http10: bool) -> Result<Framing, Refusal> {
    let mut lengths = fields.all(Known::ContentLength);
    let mut codings = fields.all(Known::TransferEncoding);
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(Refusal::Malformed("it has both `Content-Length` and `Transfer-Encoding`")),
        (Some(length), None) if lengths.next().is_none() => content_length(length).map(Framing::Length),
        (Some(_), None) => Err(Refusal::Malformed("it has `Content-Length` twice")),
        (None, Some(_)) if http10 => Err(Refusal::Malformed("HTTP/1.0 has no `Transfer-Encoding`")),
        (None, Some(coding)) => match (coding.eq_ignore_ascii_case(b"chunked"), codings.next()) {
            (true, None) => Ok(Framing::Chunked),
            _ => Err(Refusal::Coding),
        },
    }
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let text = plain_text(value).unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(Refusal::Malformed("`Content-Length` is no number"))
}

pub(super) fn expects_continue(fields: &Fields) -> Result<bool, Refusal> {
    let mut lines = fields.all(Known::Expect);
    match (lines.next(), lines.next()) {
        (None, _) => Ok(false),
        (Some(line), None) if line.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(Refusal::Expectation),
    }
}

/// What `Connection` says.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Fields that belong to this hop.
    pub(super) others: bool,
}

pub(super) fn connection(fields: &Fields) -> Connection {
    let mut found = Connection::default();
    for token in fields.texts(Known::Connection).flat_map(|line| line.split(',')).map(str::trim) {
        found.close |= token.eq_ignore_ascii_case("close");
        found.keep_alive |= token.eq_ignore_ascii_case("keep-alive");
        found.upgrade |= token.eq_ignore_ascii_case("upgrade");
        found.others |=
            !["", "close", "keep-alive", "upgrade"].iter().any(|known| token.eq_ignore_ascii_case(known));
    }
    found
}

pub(super) fn asks_for_websocket(fields: &Fields) -> bool {
    fields.get(Known::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(line: &str) -> Result<String, Refusal> {
        host(&[("host", line)].into_iter().collect(), None)
    }

    #[test]
    fn a_host_is_one_name_or_address() {
        for (came, read) in [
            ("a", "a"),
            ("A.b.", "a.b"),
            ("a:80", "a"),
            ("a.:80", "a"),
            ("a:", "a"),
            ("[::1]:80", "::1"),
            ("[2001:DB8::0:1]", "2001:db8::1"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_of(came).as_deref(), Ok(read), "{came}");
        }
        for bad in [
            "", ".", ":80", "a b", "a/b", "me@a", "a:b", "a:1:2", "a:+1", "a:99999", "[::1", "[x]", "[::1]x",
            "a]", "a,b", "a%00", "a\tb",
        ] {
            assert_eq!(host_of(bad), Err(Refusal::Host), "{bad}");
        }
    }

    #[test]
    fn exactly_one_host_is_needed() {
        let hosts = |count| [("host", "a")].into_iter().cycle().take(count).collect::<Fields>();
        assert_eq!(host(&hosts(0), None), Err(Refusal::Host));
        assert_eq!(host(&hosts(1), Some("A")).as_deref(), Ok("a"));
        assert!(matches!(host(&hosts(1), Some("b")), Err(Refusal::Malformed(_))));
        assert_eq!(host(&hosts(2), None), Err(Refusal::Host));
    }
}
