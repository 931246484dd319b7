//! W3C trace context (`traceparent`): continued where a valid one came, begun otherwise. If a collector is named, what
//! is kept is told to it: one span for the request, one for the call of the origin.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use traces::{Context, Kind, Span};

use crate::metrics::Verdict;
use crate::random;
use crate::request::Forward;

/// A W3C trace id: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The trace that a request belongs to. Every request has one, so it is kept in place, without strings.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    /// Whether the edge began it: what came of another one does not go on.
    pub(crate) is_new: bool,
    /// For the origin, in place of what came. `None`: a valid one came, and nobody tells a collector of this.
    pub(crate) sent: Option<Traceparent>,
    /// What is told, if this is kept.
    told: Option<Arc<Mutex<Told>>>,
}

/// The value of `traceparent`.
#[derive(Clone, Copy)]
pub(crate) struct Traceparent([u8; 55]);

impl Traceparent {
    fn of(context: Context) -> Self {
        let [high, low] = halves(context.trace());
        Self::written(high, low, u64::from_be_bytes(context.span()), context.is_kept())
    }

    fn written(high: u64, low: u64, span: u64, kept: bool) -> Self {
        let mut text = *b"00-________________________________-________________-00";
        let [_, _, _, trace @ .., _, _, _] = &mut text;
        let (numbers, span_at) = trace.split_at_mut(33);
        put_hex(numbers, high);
        put_hex(numbers.get_mut(16..).unwrap_or_default(), low);
        put_hex(span_at, span);
        if kept && let Some(flags) = text.last_mut() {
            *flags = b'1';
        }
        Self(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Ends with the request: the call first.
#[derive(Debug)]
struct Told {
    call: Span,
    request: Span,
}

impl Trace {
    /// `lines` are the values of `traceparent` as they came.
    pub(crate) fn of<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Self {
        match (lines.next().and_then(Context::parse), lines.next()) {
            (Some(came), None) => {
                let [high, low] = halves(came.trace());
                Self { id: trace_id(high, low), is_new: false, sent: None, told: None }
            }
            _ => Self::begin(),
        }
    }

    fn begin() -> Self {
        // All zeros would be invalid.
        let [high, low, span] = random::serials().map(|number| number | 1);
        let sent = Some(Traceparent::written(high, low, span, true));
        Self { id: trace_id(high, low), is_new: true, sent, told: None }
    }

    /// The same for a request that goes to an origin, `took` after its head was whole; `came` is its `traceparent`.
    /// Whether it is kept is decided here: outside anybody could ask for it.
    pub(crate) fn onward(
        self,
        came: Option<&[u8]>,
        method: &Method,
        forward: &Forward,
        took: Duration,
    ) -> Self {
        if !traces::export::is_on() {
            return self;
        }
        let Some(came) = self.context(came) else { return self };
        let here = came.with_kept(traces::export::sampling_in_force().keeps(method, came.trace()));
        if !here.is_kept() {
            return Self { sent: Some(Traceparent::of(here)), ..self };
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
        let sent = Some(Traceparent::of(call.context()));
        Self { sent, told: Some(Arc::new(Mutex::new(Told { call, request }))), ..self }
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
        came: Option<&[u8]>,
        method: &Method,
        (verdict, status): (Verdict, StatusCode),
        took: Duration,
    ) {
        if !traces::export::is_on() {
            return;
        }
        let Some(came) = self.context(came) else { return };
        let kept = traces::export::sampling_in_force().keeps(&Method::GET, came.trace());
        let mut span = self.span(came.with_kept(kept), method).begun(took);
        span.set("vestibule.verdict", verdict.as_str());
        span.set("http.response.status_code", i64::from(status.as_u16()));
    }

    fn context(&self, came: Option<&[u8]>) -> Option<Context> {
        self.sent.as_ref().map(Traceparent::as_bytes).or(came).and_then(Context::parse)
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

fn halves(trace: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_be_bytes(trace);
    [(whole >> 64) as u64, whole as u64]
}

fn trace_id(high: u64, low: u64) -> TraceId {
    let mut digits = [b'0'; 32];
    let (first, second) = digits.split_at_mut(16);
    put_hex(first, high);
    put_hex(second, low);
    TraceId(digits)
}

/// The sixteen digits of a number, in front.
fn put_hex(text: &mut [u8], number: u64) {
    for (digit, at) in text.iter_mut().zip((0..16).rev()) {
        let half = (number >> (4 * at)) as u8 & 15;
        // Without a branch that randomness would mispredict.
        *digit = half + b'0' + u8::from(half > 9) * (b'a' - b'0' - 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(lines: &[&str]) -> Trace {
        Trace::of(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn a_valid_trace_is_continued() {
        let trace = of(&[&format!("00-{ID}-00f067aa0ba902b7-01")]);
        assert_eq!((trace.id.as_str(), trace.is_new, trace.sent.is_none()), (ID, false, true));
        assert_eq!(of(&[&format!("cc-{ID}-00f067aa0ba902b7-01-later")]).id.as_str(), ID);
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
            assert_ne!(trace.id.as_str(), ID, "{line}");
            let begun = Context::parse(trace.sent.unwrap().as_bytes()).unwrap();
            assert_eq!((begun.trace_id(), begun.is_kept()), (trace.id.to_string(), true), "{line}");
        }
        let twice = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_ne!(of(&[&twice, &twice]).id.as_str(), ID);
    }

    #[test]
    fn a_context_is_written_as_its_own_crate_writes_it() {
        for kept in ["00", "01"] {
            let line = format!("00-{ID}-00f067aa0ba902b7-{kept}");
            let context = Context::parse(line.as_bytes()).unwrap();
            assert_eq!(Traceparent::of(context).as_bytes(), context.traceparent().as_bytes());
        }
    }
}
