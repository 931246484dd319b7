//! W3C trace context (`traceparent`): continued where a valid one came, begun otherwise. If a collector is named, what
//! is kept is told to it: one span for the request, one for the call of the origin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use traces::{Context, Kind, Span};

use crate::metrics::Verdict;
use crate::random;
use crate::request::Forward;

/// The trace that a request belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// Whether the edge began it: what came of another one does not go on.
    pub(crate) is_new: bool,
    /// For the origin, in place of what came. `None`: a valid one came, and nobody tells a collector of this.
    pub(crate) sent: Option<String>,
    /// What is told, if this is kept.
    told: Option<Arc<Mutex<Told>>>,
}

/// Ends with the request: the call first.
#[derive(Debug)]
struct Told {
    call: Span,
    request: Span,
}

impl Trace {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all("traceparent").iter();
        match (lines.next().and_then(|line| Context::parse(line.as_bytes())), lines.next()) {
            (Some(came), None) => Self { id: came.trace_id(), is_new: false, sent: None, told: None },
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
        Self { id, is_new: true, sent: Some(begun), told: None }
    }

    /// The same for a request that goes to an origin, `took` after its head was whole. Whether it is kept is decided
    /// here: outside anybody could ask for it.
    pub(crate) fn onward(
        &self,
        headers: &HeaderMap,
        method: &Method,
        forward: &Forward,
        took: Duration,
    ) -> Self {
        if !traces::export::is_on() {
            return self.clone();
        }
        let Some(came) = self.context(headers) else { return self.clone() };
        let here = came.with_kept(traces::export::sampling_in_force().keeps(method, came.trace()));
        if !here.is_kept() {
            return Self { sent: Some(here.traceparent()), ..self.clone() };
        }
        let mut request = self.span(here, method).begun(took);
        if let Some(room) = &forward.room {
            request.set("vestibule.room", room.to_string());
        }
        if let Some(waited) = forward.waited {
            request.event(
                "queue.entered",
                "waited_ms",
                i64::try_from(waited.as_millis()).unwrap_or(i64::MAX),
            );
        }
        let mut call = Span::part_of(request.context(), Kind::Client, method.to_string());
        call.set("http.request.method", method.to_string());
        let sent = Some(call.context().traceparent());
        Self { sent, told: Some(Arc::new(Mutex::new(Told { call, request }))), ..self.clone() }
    }

    /// The origin's answer begins.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(told) = &self.told {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let Told { call, request } = &mut *told;
            for span in [call, request] {
                span.set("http.response.status_code", i64::from(status));
            }
        }
    }

    /// The request is over.
    pub(crate) fn ended(&self, verdict: Verdict) {
        if let Some(told) = &self.told {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.request.set("vestibule.verdict", verdict.as_str());
            if verdict == Verdict::Error {
                told.call.fail("no whole answer of the origin");
                told.request.fail("not forwarded");
            }
        }
    }

    /// A request that the edge answered by itself, within `took`. Of these a share is kept, whatever they ask for:
    /// whoever floods the edge does not flood the collector.
    pub(crate) fn answered_here(
        &self,
        headers: &HeaderMap,
        method: &Method,
        (verdict, status): (Verdict, StatusCode),
        took: Duration,
    ) {
        if !traces::export::is_on() {
            return;
        }
        let Some(came) = self.context(headers) else { return };
        let kept = traces::export::sampling_in_force().keeps(&Method::GET, came.trace());
        let mut span = self.span(came.with_kept(kept), method).begun(took);
        span.set("vestibule.verdict", verdict.as_str());
        span.set("http.response.status_code", i64::from(status.as_u16()));
    }

    fn context(&self, headers: &HeaderMap) -> Option<Context> {
        let came = || headers.get("traceparent").map(http::HeaderValue::as_bytes);
        self.sent.as_deref().map(str::as_bytes).or_else(came).and_then(Context::parse)
    }

    fn span(&self, context: Context, method: &Method) -> Span {
        let name = if context.is_kept() { method.to_string() } else { String::new() };
        let mut span = if self.is_new {
            Span::root(context, Kind::Server, name)
        } else {
            Span::continued(context, Kind::Server, name)
        };
        if span.is_told() {
            span.set("http.request.method", method.to_string());
        }
        span
    }
}

fn push_hex(text: &mut String, number: u64) {
    let digits = (0..16).rev().map(|at| (number >> (4 * at)) as u8 & 15);
    text.extend(digits.map(|half| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 })));
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
        let trace = of(&[&format!("00-{ID}-00f067aa0ba902b7-01")]);
        assert_eq!((trace.id.as_str(), trace.is_new, trace.sent), (ID, false, None));
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
            let begun = trace.sent.unwrap();
            assert_eq!(Context::parse(begun.as_bytes()).map(Context::trace_id), Some(trace.id), "{line}");
        }
        let twice = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_ne!(of(&[&twice, &twice]).id, ID);
    }
}
