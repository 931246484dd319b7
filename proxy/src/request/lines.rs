//! The fields of an answer, as they are written.

use std::fmt;

use http::{HeaderName, HeaderValue};

/// The longest status line there is, and some.
const FRONT: usize = 48;

/// Whole lines, each with its end. What is the same for many is copied in one piece, without a look at its parts. There
/// is room in front for a status line, and the rest of an answer goes behind: what was just written in small pieces is
/// slow to copy, because the processor waits for each of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Lines(Vec<u8>);

impl Default for Lines {
    fn default() -> Self {
        Self::with_capacity(256)
    }
}

impl Lines {
    pub fn with_capacity(bytes: usize) -> Self {
        let mut lines = Vec::with_capacity(FRONT + bytes);
        lines.extend_from_slice(&[0; FRONT]);
        Self(lines)
    }

    /// The same, with room for so many bytes more.
    #[must_use]
    pub fn with_room(&self, bytes: usize) -> Self {
        let mut lines = Vec::with_capacity(self.0.len() + bytes);
        lines.extend_from_slice(&self.0);
        Self(lines)
    }

    /// With a line before all others, in pieces. The message begins where the second value says.
    pub(crate) fn behind(mut self, first: &[&[u8]]) -> (Vec<u8>, usize) {
        let length: usize = first.iter().map(|piece| piece.len()).sum();
        let Some(from) = FRONT.checked_sub(length) else {
            return ([&first.concat(), self.as_bytes()].concat(), 0);
        };
        let mut at = from;
        for piece in first {
            if let Some(place) = self.0.get_mut(at..at + piece.len()) {
                place.copy_from_slice(piece);
            }
            at += piece.len();
        }
        (self.0, from)
    }

    pub fn add(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        self.add_parts(name, &[value.as_ref()]);
    }

    /// A value in pieces. One that would end its line is left out, with its name: nobody is told more than one answer.
    pub fn add_parts(&mut self, name: &HeaderName, value: &[&[u8]]) {
        if value.iter().any(|part| ends_a_line(part)) {
            return;
        }
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        for part in value {
            self.0.extend_from_slice(part);
        }
        self.0.extend_from_slice(b"\r\n");
    }

    /// Takes off what is there of `name`, and adds this.
    pub fn replace(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        let mut lines = Self::with_capacity(self.0.len());
        for line in self.whole().filter(|line| name_of(line) != name.as_str().as_bytes()) {
            lines.0.extend_from_slice(line);
        }
        lines.add(name, value);
        *self = lines;
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.whole().map(|line| {
            let name = name_of(line);
            (name, line.get(name.len() + 1..).unwrap_or_default().trim_ascii())
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.get(FRONT..).unwrap_or_default()
    }

    fn whole(&self) -> impl Iterator<Item = &[u8]> {
        self.as_bytes().split_inclusive(|byte| *byte == b'\n')
    }
}

/// Looks at all of it without a branch a byte, which takes less than to set off a search for values as short as these.
fn ends_a_line(value: &[u8]) -> bool {
    value.iter().fold(false, |found, byte| found | matches!(byte, b'\r' | b'\n' | 0))
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

impl<const N: usize> From<[(HeaderName, HeaderValue); N]> for Lines {
    fn from(fields: [(HeaderName, HeaderValue); N]) -> Self {
        let mut lines = Self::default();
        for (name, value) in &fields {
            lines.add(name, value);
        }
        lines
    }
}

/// Names only: cookies are among the values.
impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn fields_are_written_and_read_again() {
        let mut lines = Lines::from([(header::RETRY_AFTER, HeaderValue::from_static("5"))]);
        lines.add_parts(&header::SET_COOKIE, &[b"a=", b"1: 2"]);
        assert_eq!(lines.as_bytes(), b"retry-after: 5\r\nset-cookie: a=1: 2\r\n");
        let read: Vec<_> = lines.iter().collect();
        assert_eq!(read, [(&b"retry-after"[..], &b"5"[..]), (b"set-cookie", b"a=1: 2")]);
        assert_eq!(format!("{lines:?}"), r#"["retry-after", "set-cookie"]"#);
    }

    #[test]
    fn a_field_is_replaced_wherever_it_stands() {
        let mut lines = Lines::default();
        for value in ["a", "b"] {
            lines.add(&header::CACHE_CONTROL, value);
            lines.add(&header::VARY, value);
        }
        lines.replace(&header::CACHE_CONTROL, "c");
        assert_eq!(lines.as_bytes(), b"vary: a\r\nvary: b\r\ncache-control: c\r\n");
    }

    #[test]
    fn a_line_goes_before_all_others_however_long_it_is() {
        let lines = Lines::from([(header::RETRY_AFTER, HeaderValue::from_static("5"))]);
        for length in [1, FRONT - 1, FRONT, FRONT + 1] {
            let first = [&vec![b'x'; length - 1][..], b"!"];
            let (bytes, from) = lines.clone().behind(&first);
            let expected = [&first.concat(), lines.as_bytes()].concat();
            assert_eq!(bytes.get(from..), Some(&expected[..]), "{length}");
        }
    }

    #[test]
    fn a_value_that_would_end_its_line_is_left_out() {
        let mut lines = Lines::default();
        for bad in ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b"] {
            lines.add(&header::VARY, bad);
        }
        assert_eq!(lines, Lines::default());
    }
}
