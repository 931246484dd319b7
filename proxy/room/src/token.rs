//! Tickets and passes: JSON Web Tokens (RFC 7519) signed by the edge, compared with the caller's clock.
//!
//! A [`Ticket`] is a place: HS256, read by edges only. A [`Pass`] is a session: EdDSA by default, so that origins
//! verify it with the public key and cannot mint one. Kinds never mix: each has its own `typ`, `aud` and one
//! algorithm, and `kid` is looked up in a closed map (RFC 8725 §3.1, §3.11).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::draw::Seed;
use crate::ids::{Incarnation, RoomName, TicketId, VisitorId};
use crate::time::Micros;

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
        Self {
            confirmed_at: self.confirmed_at.or(Some(now)),
            ..self
        }
    }

    /// The same stamp with a new deadline, after a refusal that was not the visitor's fault.
    #[must_use]
    pub fn deferred(self, now: Micros, confirm_window: Duration) -> Self {
        Self {
            confirm_by: self.confirm_by.max(now + confirm_window),
            ..self
        }
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
        [Self::Ticket, Self::Pass]
            .into_iter()
            .find(|kind| kind.typ() == typ)
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

/// Why keys do not make a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("key `{0}` has {1} bytes; it needs at least 32 (make one with `vestibule keys new`)")]
    TooShort(String, usize),
    #[error("key `{0}`: an Ed25519 seed has exactly 32 bytes")]
    Seed(String),
    #[error("two keys are named `{0}`; a `kid` names one key")]
    Twice(String),
    #[error("tickets are signed with HS256; key `{0}` has another algorithm")]
    TicketAlgorithm(String),
    #[error("key `{0}` has another algorithm than the other pass keys; one kind has one algorithm")]
    MixedAlgorithms(String),
    #[error("exactly one {0} key signs, the others verify; {1} are set to sign")]
    Signers(&'static str, usize),
    #[error("keys `{0}` and `{1}` share one secret; tickets and passes need their own")]
    SharedSecret(String, String),
    #[error("the key set is not a JWKS with Ed25519 keys: {0}")]
    Jwks(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alg {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    Sign,
    Verify,
}

/// One key as the operator gives it. For both algorithms the secret is random bytes: 32 or more for HS256,
/// exactly 32 (the seed of RFC 8032) for `EdDSA`.
#[derive(Clone)]
pub struct Key {
    pub kid: String,
    pub kind: Kind,
    pub alg: Alg,
    pub use_: Use,
    pub secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Key({} {:?} {:?} {:?}, secret hidden)",
            self.kid, self.kind, self.alg, self.use_
        )
    }
}

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
        f.debug_struct("KeyRing")
            .field("passes", &self.passes)
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    pub fn new(keys: &[Key]) -> Result<Self, KeyError> {
        check_together(keys)?;
        let mut jwks = JwkSet { keys: Vec::new() };
        let mut tickets = Verifier::new(Kind::Ticket, Algorithm::HS256);
        let pass_alg = keys
            .iter()
            .find(|key| key.kind == Kind::Pass)
            .map_or(Alg::EdDsa, |key| key.alg);
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
        self.ticket_signer.sign(ticket)
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
        let mac =
            jsonwebtoken::crypto::sign(opening.as_bytes(), &self.ticket_signer.key, Algorithm::HS256).ok()?;
        let seed = URL_SAFE_NO_PAD.decode(mac).ok()?;
        seed.try_into().ok().map(Seed)
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
        write!(
            f,
            "PassVerifier({:?}, {} keys)",
            self.0.validation.algorithms,
            self.0.keys.len()
        )
    }
}

