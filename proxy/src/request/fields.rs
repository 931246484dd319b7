//! The fields of a head, told apart once while they are read: to look one up later is no search, and to keep them costs
//! one allocation, not one and a check of each byte for every field, as in a map.

use std::fmt;

use bytes::Bytes;

macro_rules! known {
    ($($length:literal: $($name:ident $text:literal),+;)+) => {
        /// A field that the edge looks at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Known {
            $($($name,)+)+
        }

        impl Known {
            const ALL: &[(Self, &[u8])] = &[$($((Self::$name, $text),)+)+];

            /// By its length first, which leaves three names at most.
            fn of(name: &[u8]) -> Option<Self> {
                match name.len() {
                    $($length => {
                        $(if name.eq_ignore_ascii_case($text) {
                            return Some(Self::$name);
                        })+
                        None
                    })+
                    _ => None,
                }
            }
        }
    };
}

known! {
    4: Host b"host";
    6: Accept b"accept", Cookie b"cookie", Expect b"expect", Origin b"origin";
    7: Purpose b"purpose", Upgrade b"upgrade";
    10: Connection b"connection", QueuePass b"queue-pass";
    11: SecPurpose b"sec-purpose", Traceparent b"traceparent";
    12: QueueTicket b"queue-ticket";
    13: Authorization b"authorization";
    14: ContentLength b"content-length", SecFetchDest b"sec-fetch-dest", SecFetchMode b"sec-fetch-mode";
    15: AcceptEncoding b"accept-encoding", XForwardedFor b"x-forwarded-for";
    17: SecWebsocketKey b"sec-websocket-key", TransferEncoding b"transfer-encoding", XForwardedProto b"x-forwarded-proto";
    21: SecWebsocketVersion b"sec-websocket-version";
    22: SecWebsocketProtocol b"sec-websocket-protocol";
}

/// The fields of one head, in the order they came. Values are bytes: without blanks around and, as the parser has
/// seen to, without control characters other than tabs.
#[derive(Clone, Default)]
pub struct Fields {
    head: Bytes,
    lines: Vec<Line>,
    /// The number of the first line of each known field, from 1; 0 where there is none.
    first: [u8; Known::ALL.len()],
}

/// Where a field lies in the head.
#[derive(Clone, Copy)]
struct Line {
    known: Option<Known>,
    name: Span,
    value: Span,
}

/// A head is no longer than 32 KiB.
#[derive(Clone, Copy)]
struct Span {
    from: u16,
    length: u16,
}

/// More fields than can be numbered, or such that are no part of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOfThisHead;

impl Fields {
    /// `found` are parts of `head`.
    pub(crate) fn of(head: Bytes, found: &[httparse::Header<'_>]) -> Result<Self, NotOfThisHead> {
        let mut fields = Self { head, lines: Vec::with_capacity(found.len()), first: [0; Known::ALL.len()] };
        for field in found {
            let name = field.name.as_bytes();
            let (name, value, known) = (fields.span(name)?, fields.span(field.value)?, Known::of(name));
            fields.lines.push(Line { known, name, value });
            let number = u8::try_from(fields.lines.len()).map_err(|_| NotOfThisHead)?;
            if let Some(first) = known.and_then(|known| fields.first.get_mut(known as usize))
                && *first == 0
            {
                *first = number;
            }
        }
        Ok(fields)
    }

    fn span(&self, part: &[u8]) -> Result<Span, NotOfThisHead> {
        if part.is_empty() {
            return Ok(Span { from: 0, length: 0 });
        }
        let from = part.as_ptr().addr().checked_sub(self.head.as_ptr().addr()).ok_or(NotOfThisHead)?;
        let short = |number: usize| u16::try_from(number).map_err(|_| NotOfThisHead);
        if from + part.len() > self.head.len() {
            return Err(NotOfThisHead);
        }
        Ok(Span { from: short(from)?, length: short(part.len())? })
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The value of the first line.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.all(known).next()
    }

    /// The values of all lines.
    pub fn all(&self, known: Known) -> impl DoubleEndedIterator<Item = &[u8]> {
        let number = self.first.get(known as usize).copied().unwrap_or_default();
        let from = if number == 0 { self.lines.len() } else { usize::from(number) - 1 };
        let lines = self.lines.get(from..).unwrap_or_default().iter();
        lines.filter(move |line| line.known == Some(known)).map(|line| self.part(line.value))
    }

    /// The value, if there is exactly one line.
    pub fn only(&self, known: Known) -> Option<&[u8]> {
        let mut lines = self.all(known);
        lines.next().filter(|_| lines.next().is_none())
    }

    /// The value of the first line, if it is plain text.
    pub fn text(&self, known: Known) -> Option<&str> {
        self.get(known).and_then(plain_text)
    }

    /// The values of all lines that are plain text.
    pub fn texts(&self, known: Known) -> impl DoubleEndedIterator<Item = &str> {
        self.all(known).filter_map(plain_text)
    }

    /// Names and values of all fields.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.part(line.name), self.part(line.value)))
    }

