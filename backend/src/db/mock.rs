//! The ledger of the mock gateway. The box office itself never reads it.

use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Db, DbError, column};
use crate::payment::Charge;
use crate::payment::gateway::Amount;

/// What a charge becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Silent,
}

/// A charge whose state is to be told.
#[derive(Debug)]
pub struct Decided {
    pub payment: Uuid,
    pub state: Charge,
    pub state_name: String,
    pub amount: Amount,
    pub traceparent: Option<String>,
}

/// The first call decides; a repeated one tells.
const CHARGE: &str =
    "INSERT INTO mock_charges (payment_id, amount_minor, currency, state, outcome, due_at, traceparent)
    VALUES ($1, $2, $3, 'pending', $4, now() + $5 * interval '1 second', $6)
    ON CONFLICT (payment_id) DO UPDATE SET state = mock_charges.state RETURNING state";

const VOID: &str = "INSERT INTO mock_charges (payment_id, amount_minor, currency, state, outcome, due_at)
    VALUES ($1, $2, $3, 'cancelled', 'silent', now())
    ON CONFLICT (payment_id) DO UPDATE
    SET state = CASE mock_charges.state WHEN 'pending' THEN 'cancelled' ELSE mock_charges.state END
    RETURNING state";

/// Told by the webhook too.
const REFUND: &str =
    "UPDATE mock_charges SET state = CASE state WHEN 'succeeded' THEN 'refunded' ELSE state END,
    untold = untold OR state = 'succeeded', due_at = CASE state WHEN 'succeeded' THEN now() ELSE due_at END
    WHERE payment_id = $1 RETURNING state";

/// Those that are due, again after a while unless they are marked as told, ten times at most.
const DECIDE: &str = "UPDATE mock_charges SET
        state = CASE state WHEN 'pending' THEN outcome ELSE state END,
        untold = attempts < 10, attempts = attempts + 1, due_at = now() + (attempts + 1) * interval '2 seconds'
    WHERE payment_id IN (
        SELECT payment_id FROM mock_charges
        WHERE due_at <= now() AND (untold OR state = 'pending' AND outcome <> 'silent')
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING payment_id, state, amount_minor, currency, traceparent";

const TOLD: &str =
    "UPDATE mock_charges SET untold = false, attempts = 0 WHERE payment_id = $1 AND state = $2";

impl Db {
    pub async fn mock_charge(
        &self,
        payment: Uuid,
        amount: &Amount,
        outcome: Outcome,
        delay: Duration,
        traceparent: Option<&str>,
    ) -> Result<Charge, DbError> {
        let Amount { amount_minor, currency } = amount;
        let (outcome, delay) = (outcome.as_str(), delay.as_secs_f64());
        let rows =
            self.query(CHARGE, &[&payment, amount_minor, currency, &outcome, &delay, &traceparent]).await?;
        state_of(&rows)
    }

    pub async fn mock_void(&self, payment: Uuid, amount: &Amount) -> Result<Charge, DbError> {
        state_of(&self.query(VOID, &[&payment, &amount.amount_minor, &amount.currency]).await?)
    }

    pub async fn mock_refund(&self, payment: Uuid) -> Result<Charge, DbError> {
        state_of(&self.query(REFUND, &[&payment]).await?)
    }

    /// Decides up to `batch` charges whose time has come; these and what is not told yet.
    pub async fn decide_mock_charges(&self, batch: u32) -> Result<Vec<Decided>, DbError> {
        self.query(DECIDE, &[&i64::from(batch)]).await?.iter().map(decided).collect()
    }

    pub async fn mock_charge_told(&self, decided: &Decided) -> Result<(), DbError> {
        self.query(TOLD, &[&decided.payment, &decided.state_name]).await.map(drop)
    }
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Silent => "silent",
        }
    }
}

fn state_of(rows: &[Row]) -> Result<Charge, DbError> {
    rows.first().ok_or_else(|| DbError::Row("the charge is not known".into())).and_then(charge)
}

fn charge(row: &Row) -> Result<Charge, DbError> {
    match column(row, "state")? {
        "pending" => Ok(Charge::Pending),
        "succeeded" => Ok(Charge::Succeeded),
        "failed" => Ok(Charge::Failed),
        "cancelled" => Ok(Charge::Cancelled),
        "refunded" => Ok(Charge::Refunded),
        other => Err(DbError::Row(format!("a charge is `{other}`"))),
    }
}

fn decided(row: &Row) -> Result<Decided, DbError> {
    Ok(Decided {
        payment: column(row, "payment_id")?,
        state: charge(row)?,
        state_name: column(row, "state")?,
        amount: Amount { amount_minor: column(row, "amount_minor")?, currency: column(row, "currency")? },
        traceparent: column(row, "traceparent")?,
    })
}
