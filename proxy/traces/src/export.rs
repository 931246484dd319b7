//! Where spans go: to a collector, by OTLP over HTTP (`http/protobuf`), in batches, from a thread of its own.
//!
//! Settings are the variables of the OpenTelemetry specification: `OTEL_EXPORTER_OTLP_ENDPOINT` (without it nothing is
//! exported), `…_TRACES_ENDPOINT`, `…_HEADERS`, `…_TIMEOUT`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER_ARG` (the share of reading requests), `OTEL_SDK_DISABLED`, `OTEL_BSP_*`.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};

use crate::sampling::Sampling;

/// How long the last spans may take when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
const CALL: Duration = Duration::from_secs(10);
/// What a collector has to say is short.
const MOST_ANSWERED: u64 = 64 * 1024;

/// Traces cannot be exported as the environment asks.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{name} is `{value}`; it is to be {wanted}")]
    Setting { name: &'static str, value: String, wanted: &'static str },
    #[error("the exporter of traces cannot be built: {0}; look at the OTEL_EXPORTER_OTLP_ variables")]
    Exporter(#[from] ExporterBuildError),
    #[error("traces are exported already")]
    Twice,
}

#[derive(Debug)]
struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    sampling: Sampling,
}

static EXPORT: OnceLock<Export> = OnceLock::new();

/// Begins the export if the environment names a collector; says whether it does.
pub fn install(service: &'static str, version: &'static str) -> Result<bool, SetupError> {
    if !is_wanted() {
        return Ok(false);
    }
    only_http()?;
    let sampling = sampling()?;
    let resource = Resource::builder();
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    let resource = if named { resource } else { resource.with_service_name(service) };
    let resource = resource.with_attribute(KeyValue::new("service.version", version)).build();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new())
        .build()?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource);
    let export = Export {
        processor,
        scope: InstrumentationScope::builder(service).with_version(version).build(),
        sampling,
    };
    EXPORT.set(export).map_err(|_| SetupError::Twice)?;
    Ok(true)
}

/// Sends what is left, within three seconds.
pub fn uninstall() {
    if let Some(export) = EXPORT.get() {
        // A collector that is away loses the last spans: nobody waits longer for it.
        let _lost = export.processor.shutdown_with_timeout(LAST_WORDS);
    }
}

/// How traces that begin here are sampled.
pub fn sampling_in_force() -> Sampling {
    EXPORT.get().map_or(Sampling { share: 0.0 }, |export| export.sampling)
}

/// Whether anything is exported.
pub fn is_on() -> bool {
    EXPORT.get().is_some()
}

pub(crate) fn tell(span: impl FnOnce(InstrumentationScope) -> SpanData) {
    if let Some(export) = EXPORT.get() {
        export.processor.on_end(span(export.scope.clone()));
    }
}

fn is_wanted() -> bool {
    let set = |name| env::var(name).is_ok_and(|value: String| !value.trim().is_empty());
    let disabled = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    let none = env::var("OTEL_TRACES_EXPORTER").is_ok_and(|value| value == "none");
    !disabled && !none && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
}

fn only_http() -> Result<(), SetupError> {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match env::var(name) {
            Ok(value) if !value.is_empty() && value != "http/protobuf" => {
                let wanted = "http/protobuf (a collector takes it on port 4318)";
                return Err(SetupError::Setting { name, value, wanted });
            }
            _ => {}
        }
    }
    Ok(())
}

fn sampling() -> Result<Sampling, SetupError> {
    let name = "OTEL_TRACES_SAMPLER_ARG";
    let Ok(value) = env::var(name) else { return Ok(Sampling::default()) };
    match value.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(Sampling { share }),
        _ => Err(SetupError::Setting { name, value, wanted: "a share from 0 to 1" }),
    }
}

/// Blocks: the processor calls it on its own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(CALL)).http_status_as_error(false);
        Self(config.max_redirects(0).build().into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut answer = self.0.run(Request::from_parts(parts, &body[..]))?;
        let body = answer.body_mut().with_config().limit(MOST_ANSWERED).read_to_vec()?;
        let mut out = Response::new(Bytes::from(body));
        *out.status_mut() = answer.status();
        *out.headers_mut() = answer.headers().clone();
        Ok(out)
    }
}
