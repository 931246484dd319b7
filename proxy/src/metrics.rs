//! Every metric of the edge, declared once: name, kind, help, buckets, and a typed way to count it.
//!
//! Handles are made once ([`edge`], [`room`]) and kept by those who count, so that counting builds no strings.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use room::ids::RoomName;

/// One metric as it is exposed.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// With these upper bounds.
    Histogram(&'static [f64]),
}

/// From a pass checked in microseconds to an origin that is nearly given up.
const LATENCY: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From the next tick to an afternoon.
const WAITS: &[f64] =
    &[0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 4800.0, 9600.0];
/// Ticks come every tenth of a second.
const LAGS: &[f64] = &[0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0];
/// 1.0 is exact, 2.0 twice as long as said.
const RATIOS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0];

macro_rules! declare {
    ($($constant:ident $kind:ident $(($buckets:ident))? $name:literal $help:literal;)*) => {
        $(const $constant: &str = $name;)*

        /// All metrics.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind $(($buckets))?, help: $help },)*
        ];
    };
}

declare! {
    REQUESTS Counter "vestibule_requests_total" "Requests, by room and by what was done with them";
    REQUEST_DURATION Histogram(LATENCY) "vestibule_request_duration_seconds" "From the head of a request to the end of its answer";
    WAITING Gauge "vestibule_waiting" "Visitors in the line, all edges together";
    TURNS_OPEN Gauge "vestibule_turns_open" "Turns given and not yet claimed";
    ACTIVE Gauge "vestibule_active" "Sessions";
    ADMISSIONS Counter "vestibule_admissions_total" "Turns given, counted by the edge that gave them";
    ENTRIES Counter "vestibule_entries_total" "Turns claimed and visitors let in at once, counted by the edge that did it";
    ABANDONED Counter "vestibule_abandoned_total" "Visitors who left the line, counted by the edge that saw it";
    NO_SHOW Counter "vestibule_no_show_total" "Turns that lapsed unclaimed, counted by the edge that ticked";
    RATE Gauge "vestibule_rate_users_per_minute" "The limit on entries: as configured, and as in force";
    UTILISATION Gauge "vestibule_limit_utilisation_ratio" "Entries of the last minute over what the limit allowed";
    OVER_LIMIT Counter "vestibule_over_limit_total" "Requests and joins refused by a client's limit";
    TURN_LAG Histogram(LAGS) "vestibule_turn_lag_seconds" "From a turn given to the visitor being told";
    WAIT Histogram(WAITS) "vestibule_wait_seconds" "From first contact to entry";
    ESTIMATE_ERROR Histogram(RATIOS) "vestibule_estimate_error_ratio" "Real wait over the first estimate shown";
    TICK_AGE Gauge "vestibule_tick_age_seconds" "Since the newest tick of the room was heard";
    STORE_DURATION Histogram(LATENCY) "vestibule_store_duration_seconds" "Calls of the store";
    STORE_ERRORS Counter "vestibule_store_errors_total" "Calls of the store that failed, by kind";
    CLOCK_OFFSET Gauge "vestibule_clock_offset_seconds" "The store's clock minus this machine's";
    WS_CONNECTIONS Gauge "ws_connections" "Open sockets of waiting visitors";
    WS_MESSAGES Counter "ws_messages_total" "Messages on sockets of waiting visitors";
    WS_DROPPED Counter "ws_dropped_total" "Messages replaced by newer ones before a slow reader took them";
    CONFIG_VERSION Gauge "vestibule_config_version" "1 after the start, one more with every reload that took effect";
    CONFIG_RELOAD_FAILURES Counter "vestibule_config_reload_failures_total" "Reloads refused because the settings were bad";
    BUILD_INFO Gauge "vestibule_build_info" "1, with the version as a label";
}

/// What was done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Forwarded,
    /// Let in with this very request, or a turn claimed.
    Entered,
    Queued,
    Limited,
    Rejected,
    Error,
}

impl Verdict {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Forwarded, "forwarded"),
        (Self::Entered, "entered"),
        (Self::Queued, "queued"),
        (Self::Limited, "limited"),
        (Self::Rejected, "rejected"),
        (Self::Error, "error"),
    ];
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOp {
    Arrive,
    Admit,
    Claim,
    Leave,
    Renew,
    Survey,
    Tune,
    Missed,
}

