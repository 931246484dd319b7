//! Orders: named seats, the best that are left, or so many tickets; all or nothing, once a key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use room::time::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::facts::EventFacts;
use super::purchase::{key, millis};
use super::{Segment, Shop};
use crate::db::DbError;
use crate::db::orders::{Attempt, Attempted, OrderNews};
use crate::db::placing::{Order, Placed, What, Wish};
use crate::db::reservations::Kept;
use crate::error::Error;
use crate::metrics;
use crate::passes::Caller;
use crate::sale::{EventId, IdempotencyKey, Qty, SaleError, Status};
use crate::seats::SeatId;

/// Either `seatIds` or `qty`. The order of its fields is part of the hash by which a repeated key is compared.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = OrderRequest)]
struct Wanted {
    event_id: String,
    #[serde(default)]
    #[schema(minimum = 1)]
    qty: Option<i64>,
    #[serde(default)]
    #[schema(min_items = 1)]
    seat_ids: Option<Vec<String>>,
    #[serde(default)]
    section: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Order)]
pub(super) struct OrderView {
    order_id: Uuid,
    event_id: String,
    status: Status,
    qty: u32,
    seat_ids: Vec<String>,
    #[serde(flatten)]
    amount: crate::payment::gateway::Amount,
    remaining: u32,
    hold_expires_at: Option<String>,
}

#[utoipa::path(
    post,
    path = "/api/orders",
    operation_id = "placeOrder",
    tag = "orders",
    description = "Puts tickets or named seats on hold, all or none, once a key.",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters; repeated only to retry", min_length = 1, max_length = 255)),
    request_body = Wanted,
    responses((status = 201, description = "On hold; a replay hears the first result", body = OrderView), super::openapi::Problems),
)]
pub(super) async fn place(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let started = Instant::now();
    let user_id = caller.buyer()?;
    let key = key(&headers)?;
    let wanted: Wanted = super::json(body).await?;
    let wish = wanted.into_wish(user_id, key, &shop)?;
    shop.within_hours(&wish.event_id, &wish.user_id, wish.once.as_ref().map(|(key, _)| key)).await?;
    let placed = shop.place(&wish).await;
    record(&wish, &placed, started);
    let (order, replayed) = shop.held(placed?, &wish.user_id)?;
    let mut answer = created(OrderView::from(order));
    if replayed {
        answer.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(answer)
}

#[utoipa::path(
    get,
    path = "/api/orders/{id}",
    operation_id = "showOrder",
    tag = "orders",
    description = "An order as it stands.",
    params(("id" = String, Path, description = "of the order")),
    responses((status = 200, description = "Done", body = OrderView), super::openapi::Problems),
)]
pub(super) async fn show(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    id: Segment,
) -> Result<Response, Error> {
    let id: Uuid = id?.parse().map_err(|_| Error::UnknownOrder)?;
    let order = shop.db.order(id, &caller.buyer()?).await?.ok_or(Error::UnknownOrder)?;
    Ok(shown(OrderView::from(order)))
}

#[utoipa::path(
    delete,
    path = "/api/orders/{id}",
    operation_id = "cancelOrder",
    tag = "orders",
    description = "Gives back what is on hold.",
    params(("id" = String, Path, description = "of the order")),
    responses((status = 200, description = "Done", body = OrderView), super::openapi::Problems),
)]
pub(super) async fn cancel(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    id: Segment,
) -> Result<Response, Error> {
    let user_id = caller.buyer()?;
    let id: Uuid = id?.parse().map_err(|_| Error::UnknownOrder)?;
    let order = shop.kept(shop.db.cancel(id, &user_id).await?, &user_id)?;
    Ok(shown(OrderView::from(order)))
}

impl Wanted {
    fn into_wish(mut self, user_id: String, key: IdempotencyKey, shop: &Shop) -> Result<Wish, Error> {
        // The same seats in another order are the same seats.
        self.seat_ids.iter_mut().for_each(|seats| seats.sort_unstable());
        let max = shop.rules.max_qty;
        let once = Some((key, self.hash()));
        let event_id: EventId = self.event_id.parse()?;
        let what = match (self.qty, self.seat_ids) {
            (Some(qty), None) => What::Tickets { qty: Qty::new(qty, max)?, section: self.section },
            (None, Some(_)) if self.section.is_some() => {
                return Err(Error::BadOrder("`section` goes with `qty`; seats have their own"));
            }
            (None, Some(seats)) => What::Seats(different(&seats, max)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::BadOrder("say either `qty` or `seatIds`"));
            }
        };
        if let What::Tickets { section: Some(section), .. } = &what
            && (section.len() > SeatId::MAX_BYTES || section.contains('\0'))
        {
            return Err(Error::BadOrder("no `section` has such a name"));
        }
        Ok(Wish { event_id, user_id, what, hold_ttl: shop.rules.hold_ttl, once })
    }

    /// Of what was understood, not of how it was written.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

/// Ids of 1 to `max` seats, none twice.
fn different(seats: &[String], max: u32) -> Result<Vec<SeatId>, Error> {
    let asked = i64::try_from(seats.len()).unwrap_or(i64::MAX);
    Qty::new(asked, max).map_err(|_| SaleError::Qty { asked, max })?;
    let mut ids = seats.iter().map(|seat| seat.parse()).collect::<Result<Vec<SeatId>, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() == seats.len() { Ok(ids) } else { Err(Error::BadOrder("a seat is named twice")) }
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let Order { id, event_id, status, qty, seats, amount, remaining, hold_expires_at } = order;
        let hold_expires_at = hold_expires_at.map(|at| Micros::from(at).to_rfc3339());
        Self { order_id: id, event_id, status, qty, seat_ids: seats, amount, remaining, hold_expires_at }
    }
}

