//! W3C trace context (`traceparent`): continued where a valid one came, begun otherwise.

use http::HeaderMap;

use crate::random;

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// For the origin, when the edge began the trace; a valid one that came is passed on as it is.
    pub(crate) begun: Option<String>,
}

impl Trace {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all("traceparent").iter();
        match (lines.next().and_then(|line| trace_id(line.as_bytes())), lines.next()) {
            (Some(id), None) => Self { id, begun: None },
            _ => Self::begin(),
        }
    }

    fn begin() -> Self {
        let mut begun = String::with_capacity(55);
        begun.push_str("00-");
        // All zeros would be invalid.
        push_hex(&mut begun, random::serial());
        push_hex(&mut begun, random::serial() | 1);
        let id = begun.get(3..).unwrap_or_default().to_owned();
        begun.push('-');
        push_hex(&mut begun, random::serial() | 1);
        begun.push_str("-01");
        Self { id, begun: Some(begun) }
    }
}

fn push_hex(text: &mut String, number: u64) {
    let digits = (0..16).rev().map(|at| (number >> (4 * at)) as u8 & 15);
    text.extend(digits.map(|half| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 })));
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may append fields.
fn trace_id(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split('-');
    let (version, id, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let known = hex(version, 2) && version != "ff" && (version != "00" || fields.next().is_none());
    let valid = hex(id, 32) && hex(span, 16) && hex(flags, 2) && nonzero(id) && nonzero(span);
    (known && valid).then(|| id.to_owned())
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn nonzero(text: &str) -> bool {
    text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(lines: &[&str]) -> Trace {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("traceparent", line.parse().unwrap());
        }
        Trace::of(&headers)
    }

    #[test]
    fn a_valid_trace_is_continued() {
        assert_eq!(of(&[&format!("00-{ID}-00f067aa0ba902b7-01")]), Trace { id: ID.into(), begun: None });
        assert_eq!(of(&[&format!("cc-{ID}-00f067aa0ba902b7-01-later")]).id, ID);
    }

    #[test]
    fn anything_else_begins_a_new_one() {
        let zero = "0".repeat(32);
        for line in [
            "",
            "00",
            &format!("00-{ID}-00f067aa0ba902b7"),
            &format!("ff-{ID}-00f067aa0ba902b7-01"),
            &format!("00-{zero}-00f067aa0ba902b7-01"),
            &format!("00-{ID}-0000000000000000-01"),
            &format!("00-{ID}-00f067aa0ba902b7-01-x"),
            &format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
        ] {
            let trace = of(&[line]);
            assert_ne!(trace.id, ID, "{line}");
            let begun = trace.begun.unwrap();
            assert_eq!(trace_id(begun.as_bytes()), Some(trace.id), "{line}");
        }
        let twice = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_ne!(of(&[&twice, &twice]).id, ID);
    }
}
