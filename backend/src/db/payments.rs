//! Payments: each step of the saga is one transaction, with the outbox row that has the next one done.
//!
//! Locks are taken payment first, then hold, order, event.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use uuid::Uuid;

use super::fates::{self, Hold};
use super::orders::OrderNews;
use super::{Db, DbError, column, outbox};
use crate::payment::args::PaymentRules;
use crate::payment::gateway::{Amount, GatewayEvent};
use crate::payment::{Charge, PaymentStatus, Step, step};
use crate::sale::Status;

/// A payment and its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: Uuid,
    pub order: Uuid,
    pub status: PaymentStatus,
    pub order_status: Status,
    pub amount: Amount,
    pub traceparent: Option<String>,
    /// Whether the hold of the order lasts.
    pub on_hold: bool,
}

/// How a call for a payment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `first` is false when the same was asked before.
    Done {
        payment: Payment,
        first: bool,
    },
    /// No such order or payment belongs to the caller.
    Unknown,
    HoldExpired,
    NotPayable(Status),
}

/// What became of a word of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The payment stands like this now.
    Applied {
        now: PaymentStatus,
        changed: bool,
    },
    /// This event was taken before.
    Duplicate,
    UnknownPayment,
    /// The event is about another amount.
    OtherAmount,
}

/// The amount is that of the seats, or of so many tickets of the event.
const INTEND: &str = "INSERT INTO payments (order_id, event_id, user_id, amount_minor, currency, traceparent)
    SELECT o.id, o.event_id, o.user_id, coalesce(o.amount_minor, o.qty::bigint * e.price_minor), e.currency, $2
    FROM orders o JOIN events e ON e.id = o.event_id WHERE o.id = $1
    ON CONFLICT (order_id) WHERE status IN ('INTENT', 'AUTHORIZING', 'SUCCEEDED') DO NOTHING
    RETURNING id";

const ORDER_OF: &str = "SELECT status FROM orders WHERE id = $1 AND user_id = $2";

const LIVE_OF_ORDER: &str = "SELECT id FROM payments
    WHERE order_id = $1 AND status IN ('INTENT', 'AUTHORIZING', 'SUCCEEDED')";

const FIND: &str = "SELECT p.id, p.order_id, p.status, p.amount_minor, p.currency, p.traceparent,
        o.status AS order_status,
        EXISTS (SELECT 1 FROM holds h WHERE h.id = p.order_id AND h.expires_at > clock_timestamp()) AS on_hold
    FROM payments p JOIN orders o ON o.id = p.order_id
    WHERE p.id = $1 AND ($2::text IS NULL OR p.user_id = $2)";

const LOCK: &str = "SELECT order_id FROM payments WHERE id = $1 FOR UPDATE";

const SET_STATUS: &str = "UPDATE payments SET status = $2, updated_at = now() WHERE id = $1";

/// A payment that began in time may end in time.
const PAYING: &str =
    "WITH paying AS (UPDATE orders SET status = 'PAYING' WHERE id = $1 RETURNING id, event_id, user_id)
    UPDATE holds SET expires_at = greatest(expires_at, clock_timestamp() + $2 * interval '1 second')
    FROM paying WHERE holds.id = paying.id RETURNING paying.event_id, paying.user_id";

const TAKE_EVENT: &str = "INSERT INTO webhook_events (id) VALUES ($1) ON CONFLICT DO NOTHING";

/// Only an order that bought nothing: one that is paid by other means stays paid.
const SET_REFUNDED: &str = "UPDATE orders SET status = 'REFUNDED'
    WHERE id = $1 AND status IN ('EXPIRED', 'CANCELLED') RETURNING event_id, user_id";

const FORGET_EVENTS: &str = "DELETE FROM webhook_events WHERE id IN (
        SELECT id FROM webhook_events WHERE received_at < now() - $1 * interval '1 second'
        ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

impl Db {
    /// The one payment of an order on hold; made if there is none.
    pub async fn intend_payment(
        &self,
        order: Uuid,
        user_id: &str,
        traceparent: Option<&str>,
    ) -> Result<Asked, DbError> {
        self.transaction(async |transaction| {
            let hold = fates::lock_hold(transaction, order).await?;
            let Some(status) = order_of(transaction, order, user_id).await? else {
                return Ok(Asked::Unknown);
            };
            if let Some(payment) = live_payment(transaction, order).await? {
                return found(transaction, payment, user_id, false).await;
            }
            if let Err(refusal) = payable(hold, status) {
                return Ok(refusal);
            }
            let intend = transaction.prepare_cached(INTEND).await?;
            let row = transaction.query_one(&intend, &[&order, &traceparent]).await?;
            found(transaction, column(&row, "id")?, user_id, true).await
        })
        .await
    }