impl OrderView {
    pub(super) fn is_paid(&self) -> bool {
        self.status == Status::Paid
    }
}

impl Shop {
    /// What is sold by number is sold at the counter, with everybody who wants it at this moment.
    async fn place(&self, wish: &Wish) -> Result<Placed, DbError> {
        if let (What::Tickets { qty, section: None }, Some((key, _))) = (&wish.what, &wish.once) {
            match self.facts.of(&self.db, &wish.event_id).await? {
                None => return Ok(Placed::UnknownEvent),
                Some(facts) if !facts.seated => {
                    let (event_id, user_id) = (wish.event_id.clone(), wish.user_id.clone());
                    let attempt = Attempt { event_id, user_id, qty: *qty, key: key.clone() };
                    return self.place_at_counter(attempt, &facts).await;
                }
                Some(_) => {}
            }
        }
        self.db.place(wish, self.rules).await
    }

    async fn place_at_counter(&self, attempt: Attempt, facts: &EventFacts) -> Result<Placed, DbError> {
        Ok(match self.counter.purchase(attempt.clone()).await? {
            Attempted::Held { order, remaining, expires_at, replayed } => {
                let (event_id, qty) = (attempt.event_id.as_str(), attempt.qty.get());
                if !replayed {
                    self.tell(order, event_id, &attempt.user_id, Status::Hold);
                }
                let order = Order {
                    id: order,
                    event_id: event_id.to_owned(),
                    status: Status::Hold,
                    qty,
                    seats: Vec::new(),
                    amount: facts.amount(qty),
                    remaining,
                    hold_expires_at: Some(expires_at),
                };
                Placed::Held { order, replayed }
            }
            Attempted::OutOfStock { remaining, .. } => Placed::OutOfStock { remaining },
            Attempted::InFlight => Placed::InFlight,
            Attempted::OtherBody => Placed::OtherBody,
            Attempted::UnknownEvent => Placed::UnknownEvent,
        })
    }

    /// The order and whether it is a replay; its owner's sockets hear of it if it is new.
    pub(super) fn held(&self, placed: Placed, user_id: &str) -> Result<(Order, bool), Error> {
        match placed {
            Placed::Held { order, replayed } => {
                if !replayed {
                    self.told(&order, user_id);
                }
                Ok((order, replayed))
            }
            Placed::SeatsTaken(seats) => Err(Error::SeatsTaken(seats)),
            Placed::OutOfStock { remaining } => Err(Error::OutOfStock { remaining }),
            Placed::VisitorLimit { has } => Err(Error::VisitorLimit { has, max: self.rules.max_qty }),
            Placed::InFlight => Err(Error::InFlight),
            Placed::OtherBody => Err(Error::KeyReused),
            Placed::UnknownEvent => Err(Error::UnknownEvent),
            Placed::UnknownSeats(seats) => Err(Error::UnknownSeats(seats)),
        }
    }

    /// The order as it stands now, told to its owner's sockets.
    pub(super) fn kept(&self, kept: Kept, user_id: &str) -> Result<Order, Error> {
        match kept {
            Kept::Done(order) => {
                self.told(&order, user_id);
                match order.status {
                    Status::Paid => metrics::attempted(metrics::Outcome::Paid),
                    // Extended.
                    Status::Hold => {}
                    other => metrics::reservations(other, 1),
                }
                Ok(order)
            }
            Kept::Already(order) => Ok(order),
            Kept::Unknown => Err(Error::UnknownOrder),
            Kept::HoldExpired => Err(Error::HoldExpired),
            Kept::Not(status) => Err(Error::NotChangeable(status)),
            Kept::LongEnough => Err(Error::HeldLongEnough),
        }
    }

    /// Here at once, in other processes by the outbox.
    fn told(&self, order: &Order, user_id: &str) {
        let (event_id, user_id) = (order.event_id.clone(), user_id.to_owned());
        self.hub.hear(&OrderNews { order: order.id, event_id, user_id, status: order.status });
        self.bell.ring();
    }
}

pub(super) fn created(view: impl Serialize) -> Response {
    (StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
}

pub(super) fn shown(view: OrderView) -> Response {
    let is_paid = view.is_paid();
    let answer = ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response();
    if is_paid { super::paid(answer) } else { answer }
}

/// Metrics and the log line. A replay is logged and counts as no new attempt.
pub(super) fn record(wish: &Wish, placed: &Result<Placed, DbError>, started: Instant) {
    let (outcome, replayed) = match placed {
        Ok(Placed::Held { replayed, .. }) => (metrics::Outcome::Hold, *replayed),
        Ok(Placed::SeatsTaken(_) | Placed::OutOfStock { .. }) => (metrics::Outcome::Rejected, false),
        Ok(_) | Err(_) => (metrics::Outcome::Error, false),
    };
    if !replayed {
        metrics::attempted(outcome);
    }
    let took: Duration = started.elapsed();
    metrics::purchase_took(took);
    tracing::info!(
        eventId = wish.event_id.as_str(),
        userId = wish.user_id,
        qty = wish.what.count(),
        result = outcome.as_str(),
        replayed,
        latencyMs = millis(started),
        idempotencyKey = wish.once.as_ref().map(|(key, _)| key.as_str()),
        "order"
    );
}