impl StoreOp {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Arrive, "arrive"),
        (Self::Admit, "admit"),
        (Self::Claim, "claim"),
        (Self::Leave, "leave"),
        (Self::Renew, "renew"),
        (Self::Survey, "survey"),
        (Self::Tune, "tune"),
        (Self::Missed, "missed"),
    ];

    fn label(self) -> &'static str {
        label(&Self::ALL, self)
    }
}

/// A message on a waiter's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsType {
    Update,
    Turn,
    Paused,
    Message,
    Ticket,
    Bye,
    Ping,
    Ack,
    /// From a client, and none of ours.
    Unknown,
}

impl WsType {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Update, "queue.update"),
        (Self::Turn, "queue.turn"),
        (Self::Paused, "queue.paused"),
        (Self::Message, "queue.message"),
        (Self::Ticket, "queue.ticket"),
        (Self::Bye, "server.bye"),
        (Self::Ping, "client.ping"),
        (Self::Ack, "client.ack"),
        (Self::Unknown, "unknown"),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    const ALL: [(Self, &'static str); 2] = [(Self::In, "in"), (Self::Out, "out")];
}

/// A label of a variant. Each table holds every variant of its type.
fn label<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|(one, _)| *one == value).map_or("unknown", |(_, label)| label)
}

/// One handle for each variant.
#[derive(Debug)]
struct Family<T, M>(Vec<(T, M)>);

impl<T: Copy + PartialEq, M> Family<T, M> {
    fn new(table: &[(T, &'static str)], handle: impl Fn(&'static str) -> M) -> Self {
        Self(table.iter().map(|(value, label)| (*value, handle(label))).collect())
    }

    fn with(&self, value: T, act: impl FnOnce(&M)) {
        if let Some((_, handle)) = self.0.iter().find(|(one, _)| *one == value) {
            act(handle);
        }
    }
}

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
        let messages = |direction| {
            let direction = label(&Direction::ALL, direction);
            Family::new(
                &WsType::ALL,
                move |kind| counter!(WS_MESSAGES, "direction" => direction, "type" => kind),
            )
        };
        Self {
            durations: Family::new(
                &Verdict::ALL,
                |verdict| histogram!(REQUEST_DURATION, "verdict" => verdict),
            ),
            store: Family::new(&StoreOp::ALL, |op| histogram!(STORE_DURATION, "op" => op)),
            messages_in: messages(Direction::In),
            messages_out: messages(Direction::Out),
            dropped: Family::new(&WsType::ALL, |kind| counter!(WS_DROPPED, "type" => kind)),
            clock_offset: gauge!(CLOCK_OFFSET),
            ws_connections: gauge!(WS_CONNECTIONS),
            config_version: gauge!(CONFIG_VERSION),
            config_reload_failures: counter!(CONFIG_RELOAD_FAILURES),
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
        counter!(STORE_ERRORS, "op" => op.label(), "kind" => kind).increment(1);
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
}

impl RoomMetrics {
    fn new(room: &str) -> Self {
        let counted = |name: &'static str| counter!(name, "room" => room.to_owned());
        let measured = |name: &'static str| gauge!(name, "room" => room.to_owned());
        let spread = |name: &'static str| histogram!(name, "room" => room.to_owned());
        let rate = |kind: &'static str| gauge!(RATE, "room" => room.to_owned(), "kind" => kind);
        let request = |verdict| counter!(REQUESTS, "room" => room.to_owned(), "verdict" => verdict);
        Self {
            requests: Family::new(&Verdict::ALL, request),
            waiting: measured(WAITING),
            turns_open: measured(TURNS_OPEN),
            active: measured(ACTIVE),
            admissions: counted(ADMISSIONS),
            entries: counted(ENTRIES),
            abandoned: counted(ABANDONED),
            no_shows: counted(NO_SHOW),
            rate_configured: rate("configured"),
            rate_effective: rate("effective"),
            limit_utilisation: measured(UTILISATION),
            over_limit: counted(OVER_LIMIT),
            turn_lag: spread(TURN_LAG),
            wait: spread(WAIT),
            estimate_error: spread(ESTIMATE_ERROR),
            tick_age: measured(TICK_AGE),
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
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
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
