//! Every failure of a request, and what the outside sees of it: one place.

use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use room::token::TokenError;

use crate::db::DbError;
use crate::payment::signature::SignatureError;
use crate::sale::SaleError;
use crate::seats::SeatIdError;

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body is not the JSON that this call takes: {0}")]
    BadJson(String),
    #[error("the body has more than {0} bytes")]
    BodyTooLarge(usize),
    #[error("the body did not arrive: {0}")]
    BodyCut(String),
    #[error(transparent)]
    Sale(#[from] SaleError),
    #[error("the key was used for another purchase; take a new one")]
    KeyReused,
    #[error("the purchase with this key is still being made; ask again")]
    InFlight,
    #[error("the query cannot be read: {0}")]
    BadQuery(#[from] QueryRejection),
    #[error("the sale is closed; it opens again at the time of `Retry-After`")]
    SaleClosed { opens_in: Duration },
    #[error("this event is not practised: it has one sale and no ranking")]
    NotPractised,
    #[error("no event has this id")]
    UnknownEvent,
    #[error("you have no order of this id")]
    UnknownOrder,
    #[error("nothing is here")]
    NotFound,
    #[error("the address cannot be read: {0}")]
    BadPath(#[from] PathRejection),
    #[error("this address does not take this method")]
    Method,
    #[error("the hold has expired and its tickets are on sale again; buy anew")]
    HoldExpired,
    #[error("an order that is {0} cannot be paid")]
    NotPayable(crate::sale::Status),
    #[error("an order that is {0} stays as it is")]
    NotChangeable(crate::sale::Status),
    #[error("the hold lasts as long as a hold may; buy now")]
    HeldLongEnough,
    #[error("`holdSeconds` is {asked}; a hold lasts 1 to {max}")]
    BadHoldSeconds { asked: i64, max: u64 },
    #[error("the order cannot be read: {0}")]
    BadOrder(&'static str),
    #[error("{0}")]
    BadSeatId(#[from] SeatIdError),
    #[error("the event has no such seats: {}", .0.join(", "))]
    UnknownSeats(Vec<String>),
    #[error("somebody was faster; choose other seats than {}", .0.join(", "))]
    SeatsTaken(Vec<String>),
    #[error("only {remaining} are left")]
    OutOfStock { remaining: u32 },
    #[error("you have {has} seats of this event; {max} is the most, so give some back first")]
    VisitorLimit { has: u32, max: u32 },
    #[error("you hold no such seat")]
    UnknownReservation,
    #[error("you have no payment of this id")]
    UnknownPayment,
    #[error("the message is not taken for one of the gateway: {0}")]
    BadSignature(#[from] SignatureError),
    #[error("the payment is of another amount")]
    OtherAmount,
    #[error("say who you are: `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("say who you are in `X-User-Id` (1 to 64 visible ASCII characters)")]
    NoUser,
    #[error("come through the waiting room: no `Vestibule-Pass`")]
    NoPass,
    #[error("the `Vestibule-Pass` is not accepted: {0}")]
    BadPass(#[from] TokenError),
    #[error("the pass is for another room")]
    OtherRoom,
    #[error("the keys of passes are not known yet; ask again")]
    NoKeys,
    #[error("this call opens a WebSocket: {0}")]
    Upgrade(#[from] WebSocketUpgradeRejection),
    #[error("no room for another socket; try later, the page works without")]
    SocketsFull,
    #[error("{}", database_detail(.0))]
    Database(#[from] DbError),
}

/// A problem in the shape of RFC 9457, before its trace id is known.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    /// Kebab case; the end of the `type`.
    pub code: &'static str,
    pub detail: String,
    pub retry_after_secs: Option<u32>,
}

impl Error {
    fn outside(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadJson(_) => (StatusCode::BAD_REQUEST, "bad-json"),
            Self::BadQuery(_) => (StatusCode::BAD_REQUEST, "bad-query"),
            Self::BodyCut(_) => (StatusCode::BAD_REQUEST, "body-cut"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            Self::Sale(SaleError::Qty { .. }) => (StatusCode::BAD_REQUEST, "bad-qty"),
            Self::Sale(SaleError::KeyMissing) => (StatusCode::BAD_REQUEST, "idempotency-key-missing"),
            Self::Sale(SaleError::KeyTooLong(_)) => (StatusCode::BAD_REQUEST, "idempotency-key-too-long"),
            Self::Sale(SaleError::KeyUnreadable) => (StatusCode::BAD_REQUEST, "idempotency-key-unreadable"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
            Self::InFlight => (StatusCode::CONFLICT, "in-flight"),
            Self::Sale(SaleError::EventId) | Self::UnknownEvent => (StatusCode::NOT_FOUND, "unknown-event"),
            Self::SaleClosed { .. } => (StatusCode::CONFLICT, "sale-closed"),
            Self::NotPractised => (StatusCode::NOT_FOUND, "not-practised"),
            Self::UnknownOrder => (StatusCode::NOT_FOUND, "unknown-order"),
            Self::BadPath(_) => (StatusCode::NOT_FOUND, "bad-path"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::HoldExpired => (StatusCode::GONE, "hold-expired"),
            Self::NotPayable(_) => (StatusCode::CONFLICT, "not-payable"),
            Self::NotChangeable(_) => (StatusCode::CONFLICT, "not-changeable"),
            Self::HeldLongEnough => (StatusCode::CONFLICT, "extension-limit"),
            Self::BadHoldSeconds { .. } => (StatusCode::BAD_REQUEST, "bad-hold-seconds"),
            Self::BadOrder(_) => (StatusCode::BAD_REQUEST, "bad-order"),
            Self::BadSeatId(_) | Self::UnknownSeats(_) => (StatusCode::NOT_FOUND, "unknown-seat"),
            Self::SeatsTaken(_) => (StatusCode::CONFLICT, "RESERVATION_CONFLICT"),
            Self::OutOfStock { .. } => (StatusCode::CONFLICT, "out-of-stock"),
            Self::VisitorLimit { .. } => (StatusCode::TOO_MANY_REQUESTS, "visitor-limit"),
            Self::UnknownReservation => (StatusCode::NOT_FOUND, "unknown-reservation"),
            Self::UnknownPayment => (StatusCode::NOT_FOUND, "unknown-payment"),
            Self::BadSignature(_) => (StatusCode::UNAUTHORIZED, "bad-signature"),
            Self::OtherAmount => (StatusCode::UNPROCESSABLE_ENTITY, "amount-mismatch"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no-token"),
            Self::NoUser => (StatusCode::UNAUTHORIZED, "no-user"),
            Self::NoPass => (StatusCode::UNAUTHORIZED, "no-pass"),
            Self::BadPass(_) => (StatusCode::UNAUTHORIZED, "bad-pass"),
            Self::OtherRoom => (StatusCode::FORBIDDEN, "other-room"),
            Self::NoKeys => (StatusCode::SERVICE_UNAVAILABLE, "no-keys"),
            Self::Upgrade(_) => (StatusCode::BAD_REQUEST, "not-a-websocket"),
            Self::SocketsFull => (StatusCode::SERVICE_UNAVAILABLE, "sockets-full"),
            Self::Database(error) => database_outside(error),
        }
    }

    fn retry_after_secs(&self) -> Option<u32> {
        match self {
            Self::InFlight | Self::NoKeys => Some(1),
            Self::SocketsFull | Self::VisitorLimit { .. } => Some(10),
            Self::SaleClosed { opens_in } => Some(whole_secs(*opens_in)),
            Self::Database(error) => match error.cause() {
                DbError::SaleClosed { opens_in_ms } => Some(whole_secs(Duration::from_millis(*opens_in_ms))),
                error => error.may_pass().then_some(2),
            },
            _ => None,
        }
    }
}

/// Rounded up: who waits for so long does not come too early.
fn whole_secs(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

fn database_outside(error: &DbError) -> (StatusCode, &'static str) {
    match error.cause() {
        DbError::Busy | DbError::LockTimeout | DbError::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        DbError::Slow | DbError::Unreachable(_) | DbError::Tls { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "database-unavailable")
        }
        DbError::SaleClosed { .. } => (StatusCode::CONFLICT, "sale-closed"),
        DbError::Refused(_) | DbError::Row(_) | DbError::OfGroup(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

/// What a buyer is told; the log has the cause.
fn database_detail(error: &DbError) -> &'static str {
    match error.cause() {
        DbError::Busy | DbError::LockTimeout | DbError::Crowded => {
            "too many are buying at this moment; repeat the call with the same key"
        }
        DbError::Slow | DbError::Unreachable(_) | DbError::Tls { .. } => {
            "the sale cannot be reached at this moment; repeat the call with the same key"
        }
        DbError::SaleClosed { .. } => "the sale is closed; it opens again at the time of `Retry-After`",
        DbError::Refused(_) | DbError::Row(_) | DbError::OfGroup(_) => "something is wrong on our side",
    }
}

impl IntoResponse for Error {
    /// The status and a [`Problem`] among the extensions, which `trace::answer` writes out with its trace id.
    fn into_response(self) -> Response {
        let (status, code) = self.outside();
        if let Self::Database(cause) = &self {
            tracing::warn!(error = %cause, code, "database call failed");
        }
        let problem =
            Problem { status, code, detail: self.to_string(), retry_after_secs: self.retry_after_secs() };
        let mut response = status.into_response();
        response.extensions_mut().insert(problem);
        response
    }
}
