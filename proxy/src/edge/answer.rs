//! Answers that the edge gives itself, written as raw bytes in one go.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Buf;
use http::{Method, StatusCode};
use pingora::protocols::Stream;
use pingora::protocols::http::date::get_cached_date;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::within::within;
use crate::request::Answer;

/// Most heads are shorter.
const HEAD_BYTES: usize = 1024;
/// How much a client may still send to a connection that is being closed.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Writes `answer` to a request with `method`. A client that does not read it within `patience` loses the connection.
pub(super) async fn write(
    stream: &mut Stream,
    answer: &Answer,
    method: &Method,
    keep_alive: bool,
    patience: Duration,
) -> io::Result<()> {
    let (head, body) = (head(answer, keep_alive)?, body(answer, method));
    let written = async {
        stream.write_all_buf(&mut Buf::chain(&head[..], body)).await?;
        stream.flush().await
    };
    within(patience, written).await?
}

/// The bytes of an answer after which the connection is closed.
pub(super) fn last_words(answer: &Answer) -> Vec<u8> {
    // Writing to memory does not fail.
    let mut bytes = head(answer, false).unwrap_or_default();
    bytes.extend_from_slice(body(answer, &Method::GET));
    bytes
}

fn body<'a>(answer: &'a Answer, method: &Method) -> &'a [u8] {
    if method != Method::HEAD && has_length(answer.status) { &answer.body } else { &[] }
}

fn head(answer: &Answer, keep_alive: bool) -> io::Result<Vec<u8>> {
    let Answer { status, headers, body } = answer;
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    write!(
        bytes,
        "HTTP/1.1 {} {}\r\nDate: ",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    )?;
    bytes.extend_from_slice(get_cached_date().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if has_length(*status) {
        write!(bytes, "Content-Length: {}\r\n", body.len())?;
    }
    bytes.extend_from_slice(if keep_alive {
        b"Connection: keep-alive\r\n"
    } else {
        b"Connection: close\r\n"
    });
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

fn has_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// Closes a connection on which the client may still be sending. Closing at once would make the kernel reset it,
/// and the reset could overtake the answer.
pub(super) async fn close(mut stream: Stream) {
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
    use bytes::Bytes;
    use http::{HeaderValue, header};

    use super::*;

    fn text(status: StatusCode, method: &Method, keep_alive: bool) -> String {
        let headers = vec![(header::RETRY_AFTER, HeaderValue::from_static("5"))];
        let answer = Answer { status, headers, body: Bytes::from_static(b"wait") };
        let whole = [&head(&answer, keep_alive).unwrap()[..], body(&answer, method)].concat();
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn an_answer_is_a_whole_http_message() {
        let text = text(StatusCode::SERVICE_UNAVAILABLE, &Method::GET, true);
        let date = text.lines().nth(1).unwrap();
        assert!(date.starts_with("Date: ") && date.ends_with(" GMT"), "{date}");
        let rest: Vec<_> = text.split("\r\n").filter(|line| !line.starts_with("Date")).collect();
        let expected = [
            "HTTP/1.1 503 Service Unavailable",
            "Content-Length: 4",
            "Connection: keep-alive",
            "retry-after: 5",
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
