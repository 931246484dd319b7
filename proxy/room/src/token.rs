//! Tickets and passes: JSON Web Tokens (RFC 7519) signed by the edge, compared with the caller's clock.
//!
//! A [`Ticket`] is a place: HS256, read by edges only. A [`Pass`] is a session: EdDSA by default, so that origins
//! verify it with the public key and cannot mint one. Kinds never mix: each has its own `typ`, `aud` and one
//! algorithm, and `kid` is looked up in a closed map (RFC 8725 §3.1, §3.11).

mod claims;
mod jwt;
mod key;
mod ring;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, RoomName, TicketId, VisitorId};
use crate::time::Micros;

pub use key::{Alg, Key, KeyError, Use, secret_from_text, secret_to_text};
pub use ring::{KeyRing, PassVerifier};

/// Longer than any token of ours; longer text is not looked at.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// A place in the line of one room, held by the visitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub room: RoomName,
    #[serde(rename = "sub")]
    pub visitor: VisitorId,
    #[serde(rename = "jti")]
    pub id: TicketId,
    /// Moment of first contact: the place.
    pub stamp: Micros,
    /// Microseconds that a priority group stands ahead of its stamp.
    #[serde(rename = "ahead", default, skip_serializing_if = "is_zero")]
    pub head_start_micros: u64,
    /// When the ticket first came back; `None` until then.
    #[serde(rename = "cat", default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Micros>,
    /// Until when an unconfirmed ticket counts with its stamp.
    #[serde(rename = "cby")]
    pub confirm_by: Micros,
    /// Seconds since the epoch.
    #[serde(rename = "exp")]
    pub expires_at_secs: u64,
}

impl Ticket {
    /// The same place, confirmed at `now`. A place once confirmed keeps its moment.
    #[must_use]
    pub fn confirmed(self, now: Micros) -> Self {
        Self { confirmed_at: self.confirmed_at.or(Some(now)), ..self }
    }

    /// The same stamp with a new deadline, after a refusal that was not the visitor's fault.
    #[must_use]
    pub fn deferred(self, now: Micros, confirm_window: Duration) -> Self {
        Self { confirm_by: self.confirm_by.max(now + confirm_window), ..self }
    }

    /// Whether the stamp still counts when the ticket comes back at `now`.
    pub fn stands(&self, now: Micros) -> bool {
        self.confirmed_at.is_some() || now <= self.confirm_by
    }
}

/// The right to be forwarded: one session in one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    pub room: RoomName,
    #[serde(rename = "sub")]
    pub visitor: VisitorId,
    /// The ticket that bought the session.
    #[serde(rename = "tkt")]
    pub ticket: TicketId,
    /// Seconds since the epoch, like `exp` of any JWT.
    #[serde(rename = "exp")]
    pub expires_at_secs: u64,
    /// Renewal never goes beyond this.
    #[serde(rename = "cap")]
    pub hard_cap_secs: u64,
    /// The life of the store that knows the session.
    #[serde(rename = "inc")]
    pub incarnation: Incarnation,
    /// Seconds since the epoch: what the store granted, where an edge extended the session by itself while the store
    /// was away.
    #[serde(rename = "grt", default, skip_serializing_if = "Option::is_none")]
    pub granted_secs: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Ticket,
    Pass,
}

impl Kind {
    const fn typ(self) -> &'static str {
        match self {
            Self::Ticket => "vestibule-ticket+jwt",
            Self::Pass => "vestibule-pass+jwt",
        }
    }

    const fn audience(self) -> &'static str {
        match self {
            Self::Ticket => "vestibule-ticket",
            Self::Pass => "vestibule-pass",
        }
    }

    /// Which of ours a token claims to be, by its `typ` alone. Nothing is verified: this only tells a bearer value
    /// of ours from the site's own.
    pub fn claimed_by(token: &str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let typ = jsonwebtoken::decode_header(token).ok()?.typ?;
        [Self::Ticket, Self::Pass].into_iter().find(|kind| kind.typ() == typ)
    }
}

/// Why a token is not accepted. Its text goes into answers and logs: it never contains the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("the token is not a signed JWT of this kind")]
    Malformed,
    #[error("the token names a key that is not known here")]
    UnknownKey,
    #[error("the token's signature is not ours")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    /// A label for metrics and problem details.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown-key",
            Self::BadSignature => "bad-signature",
            Self::Expired => "expired",
        }
    }
}

// Serde hands the field by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
