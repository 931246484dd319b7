//! Every metric: name, kind, help, buckets.

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
        $(pub(super) const $constant: &str = $name;)*

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
    STORE_AWAY Gauge "vestibule_store_away" "1 while the store does not answer this edge";
    ALONE Gauge "vestibule_alone" "1 while this edge goes on without the store, with its share of the limits";
    LENT Counter "vestibule_lent_sessions_total" "Sessions that this edge extended while the store was away";
    LIVES Counter "vestibule_store_lives_total" "Times that the store was found to have forgotten, and was told again";
    CLOCK_OFFSET Gauge "vestibule_clock_offset_seconds" "The store's clock minus this machine's";
    WS_CONNECTIONS Gauge "ws_connections" "Open sockets of waiting visitors";
    WS_MESSAGES Counter "ws_messages_total" "Messages on sockets of waiting visitors";
    WS_DROPPED Counter "ws_dropped_total" "Messages replaced by newer ones before a slow reader took them";
    CONFIG_VERSION Gauge "vestibule_config_version" "1 after the start, one more with every reload that took effect";
    CONFIG_RELOAD_FAILURES Counter "vestibule_config_reload_failures_total" "Reloads refused because the settings were bad";
    BUILD_INFO Gauge "vestibule_build_info" "1, with the version as a label";
}
