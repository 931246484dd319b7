//! A gateway that moves no money: decides after a set delay, fails or falls silent for a set share of charges, and
//! calls the webhook, signed, until it is heard.
//!
//! Its ledger is a table of its own, so a charge survives a restart and every process's mock knows it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use traces::context::TRACEPARENT;
use traces::{Context, Kind, Span};
use uuid::Uuid;

use super::gateway::{Amount, ChargeState, GatewayEvent, now_secs};
use super::signature::{self, Secret};
use crate::db::mock::{Decided, Outcome};
use crate::db::{Db, DbError};
use crate::outgoing::{Call, Origin};

const TICK: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const BATCH: u32 = 64;
const WEBHOOK_LIMIT: Duration = Duration::from_secs(5);

/// How the mock treats charges.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    pub delay: Duration,
    pub failure_percent: u8,
    /// Of these nothing is heard until they are called off.
    pub silence_percent: u8,
}

/// The mock: a server for the calls of the box office, and a task that decides and tells.
#[derive(Debug)]
pub struct Mock {
    pub db: Db,
    pub behaviour: Behaviour,
    pub secret: Secret,
    /// Of the box office.
    pub webhook: Origin,
}

pub const WEBHOOK_PATH: &str = "/api/payments/webhook";

impl Mock {
    /// Works for as long as the program runs.
    pub async fn run(self, listener: TcpListener) {
        let mock = Arc::new(self);
        let routes = Router::new()
            .route("/charges/{payment}", put(charge))
            .route("/charges/{payment}/void", post(void))
            .route("/charges/{payment}/refund", post(refund))
            .with_state(Arc::clone(&mock));
        let serving = async { axum::serve(listener, routes).await };
        tokio::select! {
            end = serving => tracing::error!(end = ?end, "the mock gateway ended"),
            () = mock.tell() => {}
        }
    }

    /// Decides what is due and calls the webhook.
    async fn tell(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.tell_due().await {
                tracing::debug!(error = %error, "the mock gateway cannot reach its ledger");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn tell_due(&self) -> Result<(), DbError> {
        let due = self.db.decide_mock_charges(BATCH).await?;
        let calls = due.iter().map(|decided| self.call_webhook(decided));
        let heard = join_all(calls).await;
        for (decided, heard) in due.iter().zip(heard) {
            if heard {
                self.db.mock_charge_told(decided).await?;
            }
        }
        Ok(())
    }

    /// Whether the box office has taken the event.
    async fn call_webhook(&self, decided: &Decided) -> bool {
        let event = GatewayEvent {
            id: format!("evt_{}_{}", decided.payment.simple(), decided.state_name),
            payment_id: decided.payment,
            state: decided.state,
            amount: decided.amount.clone(),
        };
        let Ok(body) = serde_json::to_string(&event) else { return false };
        let signed = self.secret.sign(now_secs(), body.as_bytes());
        let trace = decided.traceparent.as_deref().and_then(|line| Context::parse(line.as_bytes()));
        let headers = &[(signature::HEADER, signed.as_str())];
        let call = Call { method: Method::POST, path: WEBHOOK_PATH, headers, body, trace };
        match self.webhook.call(call, WEBHOOK_LIMIT).await {
            Ok((status, _)) => status.is_success(),
            Err(error) => {
                tracing::debug!(error = %error, "the mock gateway is not heard");
                false
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let mut byte = [0; 4];
        // Without randomness every charge succeeds.
        let _zero_on_failure = getrandom::fill(&mut byte);
        let percent = 100 - u32::from_le_bytes(byte) % 100;
        let silence = u32::from(self.behaviour.silence_percent);
        let failure = u32::from(self.behaviour.failure_percent);
        if percent <= silence {
            Outcome::Silent
        } else if percent <= silence + failure {
            Outcome::Failed
        } else {
            Outcome::Succeeded
        }
    }

    /// The body, if it is signed by the box office.
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Amount, StatusCode> {
        let header = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
        self.secret.verify(header, now_secs(), body).map_err(|_| StatusCode::UNAUTHORIZED)?;
        serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)
    }
}

async fn charge(
    State(mock): State<Arc<Mock>>,
    Path(payment): Path<Uuid>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let amount = mock.read(&headers, &body)?;
    let parent = headers.get(TRACEPARENT).and_then(|value| Context::parse(value.as_bytes()));
    let span = parent.map(|parent| Span::continued(parent, Kind::Server, "gateway: charge"));
    let traceparent = span.as_ref().map(|span| span.context().traceparent());
    let delay = mock.behaviour.delay;
    answer(mock.db.mock_charge(payment, &amount, mock.outcome(), delay, traceparent.as_deref()).await)
}

async fn void(
    State(mock): State<Arc<Mock>>,
    Path(payment): Path<Uuid>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let amount = mock.read(&headers, &body)?;
    answer(mock.db.mock_void(payment, &amount).await)
}

async fn refund(
    State(mock): State<Arc<Mock>>,
    Path(payment): Path<Uuid>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    mock.read(&headers, &body)?;
    answer(mock.db.mock_refund(payment).await)
}

fn answer(state: Result<super::Charge, DbError>) -> Result<Response, StatusCode> {
    let state = state.map_err(|_: DbError| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Json(ChargeState { state }).into_response())
}