impl PassVerifier {
    /// From the JSON text of the edge's `jwks.json`.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        let failed = |reason: &dyn fmt::Display| KeyError::Jwks(reason.to_string());
        let set: JwkSet = serde_json::from_str(text).map_err(|error| failed(&error))?;
        let mut verifier = Verifier::new(Kind::Pass, Algorithm::EdDSA);
        for jwk in &set.keys {
            let kid = jwk
                .common
                .key_id
                .clone()
                .ok_or_else(|| failed(&"a key has no `kid`"))?;
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

struct Verifier {
    kind: Kind,
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl Verifier {
    fn new(kind: Kind, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        // The crate would read the wall clock; `in_time` compares with the caller's `now` instead.
        validation.leeway = 0;
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_audience(&[kind.audience()]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        Self {
            kind,
            keys: HashMap::new(),
            validation,
        }
    }

    fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.typ.as_deref() != Some(self.kind.typ()) {
            return Err(TokenError::Malformed);
        }
        let key = header
            .kid
            .as_deref()
            .and_then(|kid| self.keys.get(kid))
            .ok_or(TokenError::UnknownKey)?;
        let data =
            jsonwebtoken::decode::<C>(token, key, &self.validation).map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::BadSignature,
                _ => TokenError::Malformed,
            })?;
        Ok(data.claims)
    }
}

struct Signer {
    header: Header,
    key: EncodingKey,
    kind: Kind,
}

impl Signer {
    fn from(keys: &[Key], kind: Kind) -> Result<Self, KeyError> {
        let signs = |key: &&Key| key.kind == kind && key.use_ == Use::Sign;
        let mut signers = keys.iter().filter(signs);
        match (signers.next(), signers.count()) {
            (Some(key), 0) => {
                let mut header = Header::new(algorithm(key.alg));
                header.typ = Some(kind.typ().into());
                header.kid = Some(key.kid.clone());
                Ok(Self {
                    header,
                    key: encoding_key(key)?,
                    kind,
                })
            }
            (first, others) => {
                let name = if kind == Kind::Ticket { "ticket" } else { "pass" };
                Err(KeyError::Signers(name, usize::from(first.is_some()) + others))
            }
        }
    }

    fn sign<C: Serialize>(&self, claims: &C) -> String {
        let claims = WithAudience {
            aud: self.kind.audience(),
            claims,
        };
        // Fails only for keys of another family or maps with non-text keys: both are excluded by construction. An
        // empty token is valid nowhere, so even then nobody gets in.
        jsonwebtoken::encode(&self.header, &claims, &self.key).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct WithAudience<'a, C> {
    aud: &'static str,
    #[serde(flatten)]
    claims: &'a C,
}

struct Made {
    decoding: DecodingKey,
    public: Option<Jwk>,
}

impl Made {
    fn from(key: &Key) -> Result<Self, KeyError> {
        if key.alg == Alg::Hs256 {
            return Ok(Self {
                decoding: DecodingKey::from_secret(&key.secret),
                public: None,
            });
        }
        let seed_error = |_| KeyError::Seed(key.kid.clone());
        let mut jwk = Jwk::from_encoding_key(&encoding_key(key)?, Algorithm::EdDSA).map_err(seed_error)?;
        jwk.common.key_id = Some(key.kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            decoding: DecodingKey::from_jwk(&jwk).map_err(seed_error)?,
            public: Some(jwk),
        })
    }
}

fn encoding_key(key: &Key) -> Result<EncodingKey, KeyError> {
    match key.alg {
        Alg::Hs256 if key.secret.len() < 32 => Err(KeyError::TooShort(key.kid.clone(), key.secret.len())),
        Alg::Hs256 => Ok(EncodingKey::from_secret(&key.secret)),
        Alg::EdDsa if key.secret.len() != 32 => Err(KeyError::Seed(key.kid.clone())),
        Alg::EdDsa => Ok(EncodingKey::from_ed_der(&ed25519_pkcs8(&key.secret))),
    }
}

/// A 32-byte seed as PKCS#8 version 1 (RFC 8410 §7): a fixed head, then the seed.
fn ed25519_pkcs8(seed: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    [&HEAD[..], seed].concat()
}

const fn algorithm(alg: Alg) -> Algorithm {
    match alg {
        Alg::Hs256 => Algorithm::HS256,
        Alg::EdDsa => Algorithm::EdDSA,
    }
}

fn check_together(keys: &[Key]) -> Result<(), KeyError> {
    for (index, key) in keys.iter().enumerate() {
        if key.kind == Kind::Ticket && key.alg != Alg::Hs256 {
            return Err(KeyError::TicketAlgorithm(key.kid.clone()));
        }
        for earlier in keys.iter().take(index) {
            if earlier.kid == key.kid {
                return Err(KeyError::Twice(key.kid.clone()));
            }
            if earlier.kind == key.kind && earlier.alg != key.alg {
                return Err(KeyError::MixedAlgorithms(key.kid.clone()));
            }
            if earlier.secret == key.secret {
                return Err(KeyError::SharedSecret(earlier.kid.clone(), key.kid.clone()));
            }
        }
    }
    Ok(())
}

fn in_time(expires_at_secs: u64, now: Micros) -> Result<(), TokenError> {
    if now < Micros::from_secs(expires_at_secs) {
        Ok(())
    } else {
        Err(TokenError::Expired)
    }
}

/// Random bytes as the text that key files hold: base64url without padding.
pub fn secret_to_text(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(secret)
}

/// Reads [`secret_to_text`]; white space at the ends is ignored.
pub fn secret_from_text(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim()).ok()
}

// Serde hands the field by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
