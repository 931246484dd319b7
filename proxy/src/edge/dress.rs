//! What is taken from a request before the origin sees it, and what is added.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use room::token::Kind;

use super::trip::Trip;

/// Prefixes of the cookies that browsers hold for us.
const COOKIES: [&[u8]; 2] = [b"vestibule_ticket_", b"vestibule_pass_"];

/// Makes the request of a visitor the request of this edge.
pub(super) fn dress(request: &mut RequestHeader, trip: &Trip) -> pingora::Result<()> {
    undress(request, trip);
    let authority = request.headers.get(header::HOST).cloned();
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let mut add = |name: &'static str, value: Option<HeaderValue>| match value {
        Some(value) => request.insert_header(name, value),
        None => Ok(()),
    };
    add("X-Forwarded-For", text(&trip.hops.forwarded_for))?;
    add(
        "X-Forwarded-Proto",
        Some(HeaderValue::from_static(if trip.hops.secure { "https" } else { "http" })),
    )?;
    add("X-Forwarded-Host", authority)?;
    add("X-Request-Id", text(trip.trace.id.as_str()))?;
    add("traceparent", trip.trace.sent.and_then(|sent| HeaderValue::from_bytes(sent.as_bytes()).ok()))?;
    if let Some(pass) = &trip.forward.pass {
        add("Vestibule-Pass", text(&pass.token))?;
        add("Vestibule-Visitor", text(&pass.visitor.to_string()))?;
    }
    Ok(())
}

/// Removes what only this edge or a trusted proxy may say.
fn undress(request: &mut RequestHeader, trip: &Trip) {
    let imitated: Vec<HeaderName> =
        request.headers.keys().filter(|name| imitates(name.as_str().as_bytes())).cloned().collect();
    for name in imitated {
        request.remove_header(&name);
    }
    if trip.trace.is_new {
        request.remove_header("tracestate");
    }
    strip_cookies(request);
    strip_bearer(request);
}

/// Whether a name is one of ours or of the hops in front. Servers that turn `-` into `_` (CGI, WSGI) would take
/// `Vestibule_Pass` for `Vestibule-Pass`, so it counts as the same.
pub(super) fn imitates(name: &[u8]) -> bool {
    let same = |ours: &[u8]| same(name, ours);
    let starts = |ours: &[u8]| name.get(..ours.len()).is_some_and(|start| self::same(start, ours));
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'v') => starts(b"vestibule-"),
        Some(b'q') => same(b"queue-pass") || same(b"queue-ticket"),
        Some(b'x') => starts(b"x-forwarded-") || same(b"x-real-ip") || same(b"x-request-id"),
        Some(b'f') => same(b"forwarded"),
        _ => false,
    }
}

/// Equal in any letter case, with `_` for any `-`.
fn same(name: &[u8], ours: &[u8]) -> bool {
    let alike = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == ours.len() && name.iter().zip(ours).all(alike)
}

fn strip_cookies(request: &mut RequestHeader) {
    let has_ours = |value: &HeaderValue| without_ours(value.as_bytes()).is_some();
    if !request.headers.get_all(header::COOKIE).iter().any(has_ours) {
        return;
    }
    let lines: Vec<HeaderValue> = request.headers.get_all(header::COOKIE).iter().cloned().collect();
    request.remove_header(&header::COOKIE);
    for line in lines {
        let kept = match without_ours(line.as_bytes()) {
            Some(kept) if kept.is_empty() => continue,
            Some(kept) => HeaderValue::from_maybe_shared(Bytes::from(kept)).ok(),
            None => Some(line),
        };
        // Parts of a valid value are a valid value.
        if let Some(kept) = kept {
            let _ = request.append_header(header::COOKIE, kept);
        }
    }
}

