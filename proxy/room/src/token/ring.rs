//! All keys of an edge together, and what an origin needs of them.

use std::fmt;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::jwt::{Signer, Verifier};
use super::key::{Alg, Key, KeyError, Made, algorithm, check_together};
use super::{Kind, Pass, Ticket, TokenError};
use crate::draw::Seed;
use crate::ids::RoomName;
use crate::time::Micros;

/// All keys of an edge: signs and verifies both kinds.
pub struct KeyRing {
    ticket_signer: Signer,
    pass_signer: Signer,
    tickets: Verifier,
    passes: PassVerifier,
    jwks: JwkSet,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("passes", &self.passes).finish_non_exhaustive()
    }
}

impl KeyRing {
    pub fn new(keys: &[Key]) -> Result<Self, KeyError> {
        check_together(keys)?;
        let mut jwks = JwkSet { keys: Vec::new() };
        let mut tickets = Verifier::new(Kind::Ticket, Algorithm::HS256);
        let pass_alg = keys.iter().find(|key| key.kind == Kind::Pass).map_or(Alg::EdDsa, |key| key.alg);
        let mut passes = Verifier::new(Kind::Pass, algorithm(pass_alg));
        for key in keys {
            let made = Made::from(key)?;
            match key.kind {
                Kind::Ticket => tickets.keys.insert(key.kid.clone(), made.decoding),
                Kind::Pass => passes.keys.insert(key.kid.clone(), made.decoding),
            };
            jwks.keys.extend(made.public);
        }
        Ok(Self {
            ticket_signer: Signer::from(keys, Kind::Ticket)?,
            pass_signer: Signer::from(keys, Kind::Pass)?,
            tickets,
            passes: PassVerifier(passes),
            jwks,
        })
    }

    pub fn sign_ticket(&self, ticket: &Ticket) -> String {
        self.ticket_signer.sign_ticket(ticket)
    }

    pub fn sign_pass(&self, pass: &Pass) -> String {
        self.pass_signer.sign(pass)
    }

    pub fn ticket(&self, token: &str, now: Micros) -> Result<Ticket, TokenError> {
        let ticket: Ticket = self.tickets.verify(token)?;
        in_time(ticket.expires_at_secs, now).map(|()| ticket)
    }

    pub fn pass(&self, token: &str, now: Micros) -> Result<Pass, TokenError> {
        self.passes.verify(token, now)
    }

    /// The secret of the draw at an opening: nobody without the ticket key can know it before.
    pub fn draw_seed(&self, room: &RoomName, opens_at: Micros) -> Option<Seed> {
        let opening = format!("vestibule-draw {room} {}", opens_at.0);
        self.ticket_signer.mac(opening.as_bytes()).map(Seed)
    }

    /// The public keys of passes (RFC 7517); empty when passes are HS256.
    pub fn jwks(&self) -> &JwkSet {
        &self.jwks
    }
}

/// Verifies passes only: what an origin needs.
pub struct PassVerifier(Verifier);

impl fmt::Debug for PassVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassVerifier({:?}, {} keys)", self.0.validation.algorithms, self.0.keys.len())
    }
}

impl PassVerifier {
    /// From the JSON text of the edge's `jwks.json`.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        let failed = |reason: &dyn fmt::Display| KeyError::Jwks(reason.to_string());
        let set: JwkSet = serde_json::from_str(text).map_err(|error| failed(&error))?;
        let mut verifier = Verifier::new(Kind::Pass, Algorithm::EdDSA);
        for jwk in &set.keys {
            let kid = jwk.common.key_id.clone().ok_or_else(|| failed(&"a key has no `kid`"))?;
            let key = DecodingKey::from_jwk(jwk).map_err(|error| failed(&error))?;
            verifier.keys.insert(kid, key);
        }
        if verifier.keys.is_empty() {
            return Err(failed(&"it has no keys"));
        }
        Ok(Self(verifier))
    }

    /// From the shared secret of an HS256 pass key.
    pub fn from_secret(kid: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < 32 {
            return Err(KeyError::TooShort(kid.into(), secret.len()));
        }
        let mut verifier = Verifier::new(Kind::Pass, Algorithm::HS256);
        verifier.keys.insert(kid.into(), DecodingKey::from_secret(secret));
        Ok(Self(verifier))
    }

    pub fn verify(&self, token: &str, now: Micros) -> Result<Pass, TokenError> {
        let pass: Pass = self.0.verify(token)?;
        in_time(pass.expires_at_secs, now).map(|()| pass)
    }
}

fn in_time(expires_at_secs: u64, now: Micros) -> Result<(), TokenError> {
    if now < Micros::from_secs(expires_at_secs) { Ok(()) } else { Err(TokenError::Expired) }
}
