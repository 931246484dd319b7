//! Where the body of one request ends in the stream of bytes behind its head.

use super::fields::Framing;

/// The longest line inside a chunked body (size with extensions, or a trailer).
const MAX_LINE_BYTES: u16 = 4096;

/// What is left of a body. It is counted beside Pingora's own reading: should the two ever disagree, the connection
/// ends instead of letting one request run into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked(Chunk),
    Done,
}

/// Where in a chunked body (RFC 9112 §7.1) the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the hexadecimal digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the digits: extensions.
    Extension {
        size: u64,
        line: u16,
    },
    /// At the line feed of the size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Behind the data: 2, then 1 byte of CR LF.
    DataEnd {
        left: u8,
    },
    /// In the trailers; `line` bytes of this line so far.
    Trailer {
        line: u16,
    },
    /// At the line feed of a trailer line.
    TrailerEnd {
        last: bool,
    },
}

/// The body is not chunked as RFC 9112 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(super) struct BadChunk;

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::START),
        }
    }

    /// How many of `bytes` belong to this body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        match *self {
            Self::Done => Ok(0),
            Self::Length(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - taken as u64;
                *self = if left == 0 { Self::Done } else { Self::Length(left) };
                Ok(taken)
            }
            Self::Chunked(chunk) => self.take_chunked(chunk, bytes),
        }
    }

    fn take_chunked(&mut self, mut chunk: Chunk, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Chunk::Data { left } = chunk {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                let left = left - here as u64;
                chunk = if left == 0 { Chunk::DataEnd { left: 2 } } else { Chunk::Data { left } };
                continue;
            }
            at += 1;
            let Some(next) = chunk.step(byte)? else {
                *self = Self::Done;
                return Ok(at);
            };
            chunk = next;
        }
        *self = Self::Chunked(chunk);
        Ok(at)
    }
}

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0 };

    /// The place behind `byte`; `None`: the body is complete.
    fn step(self, byte: u8) -> Result<Option<Self>, BadChunk> {
        let next = match (self, byte) {
            (Self::Size { size, digits }, byte) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(BadChunk),
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Size { size, .. }, b';') => Self::Extension { size, line: 1 },
            (Self::Extension { size, line }, byte) if fits(byte, line) => {
                Self::Extension { size, line: line + 1 }
            }
            (Self::SizeEnd { size: 0 } | Self::TrailerEnd { last: false }, b'\n') => {
                Self::Trailer { line: 0 }
            }
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataEnd { left: 2 }, b'\r') => Self::DataEnd { left: 1 },
            (Self::DataEnd { left: 1 }, b'\n') => Self::START,
            (Self::Trailer { line }, b'\r') => Self::TrailerEnd { last: line == 0 },
            (Self::Trailer { line }, byte) if fits(byte, line) => Self::Trailer { line: line + 1 },
            (Self::TrailerEnd { last: true }, b'\n') => return Ok(None),
            _ => return Err(BadChunk),
        };
        Ok(Some(next))
    }
}

const fn fits(byte: u8, line: u16) -> bool {
    byte != b'\n' && byte != 0 && line < MAX_LINE_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(framing: Framing, bytes: &[u8], step: usize) -> Result<Option<usize>, BadChunk> {
        let mut body = Body::new(framing);
        let mut at = 0;
        for piece in bytes.chunks(step) {
            let taken = body.take(piece)?;
            at += taken;
            if body == Body::Done {
                return Ok(Some(at));
            }
            assert_eq!(taken, piece.len());
        }
        Ok(None)
    }

    #[test]
    fn a_counted_body_ends_where_it_says() {
        for step in 1..8 {
            assert_eq!(end(Framing::Length(3), b"abcGET /", step), Ok(Some(3)));
            assert_eq!(end(Framing::Length(9), b"abc", step), Ok(None));
        }
        assert_eq!(Body::new(Framing::Length(0)), Body::Done);
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for (text, rest) in [
            ("0\r\n\r\n", "GET /"),
            ("3\r\nabc\r\n0\r\n\r\n", "GET /"),
            ("a;name=\"v\"\r\n0123456789\r\n00\r\nX: 1\r\nY: 2\r\n\r\n", "0\r\n\r\n"),
        ] {
            for step in 1..40 {
                let whole = format!("{text}{rest}");
                assert_eq!(
                    end(Framing::Chunked, whole.as_bytes(), step),
                    Ok(Some(text.len())),
                    "{text:?} by {step}"
                );
            }
        }
    }

    #[test]
    fn loose_chunking_is_refused() {
        for text in [
            "\r\n",
            "x\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3\nabc\r\n",
            "3 \r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "fffffffffffffffff\r\n",
            "3;a\nb\r\nabc",
            "0\r\nX: 1\n\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(end(Framing::Chunked, text.as_bytes(), 64), Err(BadChunk), "{text:?}");
        }
        let long = format!("3;{}\r\n", "a".repeat(5000));
        assert_eq!(end(Framing::Chunked, long.as_bytes(), 64), Err(BadChunk));
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_changes_nothing(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..5), step in 1_usize..50,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                text.extend(chunk);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            let length = text.len();
            text.extend(b"GET / HTTP/1.1\r\n");
            prop_assert_eq!(end(Framing::Chunked, &text, step), Ok(Some(length)));
        }
    }
}
