//! Traces of edge and box office: one purchase is one trace, from the first hop to the commit and the webhook.
//!
//! | module | what it does |
//! |---|---|
//! | [`context`] | `traceparent`: read, continued, written (W3C Trace Context) |
//! | [`sampling`] | which traces are kept: all that change something, a share of the others |
//! | [`span`] | one piece of work, told to the collector when it ends |
//! | `collector` | for tests (feature `collector`) |
//! | [`export`] | to a collector by OTLP over HTTP, as the `OTEL_*` variables say; off without them |
//!
//! Contexts travel whether or not anything is exported: log lines carry the trace id, and whoever stands behind may
//! trace too. A span of a trace that is not kept costs no allocation.

#[cfg(feature = "collector")]
pub mod collector;
pub mod context;
pub mod export;
pub mod sampling;
pub mod span;

pub use context::Context;
pub use export::{SetupError, install, uninstall};
pub use sampling::Sampling;
pub use span::{Kind, Span};
