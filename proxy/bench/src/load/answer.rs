//! Just enough of HTTP to know where an answer ends.

/// Of a whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Head and body.
    pub(super) bytes: usize,
    pub(super) closing: bool,
}

/// `None` until the last byte is there. Answers have a length: chunks are not read.
pub(super) fn whole(bytes: &[u8]) -> Option<Answer> {
    let head = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let mut answer = Answer { bytes: head, closing: false };
    for line in bytes.get(..head)?.split(|byte| *byte == b'\n').skip(1) {
        if let Some(value) = field(line, b"content-length:") {
            answer.bytes = head + value.parse::<usize>().ok()?;
        } else if let Some(value) = field(line, b"connection:") {
            answer.closing = value.eq_ignore_ascii_case("close");
        }
    }
    (bytes.len() >= answer.bytes).then_some(answer)
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| std::str::from_utf8(value).ok().map(str::trim))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\nConnection: close\r\n\r\nabc";
        assert_eq!(whole(&text[..text.len() - 1]), None);
        assert_eq!(whole(text), Some(Answer { bytes: text.len(), closing: true }));
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let text = b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n";
        assert_eq!(whole(text), Some(Answer { bytes: text.len(), closing: false }));
    }
}
