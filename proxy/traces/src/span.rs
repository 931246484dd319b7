//! One piece of work in a trace.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::context::Context;
use crate::export;

pub use opentelemetry::trace::SpanKind as Kind;

/// More are left out: what is told of one span is bounded.
const MOST_ATTRIBUTES: usize = 32;
const MOST_EVENTS: usize = 32;

/// Ends when it is dropped, and is told to the collector then, if its trace is kept.
#[derive(Debug)]
pub struct Span {
    context: Context,
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    parent: Option<Context>,
    remote: bool,
    kind: Kind,
    name: Cow<'static, str>,
    started: SystemTime,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    status: Status,
}

impl Span {
    /// The first span of a trace.
    pub fn root(context: Context, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::of(context, None, false, kind, name.into())
    }

    /// Goes on where another program was.
    pub fn continued(parent: Context, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::of(parent.child(), Some(parent), true, kind, name.into())
    }

    /// A part of the piece of work that has this context.
    pub fn part_of(parent: Context, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::of(parent.child(), Some(parent), false, kind, name.into())
    }

    fn of(
        context: Context,
        parent: Option<Context>,
        remote: bool,
        kind: Kind,
        name: Cow<'static, str>,
    ) -> Self {
        let open = (context.is_kept() && export::is_on()).then(|| {
            Box::new(Open {
                parent,
                remote,
                kind,
                name,
                started: SystemTime::now(),
                attributes: Vec::new(),
                events: Vec::new(),
                status: Status::Unset,
            })
        });
        Self { context, open }
    }

    /// Of this span: for the header of calls that belong to it.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Whether anybody will read what is said of it: what is dear to say can be left out.
    pub fn is_told(&self) -> bool {
        self.open.is_some()
    }

    /// Names by the OpenTelemetry semantic conventions where there are such.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open
            && open.attributes.len() < MOST_ATTRIBUTES
        {
            open.attributes.push(KeyValue::new(key, value.into()));
        }
    }

    /// Something that happened now, and what is to be known of it.
    pub fn event(&mut self, name: &'static str, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open
            && open.events.len() < MOST_EVENTS
        {
            let about = vec![KeyValue::new(key, value.into())];
            open.events.push(Event::new(name, SystemTime::now(), about, 0));
        }
    }

    /// It began so long before anybody knew that it would be told.
    #[must_use]
    pub fn begun(mut self, ago: Duration) -> Self {
        if let Some(open) = &mut self.open {
            open.started = open.started.checked_sub(ago).unwrap_or(open.started);
        }
        self
    }

    /// It did not come to what was wanted.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.open {
            open.status = Status::error(why);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            export::tell(|scope| open.ended(self.context, scope));
        }
    }
}

impl Open {
    fn ended(self, context: Context, scope: InstrumentationScope) -> SpanData {
        let flags = TraceFlags::SAMPLED;
        let span = SpanId::from_bytes(context.span());
        let mut events = SpanEvents::default();
        events.events = self.events;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(context.trace()),
                span,
                flags,
                false,
                TraceState::NONE,
            ),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span())),
            parent_span_is_remote: self.remote,
            span_kind: self.kind,
            name: self.name,
            start_time: self.started,
            end_time: SystemTime::now(),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope: scope,
        }
    }
}
