//! The gateway as the box office sees it: three calls, each of which may be repeated.
//!
//! | call | does | answers |
//! |---|---|---|
//! | `PUT /charges/{payment}` `{amountMinor, currency}` | charges, or tells how the charge stands | 200 `{"state":…}` |
//! | `POST /charges/{payment}/void` | calls it off, even before it is known; too late if it has succeeded | 200 `{"state":…}` |
//! | `POST /charges/{payment}/refund` | sends the money back | 200 `{"state":…}` |
//!
//! Both sides sign what they say, see [`signature`](super::signature).

use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use room::time::Micros;
use serde::{Deserialize, Serialize};
use traces::Context;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Charge;
use super::signature::{self, Secret};
use crate::outgoing::{Call, CallError, Origin};

const LIMIT: Duration = Duration::from_secs(3);

/// The amount in the smallest unit of its currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    pub amount_minor: i64,
    pub currency: String,
}

/// What the gateway calls the webhook with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayEvent {
    /// 1 to 128 bytes; the same however often it is delivered.
    pub id: String,
    pub payment_id: Uuid,
    pub state: Charge,
    #[serde(flatten)]
    pub amount: Amount,
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway cannot be reached: {0}")]
    Call(#[from] CallError),
    #[error("the gateway answers {0}")]
    Status(StatusCode),
    #[error("the answer of the gateway cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Where the gateway is.
#[derive(Debug, Clone)]
pub struct Gateway {
    origin: Origin,
    secret: Secret,
}

/// What every call answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChargeState {
    pub state: Charge,
}

impl Gateway {
    pub const fn new(origin: Origin, secret: Secret) -> Self {
        Self { origin, secret }
    }

    pub async fn charge(
        &self,
        payment: Uuid,
        amount: &Amount,
        trace: Option<Context>,
    ) -> Result<Charge, GatewayError> {
        let body = serde_json::to_string(amount)?;
        self.call(Method::PUT, &format!("/charges/{payment}"), body, trace).await
    }

    pub async fn void(
        &self,
        payment: Uuid,
        amount: &Amount,
        trace: Option<Context>,
    ) -> Result<Charge, GatewayError> {
        let body = serde_json::to_string(amount)?;
        self.call(Method::POST, &format!("/charges/{payment}/void"), body, trace).await
    }

    pub async fn refund(
        &self,
        payment: Uuid,
        amount: &Amount,
        trace: Option<Context>,
    ) -> Result<Charge, GatewayError> {
        let body = serde_json::to_string(amount)?;
        self.call(Method::POST, &format!("/charges/{payment}/refund"), body, trace).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: String,
        trace: Option<Context>,
    ) -> Result<Charge, GatewayError> {
        let signed = self.secret.sign(now_secs(), body.as_bytes());
        let call = Call { method, path, headers: &[(signature::HEADER, signed.as_str())], body, trace };
        let (status, answer) = self.origin.call(call, LIMIT).await?;
        if status != StatusCode::OK {
            return Err(GatewayError::Status(status));
        }
        Ok(serde_json::from_slice::<ChargeState>(&answer)?.state)
    }
}

/// The time of signatures.
pub(crate) fn now_secs() -> u64 {
    Micros::from(SystemTime::now()).as_secs()
}
