//! What the command line and the environment say about payments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::mock::Behaviour;
use super::signature::{Secret, SecretError};
use crate::outgoing::{Origin, OriginError};

#[derive(Debug, Clone, Args)]
pub struct PaymentArgs {
    /// The payment gateway. Without it, this process runs a mock gateway, which moves no money.
    #[arg(long, env = "GATEWAY_URL", value_name = "URL", requires = "webhook_secret_file")]
    pub gateway_url: Option<String>,
    /// File with the secret shared with the gateway, as base64url text. Random for the mock gateway.
    #[arg(long, env = "WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// A hold whose payment has begun lasts at least this much longer.
    #[arg(long, env = "PAYMENT_WINDOW_SEC", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub payment_window_sec: u32,
    /// How long the gateway is left alone before it is asked how a payment stands.
    #[arg(long, env = "PAYMENT_ASK_AFTER_MS", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(10..=600_000))]
    pub payment_ask_after_ms: u32,
    /// Failures in a row after which a payment is left to the operator.
    #[arg(long, env = "PAYMENT_MAX_ATTEMPTS", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub payment_max_attempts: u16,
    /// Mock gateway: time until a charge is decided.
    #[arg(long, env = "MOCK_GATEWAY_DELAY_MS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub mock_gateway_delay_ms: u32,
    /// Mock gateway: percentage of charges that fail.
    #[arg(long, env = "MOCK_GATEWAY_FAILURE", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub mock_gateway_failure: u8,
    /// Mock gateway: percentage of charges of which nothing is ever heard.
    #[arg(long, env = "MOCK_GATEWAY_SILENCE", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub mock_gateway_silence: u8,
    /// File with the token (a bearer, at least 16 bytes) of `/admin`; without it there is none.
    #[arg(long, env = "ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// How payments are made.
#[derive(Debug, Clone)]
pub struct PaymentConfig {
    pub gateway: GatewayChoice,
    pub secret: Secret,
    pub rules: PaymentRules,
    /// The token of `/admin`.
    pub admin_token: Option<String>,
}

#[derive(Debug, Clone)]
pub enum GatewayChoice {
    At(Origin),
    Mock(Behaviour),
}

#[derive(Debug, Clone, Copy)]
pub struct PaymentRules {
    pub window: Duration,
    pub ask_after: Duration,
    pub max_attempts: u16,
}

/// A setting of payments that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PaymentArgsError {
    #[error("GATEWAY_URL: {0}")]
    Url(#[from] OriginError),
    #[error("WEBHOOK_SECRET_FILE: it {0}")]
    Secret(#[from] SecretError),
    #[error("MOCK_GATEWAY_FAILURE and MOCK_GATEWAY_SILENCE are more than 100 % together")]
    Shares,
    #[error("ADMIN_TOKEN_FILE cannot be read: {0}")]
    AdminFile(std::io::Error),
    #[error("ADMIN_TOKEN_FILE holds less than {MIN_TOKEN_BYTES} visible ASCII characters")]
    AdminToken,
}

const MIN_TOKEN_BYTES: usize = 16;

impl PaymentArgs {
    pub fn into_config(self) -> Result<PaymentConfig, PaymentArgsError> {
        Ok(PaymentConfig {
            gateway: self.gateway()?,
            secret: self.webhook_secret_file.as_deref().map_or_else(Secret::random, Secret::read)?,
            rules: PaymentRules {
                window: Duration::from_secs(self.payment_window_sec.into()),
                ask_after: Duration::from_millis(self.payment_ask_after_ms.into()),
                max_attempts: self.payment_max_attempts,
            },
            admin_token: self.admin_token()?,
        })
    }

    fn gateway(&self) -> Result<GatewayChoice, PaymentArgsError> {
        if let Some(url) = &self.gateway_url {
            return Ok(GatewayChoice::At(url.parse()?));
        }
        if u16::from(self.mock_gateway_failure) + u16::from(self.mock_gateway_silence) > 100 {
            return Err(PaymentArgsError::Shares);
        }
        Ok(GatewayChoice::Mock(Behaviour {
            delay: Duration::from_millis(self.mock_gateway_delay_ms.into()),
            failure_percent: self.mock_gateway_failure,
            silence_percent: self.mock_gateway_silence,
        }))
    }

    fn admin_token(&self) -> Result<Option<String>, PaymentArgsError> {
        let Some(path) = &self.admin_token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(PaymentArgsError::AdminFile)?;
        let token = text.trim();
        let fits = token.len() >= MIN_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Some(token.into())) } else { Err(PaymentArgsError::AdminToken) }
    }
}
