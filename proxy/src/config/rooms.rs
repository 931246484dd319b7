//! `[room.NAME]`: one queue in front of one part of a site.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::StatusCode;
use room::ids::RoomName;
use room::rules::{Draft, OnStoreLoss, Rules, Schedule};

use super::paths::normal_path;
use super::problem::Problem;
use super::read::refuse_loop;
use super::section::Section;
use super::settings::{HostPattern, Limits, Match, PerMinute, PerSecond, RoomSettings, Server, UpstreamUrl};
use super::tree::Place;

/// All rooms; no two take the same host and path.
pub(super) fn rooms(root: &mut Section<'_>, server: &Server) -> BTreeMap<RoomName, Arc<RoomSettings>> {
    let mut taken = HashMap::new();
    let mut rooms = BTreeMap::new();
    for (name, section) in root.named("room") {
        match name.parse::<RoomName>() {
            Ok(name) => {
                let settings = room(name.clone(), section, server, &mut taken);
                rooms.extend(settings.map(|settings| (name, Arc::new(settings))));
            }
            Err(error) => section.problem("", format!("`{name}` is no name for a room: {error}")),
        }
    }
    rooms
}

/// Which room has a host and path, so that a second one can be told.
type Taken = HashMap<Match, RoomName>;

fn room(
    name: RoomName,
    mut section: Section<'_>,
    server: &Server,
    taken: &mut Taken,
) -> Option<RoomSettings> {
    let matches = matches(&name, &mut section, server, taken);
    let example = "[\"http://127.0.0.1:8090\"]";
    let upstream = section.required::<Vec<UpstreamUrl>>("upstream", example);
    if upstream.as_ref().is_some_and(Vec::is_empty) {
        section.problem("upstream", "`upstream` needs at least one server");
    }
    for (index, address) in upstream.iter().flatten().enumerate() {
        refuse_loop(&section, "upstream", index, address, server.listen);
    }
    let queueing_status_code = queueing_status_code(&mut section);
    let trust_commands = section.or("trust_commands", false);
    let allowed_origins = section.or("allowed_origins", Vec::new());
    let limits = limits(section.section("limits"));
    let rules = rules(&mut section);
    section.finish();
    Some(RoomSettings {
        name,
        matches,
        upstream: upstream?,
        rules: rules?,
        queueing_status_code,
        trust_commands,
        allowed_origins,
        limits,
    })
}

fn matches(name: &RoomName, section: &mut Section<'_>, server: &Server, taken: &mut Taken) -> Vec<Match> {
    if !section.has("match") {
        section.list("match");
        let everything = Match { host: HostPattern::Any, path: "/".to_owned() };
        take(name, everything.clone(), section.place(), section, taken);
        return vec![everything];
    }
    let entries = section.list("match");
    if entries.is_empty() {
        section.problem("match", "`match` needs at least one host or path; leave it out for all of them");
    }
    let mut matches = Vec::new();
    for mut entry in entries {
        let host = entry.or("host", HostPattern::Any);
        let path = entry.or("path", "/".to_owned());
        match normal_path(&path) {
            Ok(path) if path == server.queue_path || path.starts_with(&format!("{}/", server.queue_path)) => {
                entry.problem(
                    "path",
                    format!("`path` lies under `{}`, the edge's own calls", server.queue_path),
                );
            }
            Ok(path) => {
                let one = Match { host, path };
                take(name, one.clone(), entry.place(), section, taken);
                matches.push(one);
            }
            Err(reason) => entry.problem("path", format!("`path` {reason}")),
        }
        entry.finish();
    }
    matches
}

fn take(name: &RoomName, one: Match, place: Place, section: &Section<'_>, taken: &mut Taken) {
    let shown = format!("host `{}`, path `{}`", one.host, one.path);
    if let Some(other) = taken.insert(one, name.clone()) {
        let reason = if other == *name {
            format!("room `{name}` has {shown} twice")
        } else {
            format!("rooms `{other}` and `{name}` both take {shown}")
        };
        let cure = "give each its own `match = [{ host = \"…\", path = \"/…\" }]`";
        section.findings().problem(Problem::new(place, reason).cure(cure));
    }
}

fn queueing_status_code(section: &mut Section<'_>) -> StatusCode {
    let status = section.or("queueing_status_code", StatusCode::OK);
    let has_page =
        !status.is_redirection() && status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT;
    if !has_page {
        section.problem("queueing_status_code", "`queueing_status_code` must be one that carries a page");
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        section
            .problem("queueing_status_code", "`queueing_status_code` cannot be 429: only limits answer so");
    }
    status
}

fn limits(mut section: Section<'_>) -> Limits {
    let standard = Limits::default();
    let mut inner = section.section("per_client");
    let per_client = PerSecond {
        per_second: inner.or("per_second", standard.per_client.per_second),
        burst: inner.or("burst", standard.per_client.burst),
    };
    inner.finish();
    let mut inner = section.section("joins_per_address");
    let joins_per_address = PerMinute {
        per_minute: inner.or("per_minute", standard.joins_per_address.per_minute),
        burst: inner.or("burst", standard.joins_per_address.burst),
    };
    inner.finish();
    section.finish();
    Limits { per_client, joins_per_address }
}

fn rules(section: &mut Section<'_>) -> Option<Rules> {
    let standard = Draft::default();
    let draft = Draft {
        new_users_per_minute: section.or("new_users_per_minute", standard.new_users_per_minute),
        total_active_users: section.or("total_active_users", standard.total_active_users),
        burst: section.get("burst"),
        max_waiting: section.or("max_waiting", standard.max_waiting),
        session_duration: section.or("session_duration", standard.session_duration),
        disable_session_renewal: section.or("disable_session_renewal", standard.disable_session_renewal),
        session_max: section.or("session_max", standard.session_max),
        queueing_method: section.or("queueing_method", standard.queueing_method),
        queue_all: section.or("queue_all", standard.queue_all),
        suspended: section.or("suspended", standard.suspended),
        confirm_window: section.or("confirm_window", standard.confirm_window),
        settle_window: section.or("settle_window", standard.settle_window),
        claim_window: section.or("claim_window", standard.claim_window),
        return_window: section.or("return_window", standard.return_window),
        missed_turns: section.or("missed_turns", standard.missed_turns),
        on_store_loss: section.or("on_store_loss", standard.on_store_loss),
        schedule: schedule(section.section("schedule")),
    };
    if draft.on_store_loss == OnStoreLoss::Open {
        let reason = "`on_store_loss = \"open\"` voids the limits: while the store is away each edge lets people in by \
                      a share of its own, so entries and active users may exceed what the room allows, and the order \
                      of arrival holds at each edge only";
        section.warning("on_store_loss", reason);
    }
    if draft.suspended && draft.queue_all {
        section.warning("suspended", "`suspended` wins over `queue_all`: everybody is forwarded");
    }
    let checked = Rules::new(draft);
    checked.map_err(|error| section.problem(error.setting, error.to_string())).ok()
}

fn schedule(mut section: Section<'_>) -> Schedule {
    let schedule = Schedule {
        prequeue_at: section.get("prequeue_at"),
        opens_at: section.get("opens_at"),
        closes_at: section.get("closes_at"),
    };
    section.finish();
    schedule
}
