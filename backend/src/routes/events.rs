//! What is on sale.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use room::time::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use super::practice::PracticeView;
use super::{Segment, Shop};
use crate::db::events::Event;
use crate::error::Error;
use crate::passes::Caller;
use crate::payment::gateway::Amount;
use crate::sale::Stock;

#[derive(Serialize, ToSchema)]
struct EventList {
    events: Vec<EventView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
struct EventView {
    id: String,
    name: String,
    /// RFC 3339; when the event takes place.
    starts_at: Option<String>,
    max_qty: u32,
    /// Sold by named seat: see `/seats`.
    seated: bool,
    price_minor: i64,
    currency: String,
    /// Only of an event that is practised.
    #[serde(skip_serializing_if = "Option::is_none")]
    practice: Option<PracticeView>,
    #[serde(flatten)]
    stock: StockView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Availability {
    event_id: String,
    #[serde(flatten)]
    stock: StockView,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Stock)]
struct StockView {
    total: u32,
    held: u32,
    sold: u32,
    remaining: u32,
}

#[utoipa::path(
    get,
    path = "/api/events",
    operation_id = "listEvents",
    tag = "events",
    description = "What is on sale.",
    responses((status = 200, description = "Done", body = EventList), super::openapi::Problems),
)]
pub(super) async fn list(State(shop): State<Arc<Shop>>, _: Caller) -> Result<impl IntoResponse, Error> {
    let events = shop.db.events().await?.into_iter().map(|event| EventView::of(event, &shop)).collect();
    Ok(fresh(EventList { events }))
}

#[utoipa::path(
    get,
    path = "/api/events/{id}",
    operation_id = "showEvent",
    tag = "events",
    description = "One event.",
    params(("id" = String, Path, description = "of the event")),
    responses((status = 200, description = "Done", body = EventView), super::openapi::Problems),
)]
pub(super) async fn show(
    State(shop): State<Arc<Shop>>,
    _: Caller,
    id: Segment,
) -> Result<impl IntoResponse, Error> {
    let event = shop.find(&id?.0).await?;
    Ok(fresh(EventView::of(event, &shop)))
}

#[utoipa::path(
    get,
    path = "/api/events/{id}/availability",
    operation_id = "showAvailability",
    tag = "events",
    description = "Its stock.",
    params(("id" = String, Path, description = "of the event")),
    responses((status = 200, description = "Done", body = Availability), super::openapi::Problems),
)]
pub(super) async fn availability(
    State(shop): State<Arc<Shop>>,
    _: Caller,
    id: Segment,
) -> Result<impl IntoResponse, Error> {
    let Event { id, stock, .. } = shop.find(&id?.0).await?;
    Ok(fresh(Availability { event_id: id, stock: stock.into() }))
}

impl EventView {
    fn of(event: Event, shop: &Shop) -> Self {
        let Event { id, name, starts_at, stock, seated, price } = event;
        let starts_at = starts_at.map(|at| Micros::from(at).to_rfc3339());
        let Amount { amount_minor: price_minor, currency } = price;
        let max_qty = shop.rules.max_qty;
        let practice = shop.hours(&id);
        Self { id, name, starts_at, max_qty, seated, price_minor, currency, practice, stock: stock.into() }
    }
}

impl From<Stock> for StockView {
    fn from(stock: Stock) -> Self {
        let Stock { total, held, sold } = stock;
        Self { total, held, sold, remaining: stock.remaining() }
    }
}

fn fresh(body: impl Serialize) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}