    fn part(&self, Span { from, length }: Span) -> &[u8] {
        self.head.get(usize::from(from)..usize::from(from) + usize::from(length)).unwrap_or_default()
    }
}

/// Names only: values are cookies and tokens too.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_list().entries(names).finish()
    }
}

/// A value of visible ASCII characters, blanks and tabs.
pub fn plain_text(value: &[u8]) -> Option<&str> {
    // Without a branch a byte.
    let plain = value.iter().fold(true, |plain, byte| plain & matches!(byte, b'\t' | b' '..=b'~'));
    plain.then(|| std::str::from_utf8(value).ok()).flatten()
}

#[cfg(test)]
impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Fields {
    /// As if a client had sent these.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let mut head = String::from("GET / HTTP/1.1\r\n");
        for (name, value) in lines {
            head.extend([name.as_ref(), ": ", value.as_ref(), "\r\n"]);
        }
        head.push_str("\r\n");
        let head = Bytes::from(head);
        let mut found = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut found);
        request.parse(&head).unwrap();
        Self::of(head.clone(), request.headers).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_field_is_found_however_it_is_spelled() {
        for (known, name) in Known::ALL {
            let lower = String::from_utf8(name.to_vec()).unwrap();
            assert_eq!(lower, lower.to_ascii_lowercase());
            for spelled in [lower.clone(), lower.to_ascii_uppercase()] {
                let fields: Fields = [("x", "0"), (&spelled, "1")].into_iter().collect();
                assert_eq!(fields.get(*known), Some(&b"1"[..]), "{spelled}");
            }
            let longer: Fields = [(format!("{lower}s"), "1")].into_iter().collect();
            assert_eq!(longer.get(*known), None, "{lower}");
        }
    }

    #[test]
    fn lines_of_one_name_keep_their_order() {
        let lines = [("cookie", "a=1"), ("x", "2"), ("Cookie", ""), ("COOKIE", "b=3")];
        let fields: Fields = lines.into_iter().collect();
        assert_eq!(fields.all(Known::Cookie).collect::<Vec<_>>(), [&b"a=1"[..], b"", b"b=3"]);
        assert_eq!(fields.all(Known::Cookie).next_back(), Some(&b"b=3"[..]));
        assert_eq!((fields.only(Known::Cookie), fields.len()), (None, 4));
        assert_eq!(fields.iter().map(|(name, _)| name.len()).sum::<usize>(), 19);
        assert!(fields.all(Known::Host).next().is_none());
    }

    #[test]
    fn what_is_no_plain_text_is_no_text() {
        let fields: Fields = [("accept", "caf\u{e9}"), ("accept", "a\tb")].into_iter().collect();
        assert_eq!((fields.text(Known::Accept), fields.get(Known::Accept).map(<[u8]>::len)), (None, Some(5)));
        assert_eq!(fields.texts(Known::Accept).collect::<Vec<_>>(), ["a\tb"]);
    }

    #[test]
    fn fields_of_another_head_are_refused() {
        let other = [httparse::Header { name: "a", value: b"b" }];
        assert_eq!(Fields::of(Bytes::from_static(b"GET"), &other).map(|_| ()), Err(NotOfThisHead));
    }

    #[test]
    fn values_are_not_shown() {
        let fields: Fields = [("cookie", "secret")].into_iter().collect();
        assert_eq!(format!("{fields:?}"), r#"["cookie"]"#);
    }
}
