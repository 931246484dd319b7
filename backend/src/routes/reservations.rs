//! One seat at a time, named by event and seat. A reservation is an order; what is done to one of its seats is done
//! to all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use room::time::Micros;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::orders::{created, record};
use super::{Segment, Shop};
use crate::db::placing::{Order, What, Wish};
use crate::db::reservations::Holder;
use crate::error::Error;
use crate::passes::Caller;
use crate::payment::gateway::Amount;
use crate::sale::{EventId, Status};
use crate::seats::SeatId;

/// A hold may be extended to so many times its usual length.
const LONGEST: u32 = 3;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReservationRequest)]
struct Wanted {
    event_id: String,
    seat_id: String,
    #[schema(minimum = 1)]
    hold_seconds: Option<i64>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ExtensionRequest)]
struct Longer {
    #[schema(minimum = 1)]
    hold_seconds: Option<i64>,
}

/// Event and seat.
type Place = Result<Path<(String, String)>, PathRejection>;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reservation)]
struct ReservationView {
    reservation_id: Uuid,
    order_id: Uuid,
    event_id: String,
    seat_id: Option<String>,
    seat_ids: Vec<String>,
    status: Status,
    expires_at: Option<String>,
    #[serde(flatten)]
    amount: Amount,
}

#[utoipa::path(
    post,
    path = "/api/reservations",
    operation_id = "reserveSeat",
    tag = "reservations",
    description = "Puts one seat on hold.",
    request_body = Wanted,
    responses((status = 201, description = "On hold", body = ReservationView), super::openapi::Problems),
)]
pub(super) async fn reserve(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    body: Body,
) -> Result<Response, Error> {
    let started = Instant::now();
    let user_id = caller.buyer()?;
    let wanted: Wanted = super::json(body).await?;
    let hold_ttl = shop.hold_ttl(wanted.hold_seconds)?;
    let (event_id, seat) = (wanted.event_id.parse()?, wanted.seat_id.parse()?);
    let wish = Wish { event_id, user_id, what: What::Seats(vec![seat]), hold_ttl, once: None };
    shop.within_hours(&wish.event_id, &wish.user_id, None).await?;
    let placed = shop.db.place(&wish, shop.rules).await;
    record(&wish, &placed, started);
    let (order, _) = shop.held(placed?, &wish.user_id)?;
    Ok(created(ReservationView::from(order)))
}

#[utoipa::path(
    get,
    path = "/api/reservations/{id}",
    operation_id = "showReservation",
    tag = "reservations",
    description = "A reservation as it stands.",
    params(("id" = String, Path, description = "of the reservation")),
    responses((status = 200, description = "Done", body = ReservationView), super::openapi::Problems),
)]
pub(super) async fn show(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    id: Segment,
) -> Result<Response, Error> {
    let id: Uuid = id?.parse().map_err(|_| Error::UnknownReservation)?;
    let order = shop.db.order(id, &caller.buyer()?).await?.ok_or(Error::UnknownReservation)?;
    Ok(shown(order))
}

#[utoipa::path(
    post,
    path = "/api/reservations/{id}/{seat}/confirm",
    operation_id = "confirmReservation",
    tag = "reservations",
    description = "Buys what is on hold, without a gateway.",
    params(("id" = String, Path, description = "of the event"), ("seat" = String, Path, description = "of the seat")),
    responses((status = 200, description = "Done", body = ReservationView), super::openapi::Problems),
)]
pub(super) async fn confirm(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    place: Place,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let order = shop.own(place, &user_id).await?;
    shop.kept(shop.db.confirm(order, &user_id).await?, &user_id).map(shown)
}

#[utoipa::path(
    post,
    path = "/api/reservations/{id}/{seat}/extend",
    operation_id = "extendReservation",
    tag = "reservations",
    description = "Holds it longer.",
    params(("id" = String, Path, description = "of the event"), ("seat" = String, Path, description = "of the seat")),
    request_body = Option<Longer>,
    responses((status = 200, description = "Done", body = ReservationView), super::openapi::Problems),
)]
pub(super) async fn extend(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    place: Place,
    body: Body,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let body = super::whole(body).await?;
    let longer: Longer = if body.is_empty() {
        Longer::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Error::BadJson(error.to_string()))?
    };
    let ttl = shop.hold_ttl(longer.hold_seconds)?;
    let order = shop.own(place, &user_id).await?;
    let longest = shop.rules.hold_ttl.saturating_mul(LONGEST);
    shop.kept(shop.db.extend(order, &user_id, ttl, longest).await?, &user_id).map(shown)
}

#[utoipa::path(
    delete,
    path = "/api/reservations/{id}/{seat}",
    operation_id = "cancelReservation",
    tag = "reservations",
    description = "Gives it back.",
    params(("id" = String, Path, description = "of the event"), ("seat" = String, Path, description = "of the seat")),
    responses((status = 200, description = "Done", body = ReservationView), super::openapi::Problems),
)]
pub(super) async fn cancel(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    place: Place,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let order = shop.own(place, &user_id).await?;
    shop.kept(shop.db.cancel(order, &user_id).await?, &user_id).map(shown)
}

impl Shop {
    /// What is asked for, at most as long as the operator lets a hold last.
    fn hold_ttl(&self, asked: Option<i64>) -> Result<Duration, Error> {
        let max = self.rules.hold_ttl.as_secs();
        match asked.map(|asked| (asked, u64::try_from(asked))) {
            None => Ok(self.rules.hold_ttl),
            Some((_, Ok(seconds))) if (1..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
            Some((asked, _)) => Err(Error::BadHoldSeconds { asked, max }),
        }
    }

    /// The caller's order with this seat.
    async fn own(&self, place: Place, user_id: &str) -> Result<Uuid, Error> {
        let Path((event, seat)) = place?;
        let (event, seat): (EventId, SeatId) = (event.parse()?, seat.parse()?);
        match self.db.holder(&event, &seat, user_id).await? {
            Some(Holder::Caller(order)) => Ok(order),
            Some(Holder::Other) => Err(Error::SeatsTaken(vec![seat.to_string()])),
            Some(Holder::Nobody) => Err(Error::UnknownReservation),
            None => Err(Error::UnknownSeats(vec![seat.to_string()])),
        }
    }
}

fn shown(order: Order) -> Response {
    use axum::response::IntoResponse as _;
    let is_paid = order.status == Status::Paid;
    let view = axum::Json(ReservationView::from(order));
    let answer = ([(axum::http::header::CACHE_CONTROL, "no-store")], view).into_response();
    if is_paid { super::paid(answer) } else { answer }
}

impl From<Order> for ReservationView {
    fn from(order: Order) -> Self {
        let Order { id, event_id, status, seats, amount, hold_expires_at, .. } = order;
        Self {
            reservation_id: id,
            order_id: id,
            event_id,
            seat_id: seats.first().cloned(),
            seat_ids: seats,
            status,
            expires_at: hold_expires_at.map(|at| Micros::from(at).to_rfc3339()),
            amount,
        }
    }
}
