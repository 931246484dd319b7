//! `/api/rooms`: rooms as operators see and change them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use room::ids::RoomName;
use room::queue::{Change, Mode, Survey};
use room::rules::{Method, Phase};
use room::time::Micros;
use room::wire::{Paused, RoomStatus};
use serde::Serialize;
use serde_json::{Map, Value};

use super::OperatorApp;
use super::auth::Caller;
use super::patch::Patch;
use super::refusal::Refusal;
use crate::config::settings::RoomSettings;

/// A room at one glance.
#[derive(Debug, Serialize)]
struct RoomView {
    room: RoomName,
    status: RoomStatus,
    /// `open`, `drain` or `closed`: what the operator asked for.
    mode: Mode,
    /// Grows with every change; the `ETag`.
    version: u64,
    new_users_per_minute: u32,
    total_active_users: u32,
    /// The same two as the settings file has them.
    configured: Limits,
    paused: Option<Paused>,
    message: Option<String>,
    waiting: u64,
    returning: u64,
    turns: u64,
    active: u64,
    /// Since the store began: turns given, entries, places given up, turns that lapsed.
    admitted: u64,
    entered: u64,
    abandoned: u64,
    lapsed: u64,
    queueing_method: Method,
    opens_at: Option<String>,
    closes_at: Option<String>,
    #[serde(rename = "match")]
    matches: Vec<String>,
    upstream: Vec<String>,
    /// RFC 3339, by the store's clock.
    as_of: String,
}

#[derive(Debug, Serialize)]
struct Limits {
    new_users_per_minute: u32,
    total_active_users: u32,
}

#[derive(Debug, Serialize)]
struct RoomList {
    rooms: Vec<RoomView>,
}

/// `GET /api/rooms`
pub(super) async fn list(State(app): State<OperatorApp>) -> Result<Response, Refusal> {
    let settings = app.settings.load_full();
    let looks = settings.rooms.values().map(|room| view(&app, room));
    let rooms = join_all(looks).await.into_iter().collect::<Result<_, _>>()?;
    Ok(Json(RoomList { rooms }).into_response())
}

/// `GET /api/rooms/NAME`
pub(super) async fn one(
    State(app): State<OperatorApp>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let room = find(&app, &name)?;
    Ok(answer(view(&app, &room).await?))
}

/// `PATCH /api/rooms/NAME`
pub(super) async fn change(
    State(app): State<OperatorApp>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let room = find(&app, &name)?;
    if !is_json(&headers) {
        return Err(Refusal::ContentType);
    }
    let patch = Patch::from_fields(&object(body)?, &room.rules)?;
    apply(&app, &room, &caller, &headers, patch).await
}

/// `POST /api/rooms/NAME/pause|resume|open|close|drain`
pub(super) async fn act(
    State(app): State<OperatorApp>,
    Extension(caller): Extension<Caller>,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let room = find(&app, &name)?;
    let fields = match body {
        Ok(body) if body.is_empty() => Map::new(),
        body => object(body)?,
    };
    let patch = Patch::from_action(&action, &fields)?;
    apply(&app, &room, &caller, &headers, patch).await
}

async fn apply(
    app: &OperatorApp,
    room: &RoomSettings,
    caller: &Caller,
    headers: &HeaderMap,
    Patch { change, asked, note }: Patch,
) -> Result<Response, Refusal> {
    let change = Change { if_version: if_version(headers)?, ..change };
    let control = app.calls.tune(room, &change).await?;
    let Caller(who) = caller;
    tracing::info!(
        target: "vestibule::audit",
        who,
        room = %room.name,
        version = control.version,
        asked,
        note = note.unwrap_or_default(),
        "an operator changed a room"
    );
    Ok(answer(view(app, room).await?))
}

fn find(app: &OperatorApp, name: &str) -> Result<Arc<RoomSettings>, Refusal> {
    let unknown = || Refusal::NoSuchRoom(name.chars().take(64).collect());
    let parsed: RoomName = name.parse().map_err(|_| unknown())?;
    app.settings.load().rooms.get(&parsed).cloned().ok_or_else(unknown)
}

async fn view(app: &OperatorApp, room: &RoomSettings) -> Result<RoomView, Refusal> {
    let survey = app.calls.survey(room).await?;
    let status = status(room, &survey);
    let Survey { head, counts, control, .. } = survey;
    let paused = control.paused.map(|pause| Paused { since: pause.since.to_rfc3339(), reason: pause.reason });
    Ok(RoomView {
        room: room.name.clone(),
        status,
        mode: control.mode,
        version: control.version,
        new_users_per_minute: control.new_users_per_minute,
        total_active_users: control.total_active_users,
        configured: Limits {
            new_users_per_minute: room.rules.new_users_per_minute,
            total_active_users: room.rules.total_active_users,
        },
        paused,
        message: control.message,
        waiting: counts.waiting,
        returning: counts.returning,
        turns: counts.turns,
        active: counts.active,
        admitted: counts.admitted,
        entered: counts.entered,
        abandoned: counts.abandoned,
        lapsed: counts.lapsed,
        queueing_method: room.rules.queueing_method,
        opens_at: room.rules.schedule.opens_at.map(Micros::to_rfc3339),
        closes_at: room.rules.schedule.closes_at.map(Micros::to_rfc3339),
        matches: room.matches.iter().map(|one| format!("{}{}", one.host, one.path)).collect(),
        upstream: room.upstream.iter().map(ToString::to_string).collect(),
        as_of: head.clock.to_rfc3339(),
    })
}

fn status(room: &RoomSettings, survey: &Survey) -> RoomStatus {
    let phase = room.rules.schedule.phase(survey.head.clock);
    if survey.control.mode == Mode::Closed
        || phase == Phase::Closed
        || room.rules.queueing_method == Method::Reject
    {
        RoomStatus::Closed
    } else if survey.control.paused.is_some() {
        RoomStatus::Paused
    } else if phase == Phase::Prequeue {
        RoomStatus::Prequeue
    } else if survey.counts.waiting + survey.counts.returning > 0 || room.rules.queue_all {
        RoomStatus::Queueing
    } else {
        RoomStatus::Open
    }
}

fn answer(view: RoomView) -> Response {
    let etag = format!("\"{}\"", view.version);
    (StatusCode::OK, [(header::ETAG, etag)], Json(view)).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    ["application/merge-patch+json", "application/json"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

fn object(body: Result<Bytes, BytesRejection>) -> Result<Map<String, Value>, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Broken,
    })?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Refusal::NotAnObject),
        Err(error) => Err(Refusal::NotJson(error.to_string())),
    }
}

fn if_version(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(given) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let given = given.to_str().map_err(|_| Refusal::IfMatch)?.trim();
    if given == "*" {
        return Ok(None);
    }
    let quoted = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.and_then(|version| version.parse().ok()).map(Some).ok_or(Refusal::IfMatch)
}
