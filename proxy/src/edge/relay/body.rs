//! The body of an answer: from the framing of the origin to the framing of the visitor.

use std::fmt::Write as _;

use bytes::{Buf as _, BytesMut};

/// The longest line inside a chunked body: a size with its extensions, or a trailer.
const MAX_LINE_BYTES: usize = 4096;
/// All trailers together.
const MAX_TRAILER_BYTES: usize = 32 * 1024;

/// What is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Done,
    Length(u64),
    /// Chunked, and chunked again for the visitor: its chunks are as well formed as ours are.
    Chunked(Chunked),
    /// Ends with the connection to the origin; chunked for the visitor, whose connection goes on.
    UntilClose,
}

/// Where in a chunked body (RFC 9112 §7.1) the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    Size,
    Data {
        left: u64,
    },
    DataEnd,
    /// So many bytes of trailers were dropped.
    Trailers {
        dropped: usize,
    },
}

/// The origin's body is not what its head said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadBody;

impl Body {
    /// Moves what has come `from` the origin, as far as it belongs to this body, behind what goes `to` the visitor.
    pub(super) fn take(&mut self, from: &mut BytesMut, to: &mut BytesMut) -> Result<(), BadBody> {
        match *self {
            Self::Done => Ok(()),
            Self::Length(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(from.len());
                shift(from, taken, to);
                let left = left - taken as u64;
                *self = if left == 0 { Self::Done } else { Self::Length(left) };
                Ok(())
            }
            Self::UntilClose => {
                put_chunk(from, from.len(), to);
                Ok(())
            }
            Self::Chunked(mut at) => {
                while let Some(next) = at.step(from, to)? {
                    at = next;
                    if at == Chunked::END {
                        *self = Self::Done;
                        return Ok(());
                    }
                }
                *self = Self::Chunked(at);
                Ok(())
            }
        }
    }

    /// The origin has ended the connection.
    pub(super) fn end(&mut self, to: &mut BytesMut) -> Result<(), BadBody> {
        if *self != Self::UntilClose {
            return Err(BadBody);
        }
        to.extend_from_slice(b"0\r\n\r\n");
        *self = Self::Done;
        Ok(())
    }
}

impl Chunked {
    /// The end of the whole body.
    const END: Self = Self::Trailers { dropped: usize::MAX };

    /// The place behind what was taken; `None` when more bytes are needed.
    fn step(self, from: &mut BytesMut, to: &mut BytesMut) -> Result<Option<Self>, BadBody> {
        match self {
            Self::Size => Ok(match line(from)? {
                None => None,
                Some(line) => Some(match size(&line)? {
                    0 => Self::Trailers { dropped: 0 },
                    left => Self::Data { left },
                }),
            }),
            Self::Data { .. } if from.is_empty() => Ok(None),
            Self::Data { left } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(from.len());
                put_chunk(from, taken, to);
                let left = left - taken as u64;
                Ok(Some(if left == 0 { Self::DataEnd } else { Self::Data { left } }))
            }
            Self::DataEnd => match from.get(..2) {
                None => Ok(None),
                Some(b"\r\n") => {
                    from.advance(2);
                    Ok(Some(Self::Size))
                }
                Some(_) => Err(BadBody),
            },
            Self::Trailers { dropped } => match line(from)? {
                None => Ok(None),
                Some(line) if line.is_empty() => {
                    to.extend_from_slice(b"0\r\n\r\n");
                    Ok(Some(Self::END))
                }
                Some(line) if dropped + line.len() <= MAX_TRAILER_BYTES => {
                    Ok(Some(Self::Trailers { dropped: dropped + line.len() }))
                }
                Some(_) => Err(BadBody),
            },
        }
    }
}

/// One whole line without its end, if it is there.
fn line(from: &mut BytesMut) -> Result<Option<BytesMut>, BadBody> {
    let Some(at) = memchr::memchr(b'\n', from) else {
        return if from.len() > MAX_LINE_BYTES { Err(BadBody) } else { Ok(None) };
    };
    let mut line = from.split_to(at + 1);
    line.truncate(at);
    if line.last() != Some(&b'\r') || line.len() > MAX_LINE_BYTES {
        return Err(BadBody);
    }
    line.truncate(at - 1);
    Ok(Some(line))
}

