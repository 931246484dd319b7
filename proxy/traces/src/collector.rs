//! A collector for tests: takes OTLP over HTTP and keeps every span.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// Serves for as long as its runtime does.
#[derive(Debug, Clone)]
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// One span, and who told it.
#[derive(Debug, Clone)]
pub struct Kept {
    pub service: String,
    pub span: Span,
}

impl Collector {
    /// Listens on a free port of this machine.
    ///
    /// # Panics
    /// When there is none.
    #[allow(clippy::unwrap_used, reason = "a test without it has no use")]
    pub async fn start() -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let routes = Router::new().route(
            "/v1/traces",
            post(async move |body: Bytes| match ExportTraceServiceRequest::decode(body) {
                Ok(request) => {
                    lock(&into).extend(spans(request));
                    StatusCode::OK
                }
                Err(_) => StatusCode::BAD_REQUEST,
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, kept }
    }

    /// The spans of one trace, by 32 hexadecimal digits.
    pub fn trace(&self, id: &str) -> Vec<Kept> {
        lock(&self.kept).iter().filter(|kept| hex(&kept.span.trace_id) == id).cloned().collect()
    }

    /// Everything that came.
    pub fn all(&self) -> Vec<Kept> {
        lock(&self.kept).clone()
    }

    /// How many spans came, of all traces.
    pub fn count(&self) -> usize {
        lock(&self.kept).len()
    }
}

/// The tree below a remote parent: each line a span's name, indented by its depth, children in the order of their start.
pub fn tree(spans: &[Kept], parent: &str) -> Vec<String> {
    let mut children: HashMap<String, Vec<&Kept>> = HashMap::new();
    for kept in spans {
        children.entry(hex(&kept.span.parent_span_id)).or_default().push(kept);
    }
    for group in children.values_mut() {
        group.sort_by_key(|kept| kept.span.start_time_unix_nano);
    }
    let mut lines = Vec::new();
    below(&children, parent, 0, &mut lines);
    lines
}

fn below(children: &HashMap<String, Vec<&Kept>>, parent: &str, depth: usize, lines: &mut Vec<String>) {
    for kept in children.get(parent).into_iter().flatten() {
        lines.push(format!("{}{}", "  ".repeat(depth), kept.span.name));
        below(children, &hex(&kept.span.span_id), depth + 1, lines);
    }
}

/// An attribute as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn lock(kept: &Mutex<Vec<Kept>>) -> MutexGuard<'_, Vec<Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Kept> {
    let mut kept = Vec::new();
    for group in request.resource_spans {
        let service = group.resource.iter().flat_map(|resource| &resource.attributes);
        let service = service.filter(|pair| pair.key == "service.name").find_map(|pair| {
            match pair.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some(text.clone()),
                _ => None,
            }
        });
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            kept.push(Kept { service: service.clone().unwrap_or_default(), span });
        }
    }
    kept
}

/// In lowercase.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
