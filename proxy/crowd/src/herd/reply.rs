//! Answers over HTTP/1.1, read where they lie.

use std::time::Duration;

use crate::jar::{Named, is_same};

/// One whole answer.
#[derive(Debug, PartialEq)]
pub struct Reply<'a> {
    pub status: u16,
    /// Whether the connection can be asked again.
    pub keeps_alive: bool,
    /// One second when the server does not say.
    pub retry_after: Duration,
    /// What it sets, if it does.
    pub ticket: Option<&'a str>,
    pub pass: Option<&'a str>,
    pub body: &'a [u8],
}

/// Bytes that are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("not an HTTP answer: {0}")]
    Malformed(#[from] httparse::Error),
    #[error("an answer of more than {MAX_BYTES} bytes")]
    TooLong,
}

const MAX_HEADERS: usize = 48;
/// Head and body: nothing of ours or of the shop's is that long.
const MAX_BYTES: usize = 1 << 20;
const SWITCHING_PROTOCOLS: u16 = 101;

impl<'a> Reply<'a> {
    /// The first answer and its length; `None` while it is not whole. A body whose length is not told ends with the
    /// connection, and is not waited for.
    pub fn first(bytes: &'a [u8], names: &Names) -> Result<Option<(Self, usize)>, ReplyError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = answer.parse(bytes)? else {
            return if bytes.len() > MAX_BYTES { Err(ReplyError::TooLong) } else { Ok(None) };
        };
        let mut reply = Self {
            status: answer.code.unwrap_or_default(),
            keeps_alive: true,
            retry_after: Duration::from_secs(1),
            ticket: None,
            pass: None,
            body: &[],
        };
        let has_body = !matches!(reply.status, SWITCHING_PROTOCOLS | 204 | 304);
        let mut length = (!has_body).then_some(0);
        for header in answer.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default();
            match header.name {
                name if name.eq_ignore_ascii_case("content-length") && has_body => {
                    length = value.parse().ok();
                }
                name if name.eq_ignore_ascii_case("connection") => {
                    reply.keeps_alive &= !value.eq_ignore_ascii_case("close");
                }
                name if name.eq_ignore_ascii_case("retry-after") => reply.retry_after = seconds(value),
                name if name.eq_ignore_ascii_case("set-cookie") => {
                    names.find(value).into_iter().for_each(|held| reply.set(held));
                }
                _ => {}
            }
        }
        reply.keeps_alive &= length.is_some();
        let length: usize = length.unwrap_or(0);
        if length > MAX_BYTES {
            return Err(ReplyError::TooLong);
        }
        let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
        reply.body = body;
        Ok(Some((reply, head + length)))
    }

    fn set(&mut self, cookie: Held<'a>) {
        match cookie {
            Held::Ticket(token) => self.ticket = Some(token),
            Held::Pass(token) => self.pass = Some(token),
        }
    }
}

fn seconds(value: &str) -> Duration {
    Duration::from_secs_f64(value.parse().unwrap_or(1.0_f64).clamp(0.05, 120.0))
}

/// What the two cookies of a room are called, with or without what marks those that came by TLS.
#[derive(Debug, Clone)]
pub struct Names {
    pub ticket: String,
    pub pass: String,
}

/// A cookie of ours.
#[derive(Clone, Copy)]
enum Held<'a> {
    Ticket(&'a str),
    Pass(&'a str),
}

impl Names {
    fn find<'a>(&self, line: &'a str) -> Option<Held<'a>> {
        let Named { name, value, gone } = Named::parse(line)?;
        match name {
            _ if gone => None,
            name if is_same(name, &self.ticket) => Some(Held::Ticket(value)),
            name if is_same(name, &self.pass) => Some(Held::Pass(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { ticket: "vestibule_ticket_e1".into(), pass: "vestibule_pass_e1".into() }
    }

    fn first(text: &str) -> Result<Option<(Reply<'_>, usize)>, ReplyError> {
        Reply::first(text.as_bytes(), &names())
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let text = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\
            set-cookie: vestibule_ticket_e1=t.t.t; Path=/\r\n\r\n{}HTTP/1.1 ";
        let (reply, used) = first(text).unwrap().unwrap();
        assert_eq!((reply.status, reply.ticket, reply.pass), (201, Some("t.t.t"), None));
        assert_eq!((reply.body, reply.keeps_alive, &text[used..]), (&b"{}"[..], true, "HTTP/1.1 "));
        for cut in [0, 5, 30, used - 1] {
            assert_eq!(first(&text[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn frames_may_lie_right_behind_a_handshake() {
        let text =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\u{1}";
        let (reply, used) = first(text).unwrap().unwrap();
        assert_eq!((reply.status, used), (101, text.len() - 1));
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_a_close_is_a_close() {
        let text = "HTTP/1.1 429 \r\nretry-after: 3\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (reply, _) = first(text).unwrap().unwrap();
        assert_eq!((reply.status, reply.retry_after.as_secs(), reply.keeps_alive), (429, 3, false));
    }

    #[test]
    fn a_body_of_unknown_length_is_not_waited_for() {
        let text =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nset-cookie: vestibule_pass_e1=p\r\n\r\n2\r\n";
        let (reply, _) = first(text).unwrap().unwrap();
        assert_eq!((reply.pass, reply.keeps_alive), (Some("p"), false));
    }

    #[test]
    fn what_is_no_answer_or_too_long_is_refused() {
        assert!(matches!(first("SSH-2.0\r\n"), Err(ReplyError::Malformed(_))));
        assert_eq!(first("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"), Err(ReplyError::TooLong));
    }
}
