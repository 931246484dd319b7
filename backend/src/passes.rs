//! Who is calling: the visitor of a pass, checked here again although the edge has checked it, so that nobody who
//! reaches this port around the edge can buy.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use room::ids::RoomName;
use room::time::Micros;
use room::token::{Pass, PassVerifier, TokenError};

use crate::config::Trust;
use crate::error::Error;
use crate::jwks::Jwks;
use crate::routes::Shop;

const PASS: &str = "vestibule-pass";
const USER: &str = "x-user-id";
const MAX_USER_BYTES: usize = 64;

/// Decides who a request is from.
#[derive(Debug)]
pub enum Gatekeeper {
    Open,
    Keys { verifier: Box<PassVerifier>, room: Option<RoomName> },
    Published { jwks: Arc<Jwks>, room: Option<RoomName> },
}

impl From<Trust> for Gatekeeper {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Open => {
                tracing::warn!("started with --open: whoever calls may buy under any name");
                Self::Open
            }
            Trust::Keys { verifier, room } => Self::Keys { verifier, room },
            Trust::Published { url, room } => Self::Published { jwks: Arc::new(Jwks::new(url)), room },
        }
    }
}

impl Gatekeeper {
    /// The caller, or why there is no business with him. Without passes, a caller may stay anonymous.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let now = Micros::from(SystemTime::now());
        let (pass, room) = match self {
            Self::Open => return anonymous_or_named(headers),
            Self::Keys { verifier, room } => (verifier.verify(presented(headers)?, now)?, room),
            Self::Published { jwks, room } => (verify_published(jwks, presented(headers)?, now).await?, room),
        };
        if room.as_ref().is_some_and(|room| *room != pass.room) {
            return Err(Error::OtherRoom);
        }
        Ok(Caller { user_id: Some(pass.visitor.to_string()) })
    }
}

/// A pass whose key is not known may be signed by one that was published a moment ago.
async fn verify_published(jwks: &Jwks, token: &str, now: Micros) -> Result<Pass, Error> {
    if let Some(verifier) = jwks.current() {
        match verifier.verify(token, now) {
            Err(TokenError::UnknownKey) => {}
            result => return Ok(result?),
        }
    }
    jwks.refresh_for_request().await;
    Ok(jwks.current().ok_or(Error::NoKeys)?.verify(token, now)?)
}

fn presented(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(PASS).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Error::NoPass),
        (Some(value), None) => value.to_str().map_err(|_| TokenError::Malformed.into()),
        // Which one counts? Nobody honest asks.
        (Some(_), Some(_)) => Err(TokenError::Malformed.into()),
    }
}

fn anonymous_or_named(headers: &HeaderMap) -> Result<Caller, Error> {
    let Some(value) = headers.get(USER) else {
        return Ok(Caller { user_id: None });
    };
    let name = value.to_str().map_err(|_| Error::NoUser)?;
    let fits = (1..=MAX_USER_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(Caller { user_id: Some(name.into()) }) } else { Err(Error::NoUser) }
}

/// Who calls. As an argument of a route it lets nobody in without a good pass.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Missing only in `--open`.
    pub user_id: Option<String>,
}

impl Caller {
    /// The name under which orders are kept.
    pub fn buyer(self) -> Result<String, Error> {
        self.user_id.ok_or(Error::NoUser)
    }
}

impl FromRequestParts<Arc<Shop>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, shop: &Arc<Shop>) -> Result<Self, Error> {
        shop.gatekeeper.caller(&parts.headers).await
    }
}
