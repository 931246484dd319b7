//! Seat maps: the whole map, and the stream of its changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Segment, Shop};
use crate::db::seats::{Seat, SeatMap};
use crate::db::{Db, DbError};
use crate::error::Error;
use crate::passes::Caller;
use crate::sale::EventId;

/// A map is read from the tables at most this often, whatever the crowd; the stream tells what changed since.
const FRESH: Duration = Duration::from_millis(250);
/// Maps kept at once.
const MOST_MAPS: usize = 64;

/// The latest map of each event, as it is sent.
#[derive(Debug, Default)]
pub struct Maps(Mutex<HashMap<EventId, Arc<Slot>>>);

type Slot = tokio::sync::Mutex<Option<(Instant, Bytes)>>;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SeatMap)]
struct MapView<'a> {
    event_id: &'a str,
    seated: bool,
    /// For `?since=` of the stream.
    version: i64,
    currency: &'a str,
    sections: Vec<SectionView<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Section)]
struct SectionView<'a> {
    name: &'a str,
    rows: Vec<RowView<'a>>,
}

/// Seats side by side at one price.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Row)]
struct RowView<'a> {
    name: &'a str,
    price_minor: i32,
    seats: Vec<SeatView<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Seat)]
struct SeatView<'a> {
    id: &'a str,
    number: i32,
    status: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Since {
    /// The version of the map that the caller has.
    since: Option<i64>,
}

#[utoipa::path(
    get,
    path = "/api/events/{id}/seats",
    operation_id = "showSeatMap",
    tag = "seats",
    description = "The seat map.",
    params(("id" = String, Path, description = "of the event")),
    responses((status = 200, description = "Done", body = MapView), super::openapi::Problems),
)]
pub(super) async fn map(State(shop): State<Arc<Shop>>, _: Caller, id: Segment) -> Result<Response, Error> {
    let event_id: EventId = id?.parse()?;
    let map = shop.maps.map(&shop.db, &event_id).await?.ok_or(Error::UnknownEvent)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, map).into_response())
}

/// Server-sent events; `Last-Event-ID` resumes after a break.
#[utoipa::path(
    get,
    path = "/api/events/{id}/seats/stream",
    operation_id = "followSeatMap",
    tag = "seats",
    description = "Changes of the map as server-sent events: ready, seats, reset.",
    params(("id" = String, Path, description = "of the event"), ("since" = Option<i64>, Query, description = "the version of the map that the caller has"), ("Last-Event-ID" = Option<String>, Header, description = "the last change that was seen")),
    responses((status = 200, description = "Done", body = String, content_type = "text/event-stream"), super::openapi::Problems),
)]
pub(super) async fn stream(
    State(shop): State<Arc<Shop>>,
    _: Caller,
    id: Segment,
    since: Result<Query<Since>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Query(Since { since }) = since?;
    let event = shop.find(&id?.0).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let changes = shop.seat_feed.follow(&shop.db, event.id, last.or(since)).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(changes)).into_response())
}

impl Maps {
    /// `None` if there is no such event. Whoever comes while the map is being read waits for it.
    async fn map(&self, db: &Db, event_id: &EventId) -> Result<Option<Bytes>, DbError> {
        let slot = self.slot(event_id);
        let mut kept = slot.lock().await;
        if let Some((read_at, map)) = &*kept
            && read_at.elapsed() < FRESH
        {
            return Ok(Some(map.clone()));
        }
        let Some(map) = db.seat_map(event_id).await? else { return Ok(None) };
        let map = encode(event_id, &map)?;
        *kept = Some((Instant::now(), map.clone()));
        Ok(Some(map))
    }

    fn slot(&self, event_id: &EventId) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST_MAPS && !slots.contains_key(event_id) {
            slots.clear();
        }
        Arc::clone(slots.entry(event_id.clone()).or_default())
    }
}

fn encode(event_id: &EventId, map: &SeatMap) -> Result<Bytes, DbError> {
    let view = MapView {
        event_id: event_id.as_str(),
        seated: !map.seats.is_empty(),
        version: map.version,
        currency: &map.currency,
        sections: map.seats.chunk_by(|a, b| a.section == b.section).filter_map(section).collect(),
    };
    let text = serde_json::to_vec(&view).map_err(|error| DbError::Row(error.to_string()))?;
    Ok(text.into())
}

fn section(seats: &[Seat]) -> Option<SectionView<'_>> {
    let rows = seats.chunk_by(|a, b| (&a.row, a.price_minor) == (&b.row, b.price_minor));
    Some(SectionView { name: &seats.first()?.section, rows: rows.filter_map(row).collect() })
}

fn row(seats: &[Seat]) -> Option<RowView<'_>> {
    let first = seats.first()?;
    let views = seats.iter().map(|seat| SeatView { id: &seat.id, number: seat.number, status: &seat.status });
    Some(RowView { name: &first.row, price_minor: first.price_minor, seats: views.collect() })
}
