//! Every metric of the edge, declared once: name, kind, help, buckets, and a typed way to count it.
//!
//! Handles are made once ([`edge`], [`room`]) and kept by those who count, so that counting builds no strings.

mod declared;
mod labels;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use room::ids::RoomName;

pub use self::declared::{ALL, Metric, MetricKind};
pub use self::labels::{Direction, StoreOp, Verdict, WsType};
use self::labels::{Family, label};

/// Counts about the edge as a whole.
#[derive(Debug)]
pub struct EdgeMetrics {
    durations: Family<Verdict, Histogram>,
    store: Family<StoreOp, Histogram>,
    messages_in: Family<WsType, Counter>,
    messages_out: Family<WsType, Counter>,
    dropped: Family<WsType, Counter>,
    /// The store's clock minus this machine's, in seconds.
    pub clock_offset: Gauge,
    /// Open sockets of waiting visitors.
    pub ws_connections: Gauge,
    config_version: Gauge,
    config_reload_failures: Counter,
}

impl EdgeMetrics {
    fn new() -> Self {
        let messages = |direction, kinds: &[_]| {
            let direction = label(&Direction::ALL, direction);
            let handle =
                move |kind| counter!(declared::WS_MESSAGES, "direction" => direction, "type" => kind);
            Family::new(kinds, handle)
        };
        Self {
            durations: Family::new(
                &Verdict::ALL,
                |verdict| histogram!(declared::REQUEST_DURATION, "verdict" => verdict),
            ),
            store: Family::new(&StoreOp::ALL, |op| histogram!(declared::STORE_DURATION, "op" => op)),
            messages_in: messages(Direction::In, &WsType::FROM_CLIENTS),
            messages_out: messages(Direction::Out, &WsType::FROM_EDGE),
            dropped: Family::new(&WsType::FROM_EDGE, |kind| counter!(declared::WS_DROPPED, "type" => kind)),
            clock_offset: gauge!(declared::CLOCK_OFFSET),
            ws_connections: gauge!(declared::WS_CONNECTIONS),
            config_version: gauge!(declared::CONFIG_VERSION),
            config_reload_failures: counter!(declared::CONFIG_RELOAD_FAILURES),
        }
    }

    /// A request is answered, or its tunnel closed.
    pub fn request_took(&self, verdict: Verdict, time: Duration) {
        self.durations.with(verdict, |histogram| histogram.record(time));
    }

    pub fn store_took(&self, op: StoreOp, time: Duration) {
        self.store.with(op, |histogram| histogram.record(time));
    }

    /// `kind` is [`store::StoreError::kind`].
    pub fn store_failed(&self, op: StoreOp, kind: &'static str) {
        counter!(declared::STORE_ERRORS, "op" => op.label(), "kind" => kind).increment(1);
    }

    pub fn ws_message(&self, direction: Direction, kind: WsType) {
        let family = if direction == Direction::In { &self.messages_in } else { &self.messages_out };
        family.with(kind, |counter| counter.increment(1));
    }

    pub fn ws_dropped(&self, kind: WsType) {
        self.dropped.with(kind, |counter| counter.increment(1));
    }

    pub fn config_loaded(&self, version: u64) {
        self.config_version.set(version as f64);
    }

    pub fn config_refused(&self) {
        self.config_reload_failures.increment(1);
    }
}

/// Counts about one room. Keep it beside the room's other state.
#[derive(Debug)]
pub struct RoomMetrics {
    requests: Family<Verdict, Counter>,
    /// Visitors in the line, all edges together.
    pub waiting: Gauge,
    pub turns_open: Gauge,
    pub active: Gauge,
    pub admissions: Counter,
    pub entries: Counter,
    pub abandoned: Counter,
    pub no_shows: Counter,
    /// The limit on entries a minute as the operator set it.
    pub rate_configured: Gauge,
    /// The same after pauses and steering.
    pub rate_effective: Gauge,
    /// From 0 to 1.
    pub limit_utilisation: Gauge,
    pub over_limit: Counter,
    /// In seconds, as all that follow.
    pub turn_lag: Histogram,
    pub wait: Histogram,
    /// Real wait over the first estimate.
    pub estimate_error: Histogram,
    pub tick_age: Gauge,
    /// 1 while the store is away.
    pub store_away: Gauge,
    /// 1 while this edge goes on without it.
    pub alone: Gauge,
    /// Sessions that this edge extended while the store was away.
    pub lent: Counter,
    /// Times that the store was found to have forgotten.
    pub lives: Counter,
}

