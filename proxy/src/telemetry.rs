//! Logs: one JSON object a line, `ts`, `lvl`, `service`, `trace_id`, `msg` and the event's own fields.
//!
//! Tokens, tickets and secrets are never logged; addresses go through [`cut`].

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::SystemTime;

use room::time::Micros;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Changes how much is logged while the edge runs.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<Targets, tracing_subscriber::Registry>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// `level` as in `[telemetry] log_level`; checked when the settings were loaded.
    pub fn set(&self, level: &str) {
        if let Err(error) = self.0.reload(targets(level)) {
            tracing::warn!(%error, level, "the log level stays");
        }
    }
}

/// Sends the logs of this process to standard error. Once.
pub fn install(level: &str) -> Result<LogLevel, TryInitError> {
    let (filter, handle) = reload::Layer::new(targets(level));
    tracing_subscriber::registry().with(filter).with(JsonLines { writer: io::stderr }).try_init()?;
    Ok(LogLevel(handle))
}

/// Other people's modules speak up from `warn`, unless they are named.
fn targets(level: &str) -> Targets {
    let asked =
        Targets::from_str(level).unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let quiet = asked.default_level().unwrap_or(tracing::level_filters::LevelFilter::OFF);
    let quiet = quiet.min(tracing::level_filters::LevelFilter::WARN);
    let named: Vec<_> = asked.iter().map(|(target, level)| (target.to_owned(), level)).collect();
    let noisy =
        ["pingora_core", "pingora_proxy", "hyper_util", "redis", BELOW_IDLE].map(|target| (target, quiet));
    asked.with_targets(noisy).with_target(IDLE, tracing::level_filters::LevelFilter::OFF).with_targets(named)
}

/// Says of each idle connection that was found closed that it was, as an error: hundreds at once when an origin
/// restarts. The edge dials anew, and a dial that fails is told by the edge itself.
const IDLE: &str = "pingora_core::connectors";
/// The modules below it.
const BELOW_IDLE: &str = "pingora_core::connectors::";

/// An address as it may be logged: its network of 24 bits, or 48 for IPv6.
pub fn cut(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

/// Writes events as JSON. The fields of the spans around an event are its own too, the nearest span's first.
struct JsonLines<W> {
    writer: W,
}

/// What a span brought.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields(Map::new());
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(outer)) = span.extensions().get::<Fields>() {
                for (name, value) in outer {
                    fields.0.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
        let mut line = line(SystemTime::now().into(), event.metadata(), fields.0);
        line.push('\n');
        // A full disk or closed pipe must not stop the edge.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

/// One line; the parts that every line has come first.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    lvl: String,
    service: &'static str,
    trace_id: Value,
    msg: Value,
    module: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

fn line(now: Micros, metadata: &tracing::Metadata<'_>, mut fields: Map<String, Value>) -> String {
    let trace_id = fields.remove("trace_id").unwrap_or_default();
    let msg = fields.remove("message").unwrap_or_default();
    for taken in ["ts", "lvl", "service", "msg", "module"] {
        fields.remove(taken);
    }
    let lvl = metadata.level().as_str().to_lowercase();
    let module = metadata.target();
    let line = Line { ts: now.to_rfc3339(), lvl, service: "vestibule", trace_id, msg, module, fields };
    // Text and numbers always have a JSON form.
    serde_json::to_string(&line).unwrap_or_default()
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // Records of the `log` crate carry their origin in fields of these names.
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, act: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = JsonLines { writer: move || writer.clone() };
        let subscriber = tracing_subscriber::registry().with(targets(level)).with(layer);
        tracing::subscriber::with_default(subscriber, act);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_line_with_the_fields_of_its_spans() {
        let lines = logged("info", || {
            let span = tracing::info_span!("request", trace_id = "4bf9", room = "e1", entered = false);
            let _inside = span.enter();
            tracing::info!(room = "e2", count = 3, "let in\nat once");
        });
        let line = &lines[0];
        for (name, value) in [
            ("lvl", Value::from("info")),
            ("service", "vestibule".into()),
            ("trace_id", "4bf9".into()),
            ("msg", "let in\nat once".into()),
            ("room", "e2".into()),
            ("count", 3.into()),
            ("entered", false.into()),
        ] {
            assert_eq!(line[name], value, "{line}");
        }
        assert!(Micros::from_rfc3339(line["ts"].as_str().unwrap()).is_some());
    }

    #[test]
    fn a_level_counts_for_its_module_only() {
        let lines = logged("warn,vestibule::loud=debug", || {
            tracing::info!("quiet");
            tracing::debug!(target: "vestibule::loud", "heard");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["msg"], "heard");
        assert!(logged("off", || tracing::error!("nothing")).is_empty());
    }

    #[test]
    fn idle_connections_that_an_origin_closed_are_no_errors_unless_asked_for() {
        let restarts = || {
            tracing::error!(target: "pingora_core::connectors", "failed to acquire reusable stream");
            tracing::error!(target: "pingora_core::connectors::l4", "below");
            tracing::error!(target: "pingora_core::protocols", "beside");
        };
        let said = |level| -> Vec<Value> {
            logged(level, restarts).into_iter().map(|line| line["msg"].clone()).collect()
        };
        assert_eq!(said("info"), ["below", "beside"]);
        assert_eq!(said("debug"), ["below", "beside"]);
        let all = ["failed to acquire reusable stream", "below", "beside"];
        assert_eq!(said("info,pingora_core::connectors=error"), all);
    }

    #[test]
    fn addresses_are_cut_to_their_network() {
        for (address, cut_to) in [
            ("192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2:3::4", "2001:db8:1::"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
        ] {
            assert_eq!(cut(address.parse().unwrap()).to_string(), cut_to);
        }
    }
}
