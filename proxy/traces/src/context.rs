//! The place of a request in its trace, as the header `traceparent` carries it (W3C Trace Context, level 1, §3.2).

use std::fmt;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// Which trace, which span of it, and whether the trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    trace: [u8; 16],
    span: [u8; 8],
    kept: bool,
}

impl Context {
    /// A new trace.
    pub fn begin(kept: bool) -> Self {
        let mut random = [0; 24];
        // Without randomness the ids say 1: valid, and of no use.
        let _ones_on_failure = getrandom::fill(&mut random);
        Self::from_random(random, kept)
    }

    /// The same from 24 random bytes, for those who have cheaper ones.
    pub fn from_random(random: [u8; 24], kept: bool) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        let (for_trace, for_span) = random.split_at(16);
        trace.copy_from_slice(for_trace);
        span.copy_from_slice(for_span);
        // All zeros would be invalid.
        trace[15] |= u8::from(trace == [0; 16]);
        span[7] |= u8::from(span == [0; 8]);
        Self { trace, span, kept }
    }

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`; later versions may append fields.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split('-');
        let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let [version] = hex::<1>(version)?;
        let ends = version != 0 || fields.next().is_none();
        let (trace, span, [flags]) = (hex(trace)?, hex(span)?, hex::<1>(flags)?);
        let valid = version != 0xff && ends && trace != [0; 16] && span != [0; 8];
        valid.then_some(Self { trace, span, kept: flags & 1 == 1 })
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { trace: self.trace, ..Self::begin(self.kept) }
    }

    /// The same place in a trace that is kept, or not.
    #[must_use]
    pub fn with_kept(self, kept: bool) -> Self {
        Self { kept, ..self }
    }

    pub fn is_kept(self) -> bool {
        self.kept
    }

    pub fn trace(self) -> [u8; 16] {
        self.trace
    }

    pub fn span(self) -> [u8; 8] {
        self.span
    }

    /// 32 lowercase hexadecimal digits.
    pub fn trace_id(self) -> String {
        let mut text = String::with_capacity(32);
        push_hex(&mut text, &self.trace);
        text
    }

    /// The value of the header: 55 characters.
    pub fn traceparent(self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        push_hex(&mut text, &self.trace);
        text.push('-');
        push_hex(&mut text, &self.span);
        text.push_str(if self.kept { "-01" } else { "-00" });
        text
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
}

/// Exactly N bytes, written in lowercase.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_header_is_read_and_written_again() {
        let line = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let context = Context::parse(line.as_bytes()).unwrap();
        assert!(context.is_kept());
        assert_eq!((context.trace_id().as_str(), context.traceparent()), (TRACE, line));
        let later = Context::parse(format!("cc-{TRACE}-00f067aa0ba902b7-02-more").as_bytes()).unwrap();
        assert!(!later.is_kept());
    }

    #[test]
    fn anything_else_is_none() {
        let zero = "0".repeat(32);
        for line in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}é-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(Context::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let parent = Context::begin(true);
        let child = parent.child();
        assert_eq!((child.trace(), child.is_kept()), (parent.trace(), true));
        assert_ne!(child.span(), parent.span());
    }

    #[test]
    fn ids_are_never_zero() {
        let context = Context::from_random([0; 24], false);
        assert!(Context::parse(context.traceparent().as_bytes()).is_some());
    }
}