/// A `Cookie` value without ours, every other byte as it was; `None` if there is nothing of ours in it.
pub(super) fn without_ours(line: &[u8]) -> Option<Vec<u8>> {
    if !pairs(line).any(is_ours) {
        return None;
    }
    let mut kept = Vec::with_capacity(line.len());
    let mut first = true;
    for pair in pairs(line).filter(|pair| !is_ours(pair)) {
        if first {
            kept.extend_from_slice(pair.trim_ascii_start());
        } else {
            kept.push(b';');
            kept.extend_from_slice(pair);
        }
        first = false;
    }
    Some(kept)
}

/// What stands between semicolons.
fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let here = rest?;
        let end = memchr::memchr(b';', here);
        rest = end.and_then(|end| here.get(end + 1..));
        here.get(..end.unwrap_or(here.len()))
    })
}

fn is_ours(pair: &[u8]) -> bool {
    let pair = pair.trim_ascii_start();
    let name = pair.strip_prefix(b"__Host-").unwrap_or(pair);
    COOKIES.iter().any(|ours| name.starts_with(ours))
}

/// `Authorization` belongs to the site, unless its bearer value is a token of ours.
fn strip_bearer(request: &mut RequestHeader) {
    let ours =
        request.headers.get_all(header::AUTHORIZATION).iter().any(|value| bearer(value.as_bytes()).is_some());
    if !ours {
        return;
    }
    let lines: Vec<HeaderValue> = request.headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
    request.remove_header(&header::AUTHORIZATION);
    for line in lines.into_iter().filter(|line| bearer(line.as_bytes()).is_none()) {
        let _ = request.append_header(header::AUTHORIZATION, line);
    }
}

/// The kind of token of ours in an `Authorization` value.
pub(super) fn bearer(value: &[u8]) -> Option<Kind> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Kind::claimed_by(token.trim())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str) -> String {
        let kept = without_ours(line.as_bytes()).unwrap_or_else(|| line.as_bytes().to_vec());
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn only_our_cookies_are_taken_out_and_the_rest_stays_byte_exact() {
        for (came, stays) in [
            ("a=1; b=2", "a=1; b=2"),
            ("vestibule_pass_e1=x", ""),
            ("vestibule_pass_e1=x; a=1", "a=1"),
            ("a=1; vestibule_pass_e1=x", "a=1"),
            ("a=1; vestibule_ticket_e1=x; b=2", "a=1; b=2"),
            ("a=\"1; 2\";b=;  c==;vestibule_pass_x=y", "a=\"1; 2\";b=;  c=="),
            ("__Host-vestibule_pass_e1=x; __Host-a=1; __Host-vestibule_ticket_e1=y", "__Host-a=1"),
            ("my_vestibule_pass_e1=x", "my_vestibule_pass_e1=x"),
            ("vestibule=1; Vestibule_pass_e1=1", "vestibule=1; Vestibule_pass_e1=1"),
            ("a=1;vestibule_pass_e1=x;", "a=1;"),
        ] {
            assert_eq!(kept(came), stays, "{came}");
        }
    }

    #[test]
    fn names_that_imitate_ours_are_known_with_underscores_too() {
        for name in [
            "vestibule-pass",
            "vestibule_pass",
            "vestibule-visitor",
            "vestibule-anything",
            "queue-pass",
            "queue_ticket",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-port",
            "x-real-ip",
            "x-request-id",
            "forwarded",
        ] {
            assert!(imitates(name.as_bytes()) && imitates(name.to_uppercase().as_bytes()), "{name}");
        }
        for name in ["vestibules", "queue-passes", "x-forward", "x-api-key", "forwarded-by", "accept", "via"]
        {
            assert!(!imitates(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_bearer_of_the_site_is_not_ours() {
        for value in
            ["Bearer abc", "Basic dmVzdGlidWxl", "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AA"]
        {
            assert_eq!(bearer(value.as_bytes()), None, "{value}");
        }
        // {"typ":"vestibule-pass+jwt","alg":"HS256"}
        let ours = "bearer eyJ0eXAiOiJ2ZXN0aWJ1bGUtcGFzcytqd3QiLCJhbGciOiJIUzI1NiJ9.e30.AA";
        assert_eq!(bearer(ours.as_bytes()), Some(Kind::Pass));
    }
}
