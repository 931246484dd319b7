//! Answers that the edge gives itself, written as raw bytes in one go.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, StatusCode};
use pingora::protocols::Stream;
use pingora::protocols::http::date::get_cached_date;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::within::within;
use crate::request::{Answer, Digits};

/// Up to here a body is copied behind its head, which is cheaper than to have the kernel gather both.
const SMALL_BODY_BYTES: usize = 4 * 1024;
/// How much a client may still send to a connection that is being closed.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Writes `answer` to a request with `method`. A client that does not read it within `patience` loses the connection.
pub(super) async fn write(
    stream: &mut Stream,
    answer: Answer,
    method: &Method,
    keep_alive: bool,
    patience: Duration,
) -> io::Result<()> {
    let message = Message::of(answer, method, keep_alive);
    let written = async {
        match &message.body[..] {
            [] => stream.write_all(message.head()).await?,
            body => stream.write_all_buf(&mut Buf::chain(message.head(), body)).await?,
        }
        stream.flush().await
    };
    within(patience, written).await?
}

/// The bytes of an answer after which the connection is closed.
pub(super) fn last_words(answer: Answer) -> Vec<u8> {
    let message = Message::of(answer, &Method::GET, false);
    [message.head(), &message.body].concat()
}

/// An answer as it is sent.
struct Message {
    bytes: Vec<u8>,
    /// Where it begins in `bytes`.
    from: usize,
    /// A body that is too large to be copied behind its head.
    body: Bytes,
}

impl Message {
    /// What the edge has to say itself stands behind the fields of the answer, so that those stay where they are.
    fn of(Answer { status, headers, body }: Answer, method: &Method, keep_alive: bool) -> Self {
        let reason = status.canonical_reason().unwrap_or_default().as_bytes();
        let (mut bytes, from) =
            headers.behind(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"]);
        let mut put = |part: &[u8]| bytes.extend_from_slice(part);
        put(b"Date: ");
        put(get_cached_date().as_bytes());
        if has_length(status) {
            put(b"\r\nContent-Length: ");
            put(Digits::of(body.len() as u64).as_bytes());
        }
        put(if keep_alive {
            b"\r\nConnection: keep-alive\r\n\r\n"
        } else {
            b"\r\nConnection: close\r\n\r\n"
        });
        let body = if method != Method::HEAD && has_length(status) { body } else { Bytes::new() };
        if body.len() > SMALL_BODY_BYTES {
            return Self { bytes, from, body };
        }
        bytes.extend_from_slice(&body);
        Self { bytes, from, body: Bytes::new() }
    }

    /// With the body, if that is small.
    fn head(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

fn has_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// Closes a connection on which the client may still be sending. Closing at once would make the kernel reset it,
/// and the reset could overtake the answer.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drained = async {
        stream.shutdown().await?;
        // Not in the future, which is a part of that of every connection.
        let mut scrap = vec![0; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Whatever ends it, the connection is dropped.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;
    use crate::request::Lines;

    fn text(status: StatusCode, method: &Method, keep_alive: bool) -> String {
        let headers = Lines::from([(header::RETRY_AFTER, HeaderValue::from_static("5"))]);
        let answer = Answer { status, headers, body: Bytes::from_static(b"wait") };
        let message = Message::of(answer, method, keep_alive);
        String::from_utf8([message.head(), &message.body].concat()).unwrap()
    }

    #[test]
    fn an_answer_is_a_whole_http_message() {
        let text = text(StatusCode::SERVICE_UNAVAILABLE, &Method::GET, true);
        let date = text.lines().nth(2).unwrap();
        assert!(date.starts_with("Date: ") && date.ends_with(" GMT"), "{date}");
        let rest: Vec<_> = text.split("\r\n").filter(|line| !line.starts_with("Date")).collect();
        let expected = [
            "HTTP/1.1 503 Service Unavailable",
            "retry-after: 5",
            "Content-Length: 4",
            "Connection: keep-alive",
            "",
            "wait",
        ];
        assert_eq!(rest, expected);
    }

    #[test]
    fn an_answer_to_head_says_the_length_of_what_it_leaves_out() {
        let text = text(StatusCode::OK, &Method::HEAD, false);
        assert!(
            text.contains("Content-Length: 4\r\nConnection: close\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn an_answer_without_content_has_no_length() {
        let text = text(StatusCode::NO_CONTENT, &Method::DELETE, true);
        assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