    /// Begins to pay: the order is `PAYING`, and the gateway will be asked for the money.
    pub async fn authorize_payment(
        &self,
        payment: Uuid,
        user_id: &str,
        rules: PaymentRules,
    ) -> Result<Asked, DbError> {
        self.transaction(async |transaction| {
            let Some(order) = lock(transaction, payment).await? else { return Ok(Asked::Unknown) };
            let hold = fates::lock_hold(transaction, order).await?;
            let Some(now) = find(transaction, payment, Some(user_id)).await? else {
                return Ok(Asked::Unknown);
            };
            if now.status != PaymentStatus::Intent {
                return Ok(Asked::Done { payment: now, first: false });
            }
            if let Err(refusal) = payable(hold, now.order_status) {
                return Ok(refusal);
            }
            begin(transaction, payment, order, rules.window).await?;
            found(transaction, payment, user_id, true).await
        })
        .await
    }

    /// A payment of this user, or of anybody.
    pub async fn payment(&self, payment: Uuid, user_id: Option<&str>) -> Result<Option<Payment>, DbError> {
        self.query(FIND, &[&payment, &user_id]).await?.first().map(payment_of).transpose()
    }

    /// Follows a word of the gateway that came by the webhook; the same event a second time changes nothing.
    pub async fn hear_event(&self, event: &GatewayEvent) -> Result<Heard, DbError> {
        self.transaction(async |transaction| {
            let Some(order) = lock(transaction, event.payment_id).await? else {
                return Ok(Heard::UnknownPayment);
            };
            // An event that is refused is not taken: the true one may have the same id.
            let payment = find(transaction, event.payment_id, None).await?;
            if payment.is_some_and(|payment| payment.amount != event.amount) {
                return Ok(Heard::OtherAmount);
            }
            let take = transaction.prepare_cached(TAKE_EVENT).await?;
            if transaction.execute(&take, &[&event.id]).await? == 0 {
                return Ok(Heard::Duplicate);
            }
            follow(transaction, event.payment_id, order, event.state).await
        })
        .await
    }

    /// Follows an answer of the gateway.
    pub async fn hear_answer(&self, payment: Uuid, charge: Charge) -> Result<Heard, DbError> {
        self.transaction(async |transaction| match lock(transaction, payment).await? {
            Some(order) => follow(transaction, payment, order, charge).await,
            None => Ok(Heard::UnknownPayment),
        })
        .await
    }

    /// Deletes events that are too old to be delivered again; says how many.
    pub async fn forget_webhook_events(&self, older_than: Duration, batch: u32) -> Result<u64, DbError> {
        self.transaction(async |transaction| {
            let statement = transaction.prepare_cached(FORGET_EVENTS).await?;
            Ok(transaction.execute(&statement, &[&older_than.as_secs_f64(), &i64::from(batch)]).await?)
        })
        .await
    }
}

/// The payment is locked. What it becomes is decided with its hold in hand.
async fn follow(
    transaction: &Transaction<'_>,
    payment: Uuid,
    order: Uuid,
    charge: Charge,
) -> Result<Heard, DbError> {
    let hold = fates::lock_hold(transaction, order).await?;
    let Some(before) = find(transaction, payment, None).await? else { return Ok(Heard::UnknownPayment) };
    let now = match step(before.status, charge) {
        Step::Stay => return Ok(Heard::Applied { now: before.status, changed: false }),
        Step::Sell if hold == Hold::Live => {
            fates::sell(transaction, order).await?;
            PaymentStatus::Succeeded
        }
        Step::Sell | Step::Refund => PaymentStatus::Refunding,
        Step::GiveBack(end) => {
            let gone = if hold == Hold::Over { Status::Expired } else { Status::Cancelled };
            fates::give_back(transaction, order, gone).await?;
            end
        }
        Step::Refunded => {
            refunded(transaction, order).await?;
            PaymentStatus::Refunded
        }
    };
    set(transaction, payment, now).await?;
    Ok(Heard::Applied { now, changed: true })
}

