//! Drives open payments to their end: asks the gateway, follows its answer, asks again.
//!
//! An errand of the outbox stands for an open payment. The gateway's webhook usually ends it first; when the gateway is
//! silent, this finds out how the charge stands, calls it off when the hold is over, and has late money sent back.

use std::sync::Arc;
use std::time::Duration;

use traces::{Context, Kind, Span};
use uuid::Uuid;

use super::args::PaymentRules;
use super::gateway::{Gateway, GatewayError};
use super::{Charge, PaymentStatus};
use crate::db::outbox::Errand;
use crate::db::payments::{Heard, Payment};
use crate::db::{Db, DbError};
use crate::metrics;

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What a worker needs to run errands.
#[derive(Debug, Clone)]
pub struct Driver {
    pub db: Db,
    pub gateway: Arc<Gateway>,
    pub rules: PaymentRules,
}

#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Database(#[from] DbError),
}

impl Driver {
    /// One try of one errand. What fails is tried again, later each time.
    pub async fn run(&self, errand: &Errand) -> Result<(), DbError> {
        match self.drive(errand.payment).await {
            // The last step has taken the errand away.
            Ok(false) => Ok(()),
            Ok(true) => self.db.errand_later(errand.id, self.rules.ask_after).await,
            Err(error) => self.failed(errand, &error).await,
        }
    }

    /// Says whether the payment is still open.
    async fn drive(&self, id: Uuid) -> Result<bool, DriveError> {
        let Some(payment) = self.db.payment(id, None).await? else { return Ok(false) };
        let parent = payment.traceparent.as_deref().and_then(|line| Context::parse(line.as_bytes()));
        let span = parent.map(|parent| Span::continued(parent, Kind::Consumer, "outbox: payment"));
        let trace = span.as_ref().map(Span::context);
        let Some(charge) = self.ask(&payment, trace).await? else { return Ok(false) };
        let heard = self.db.hear_answer(id, charge).await?;
        record(id, charge, heard);
        Ok(matches!(heard, Heard::Applied { now, .. } if now.is_open()))
    }

    /// `None` if there is nothing to ask.
    async fn ask(&self, payment: &Payment, trace: Option<Context>) -> Result<Option<Charge>, GatewayError> {
        let (id, amount) = (payment.id, &payment.amount);
        match payment.status {
            PaymentStatus::Authorizing if payment.on_hold => {
                self.gateway.charge(id, amount, trace).await.map(Some)
            }
            PaymentStatus::Authorizing => self.gateway.void(id, amount, trace).await.map(Some),
            PaymentStatus::Refunding => self.gateway.refund(id, amount, trace).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn failed(&self, errand: &Errand, error: &DriveError) -> Result<(), DbError> {
        let after = back_off(errand.attempts);
        let most = i32::from(self.rules.max_attempts);
        let dead = self.db.errand_failed(errand.id, after, &error.to_string(), most).await?;
        let (payment, attempts) = (errand.payment, errand.attempts + 1);
        if dead {
            tracing::error!(paymentId = %payment, attempts, error = %error, "payment given up; see /admin/outbox");
        } else {
            tracing::warn!(paymentId = %payment, attempts, error = %error, "payment to be tried again");
        }
        Ok(())
    }
}

/// Twice as long after each failure.
fn back_off(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(LAST_RETRY)
}

/// Metrics and the log line of a word of the gateway.
pub fn record(payment: Uuid, charge: Charge, heard: Heard) {
    let Heard::Applied { now, changed: true } = heard else { return };
    let result = match now {
        PaymentStatus::Succeeded => {
            metrics::attempted(metrics::Outcome::Paid);
            "paid"
        }
        PaymentStatus::Failed => "failed",
        PaymentStatus::Cancelled => "cancelled",
        PaymentStatus::Refunding => "refunding",
        PaymentStatus::Refunded => "refunded",
        PaymentStatus::Intent | PaymentStatus::Authorizing => return,
    };
    metrics::payment(result);
    tracing::info!(paymentId = %payment, charge = ?charge, result = %now, "payment");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_later_each_time_and_never_later_than_a_minute() {
        let waits: Vec<u128> = [0, 1, 2, 8, 40].map(|failures| back_off(failures).as_millis()).into();
        assert_eq!(waits, [250, 500, 1000, 60_000, 60_000]);
    }
}