impl RoomMetrics {
    fn new(room: &str) -> Self {
        let counted = |name: &'static str| counter!(name, "room" => room.to_owned());
        let measured = |name: &'static str| gauge!(name, "room" => room.to_owned());
        let spread = |name: &'static str| histogram!(name, "room" => room.to_owned());
        let rate = |kind: &'static str| gauge!(declared::RATE, "room" => room.to_owned(), "kind" => kind);
        let request = |verdict| counter!(declared::REQUESTS, "room" => room.to_owned(), "verdict" => verdict);
        Self {
            requests: Family::new(&Verdict::ALL, request),
            waiting: measured(declared::WAITING),
            turns_open: measured(declared::TURNS_OPEN),
            active: measured(declared::ACTIVE),
            admissions: counted(declared::ADMISSIONS),
            entries: counted(declared::ENTRIES),
            abandoned: counted(declared::ABANDONED),
            no_shows: counted(declared::NO_SHOW),
            rate_configured: rate("configured"),
            rate_effective: rate("effective"),
            limit_utilisation: measured(declared::UTILISATION),
            over_limit: counted(declared::OVER_LIMIT),
            turn_lag: spread(declared::TURN_LAG),
            wait: spread(declared::WAIT),
            estimate_error: spread(declared::ESTIMATE_ERROR),
            tick_age: measured(declared::TICK_AGE),
            store_away: measured(declared::STORE_AWAY),
            alone: measured(declared::ALONE),
            lent: counted(declared::LENT),
            lives: counted(declared::LIVES),
        }
    }

    pub fn request(&self, verdict: Verdict) {
        self.requests.with(verdict, |counter| counter.increment(1));
    }
}

/// The counts of the edge. Not before [`Exposition::install`]: handles made earlier count nowhere.
pub fn edge() -> &'static EdgeMetrics {
    static EDGE: LazyLock<EdgeMetrics> = LazyLock::new(EdgeMetrics::new);
    &EDGE
}

/// The counts of a room; `None` stands for paths without one. A look into a table: keep the handle.
pub fn room(name: Option<&RoomName>) -> Arc<RoomMetrics> {
    static ROOMS: LazyLock<RwLock<HashMap<Option<RoomName>, Arc<RoomMetrics>>>> =
        LazyLock::new(RwLock::default);
    let key = name.cloned();
    if let Some(found) = ROOMS.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Arc::clone(found);
    }
    let mut rooms = ROOMS.write().unwrap_or_else(PoisonError::into_inner);
    let made = || Arc::new(RoomMetrics::new(name.map_or("none", RoomName::as_str)));
    Arc::clone(rooms.entry(key).or_insert_with(made))
}

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exposition")
    }
}

impl Exposition {
    /// Makes all counting of this process count here. Once, before anything counts.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self(handle))
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what histograms gathered; every few seconds, else they grow until the next [`Self::render`].
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    ALL.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        MetricKind::Histogram(buckets) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets)
        }
        _ => Ok(builder),
    })
}

/// Gives each metric its help, and those without labels their first value.
fn describe() {
    for Metric { name, kind, help } in ALL {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *help),
            MetricKind::Gauge => describe_gauge!(*name, *help),
            MetricKind::Histogram(_) => describe_histogram!(*name, *help),
        }
    }
    gauge!(declared::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
    edge().config_reload_failures.increment(0);
    edge().ws_connections.set(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, count);
        handle.render()
    }

    #[test]
    fn a_room_counts_under_its_name() {
        let text = shown(|| {
            let room = RoomMetrics::new("e1");
            room.request(Verdict::Forwarded);
            room.request(Verdict::Forwarded);
            room.waiting.set(7);
            room.rate_effective.set(1800);
            room.wait.record(Duration::from_secs(3));
        });
        for line in [
            "vestibule_requests_total{room=\"e1\",verdict=\"forwarded\"} 2",
            "vestibule_waiting{room=\"e1\"} 7",
            "vestibule_rate_users_per_minute{room=\"e1\",kind=\"effective\"} 1800",
            "vestibule_wait_seconds_bucket{room=\"e1\",le=\"5\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_edge_counts_by_operation_and_message() {
        let text = shown(|| {
            let edge = EdgeMetrics::new();
            edge.store_took(StoreOp::Admit, Duration::from_millis(2));
            edge.store_failed(StoreOp::Claim, "timeout");
            edge.ws_message(Direction::Out, WsType::Turn);
            edge.ws_dropped(WsType::Update);
            edge.config_loaded(3);
        });
        for line in [
            "vestibule_store_duration_seconds_bucket{op=\"admit\",le=\"0.0025\"} 1",
            "vestibule_store_errors_total{op=\"claim\",kind=\"timeout\"} 1",
            "ws_messages_total{direction=\"out\",type=\"queue.turn\"} 1",
            "ws_dropped_total{type=\"queue.update\"} 1",
            "vestibule_config_version 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn names_are_declared_once() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