async fn refunded(transaction: &Transaction<'_>, order: Uuid) -> Result<(), DbError> {
    // A hold that is left (its time over, or the gateway out of order) goes back first.
    fates::give_back(transaction, order, Status::Cancelled).await?;
    let statement = transaction.prepare_cached(SET_REFUNDED).await?;
    let Some(row) = transaction.query_opt(&statement, &[&order]).await? else { return Ok(()) };
    let (event_id, user_id) = (column(&row, "event_id")?, column(&row, "user_id")?);
    let news = OrderNews { order, event_id, user_id, status: Status::Refunded };
    outbox::tell_orders(transaction, &[news]).await
}

/// Writes the status, and has the payment driven for as long as it is open.
async fn set(transaction: &Transaction<'_>, payment: Uuid, status: PaymentStatus) -> Result<(), DbError> {
    let statement = transaction.prepare_cached(SET_STATUS).await?;
    transaction.execute(&statement, &[&payment, &status.as_str()]).await?;
    if status.is_open() {
        outbox::drive(transaction, payment, Duration::ZERO).await
    } else {
        outbox::driven(transaction, payment).await
    }
}

async fn begin(
    transaction: &Transaction<'_>,
    payment: Uuid,
    order: Uuid,
    window: Duration,
) -> Result<(), DbError> {
    let paying = transaction.prepare_cached(PAYING).await?;
    let row = transaction.query_one(&paying, &[&order, &window.as_secs_f64()]).await?;
    let (event_id, user_id) = (column(&row, "event_id")?, column(&row, "user_id")?);
    let news = OrderNews { order, event_id, user_id, status: Status::Paying };
    outbox::tell_orders(transaction, &[news]).await?;
    set(transaction, payment, PaymentStatus::Authorizing).await
}

/// Whether an order can be paid by the gateway now.
const fn payable(hold: Hold, status: Status) -> Result<(), Asked> {
    match (hold, status) {
        (Hold::Live, Status::Hold) => Ok(()),
        (_, Status::Expired) | (Hold::Over | Hold::None, Status::Hold) => Err(Asked::HoldExpired),
        (_, status) => Err(Asked::NotPayable(status)),
    }
}

async fn order_of(
    transaction: &Transaction<'_>,
    order: Uuid,
    user_id: &str,
) -> Result<Option<Status>, DbError> {
    let statement = transaction.prepare_cached(ORDER_OF).await?;
    let row = transaction.query_opt(&statement, &[&order, &user_id]).await?;
    row.map(|row| parsed(&row, "status")).transpose()
}

async fn live_payment(transaction: &Transaction<'_>, order: Uuid) -> Result<Option<Uuid>, DbError> {
    let statement = transaction.prepare_cached(LIVE_OF_ORDER).await?;
    transaction.query_opt(&statement, &[&order]).await?.map(|row| column(&row, "id")).transpose()
}

/// The order of a payment, which is ours until the transaction ends.
async fn lock(transaction: &Transaction<'_>, payment: Uuid) -> Result<Option<Uuid>, DbError> {
    let statement = transaction.prepare_cached(LOCK).await?;
    transaction.query_opt(&statement, &[&payment]).await?.map(|row| column(&row, "order_id")).transpose()
}

async fn find(
    transaction: &Transaction<'_>,
    payment: Uuid,
    user_id: Option<&str>,
) -> Result<Option<Payment>, DbError> {
    let statement = transaction.prepare_cached(FIND).await?;
    transaction.query_opt(&statement, &[&payment, &user_id]).await?.as_ref().map(payment_of).transpose()
}

async fn found(
    transaction: &Transaction<'_>,
    payment: Uuid,
    user_id: &str,
    first: bool,
) -> Result<Asked, DbError> {
    let found = find(transaction, payment, Some(user_id)).await?;
    Ok(found.map_or(Asked::Unknown, |payment| Asked::Done { payment, first }))
}

fn payment_of(row: &Row) -> Result<Payment, DbError> {
    Ok(Payment {
        id: column(row, "id")?,
        order: column(row, "order_id")?,
        status: parsed(row, "status")?,
        order_status: parsed(row, "order_status")?,
        amount: Amount { amount_minor: column(row, "amount_minor")?, currency: column(row, "currency")? },
        traceparent: column(row, "traceparent")?,
        on_hold: column(row, "on_hold")?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row, name: &str) -> Result<T, DbError> {
    column::<&str>(row, name)?.parse().map_err(|error: T::Err| DbError::Row(error.to_string()))
}