/// Old servers fill the size up with blanks; extensions are passed over.
fn size(line: &[u8]) -> Result<u64, BadBody> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    let rest = rest.trim_ascii_start();
    let size = std::str::from_utf8(size).ok().filter(|size| size.len() <= 15);
    let ends = rest.is_empty() || rest.starts_with(b";");
    size.filter(|_| ends).and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(BadBody)
}

fn put_chunk(from: &mut BytesMut, length: usize, to: &mut BytesMut) {
    if length > 0 {
        // Writing to memory does not fail.
        let _ = write!(to, "{length:x}\r\n");
        shift(from, length, to);
        to.extend_from_slice(b"\r\n");
    }
}

fn shift(from: &mut BytesMut, length: usize, to: &mut BytesMut) {
    if to.is_empty() && length == from.len() {
        std::mem::swap(from, to);
        return;
    }
    to.extend_from_slice(from.get(..length).unwrap_or_default());
    from.advance(length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: Body = Body::Chunked(Chunked::Size);

    /// What the visitor gets when the origin's bytes come in pieces of `step`, and what is left over.
    fn pass(mut body: Body, bytes: &[u8], step: usize) -> Result<(String, String), BadBody> {
        let (mut from, mut given) = (BytesMut::new(), BytesMut::new());
        for piece in bytes.chunks(step) {
            from.extend_from_slice(piece);
            let mut to = BytesMut::new();
            body.take(&mut from, &mut to)?;
            given.extend_from_slice(&to);
        }
        if body != Body::Done {
            body.end(&mut given)?;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&given), text(&from)))
    }

    fn unchunked(text: &str) -> String {
        let (mut rest, mut whole) = (text, String::new());
        while let Some((size, more)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            whole.push_str(&more[..size]);
            assert_eq!(&more[size..size + 2], "\r\n");
            rest = &more[size + 2..];
        }
        assert!(rest.is_empty(), "{text:?}");
        whole
    }

    #[test]
    fn a_counted_body_ends_where_it_says_and_not_before() {
        for step in 1..9 {
            assert_eq!(pass(Body::Length(3), b"abcmore", step).unwrap().0, "abc");
            assert_eq!(pass(Body::Length(9), b"abc", step), Err(BadBody));
        }
    }

    #[test]
    fn a_body_that_ends_with_the_connection_gets_an_end_of_its_own() {
        assert_eq!(pass(Body::UntilClose, b"abcdef", 4).unwrap().0, "4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n");
        assert_eq!(pass(Body::UntilClose, b"", 1).unwrap().0, "0\r\n\r\n");
    }

    #[test]
    fn chunks_are_written_anew_without_extensions_blanks_and_trailers() {
        for text in ["3\r\nabc\r\n0\r\n\r\n", "3  ;x=\"y\"\r\nabc\r\n000\r\nA: 1\r\nB: 2\r\n\r\n"] {
            for step in 1..text.len() {
                let (given, rest) = pass(CHUNKED, format!("{text}over").as_bytes(), step).unwrap();
                assert_eq!(unchunked(&given), "abc", "{text:?} by {step}");
                assert_eq!(rest, "over");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_not_passed_on() {
        let long = format!("1;{}\r\n", "x".repeat(5000));
        for text in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "3\nabc\n",
            "3x\r\nabc",
            "3\r\nabcd\r\n",
            "fffffffffffffffff\r\n",
            "3\r\nab",
            "3\r\nabc\r\n",
            "0\r\n",
            &long,
        ] {
            assert_eq!(pass(CHUNKED, text.as_bytes(), 7), Err(BadBody), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_changes_nothing(pieces in proptest::collection::vec("[a-z]{1,30}", 0..6), step in 1_usize..40) {
            let chunk = |piece: &String| format!("{:x}\r\n{piece}\r\n", piece.len());
            let mut text = pieces.iter().map(chunk).collect::<Vec<_>>().concat();
            text.push_str("0\r\n\r\n");
            let (given, rest) = pass(CHUNKED, text.as_bytes(), step).unwrap();
            prop_assert_eq!((unchunked(&given), rest), (pieces.concat(), String::new()));
        }
    }
}
