//! Keys as operators give them, and what makes them go together.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use super::Kind;

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
        write!(f, "Key({} {:?} {:?} {:?}, secret hidden)", self.kid, self.kind, self.alg, self.use_)
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

/// Random bytes as the text that key files hold: base64url without padding.
pub fn secret_to_text(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(secret)
}

/// Reads [`secret_to_text`]; white space at the ends is ignored.
pub fn secret_from_text(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim()).ok()
}

// Serde hands the field by reference.

pub(super) fn check_together(keys: &[Key]) -> Result<(), KeyError> {
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

pub(super) struct Made {
    pub(super) decoding: DecodingKey,
    pub(super) public: Option<Jwk>,
}

impl Made {
    pub(super) fn from(key: &Key) -> Result<Self, KeyError> {
        if key.alg == Alg::Hs256 {
            return Ok(Self { decoding: DecodingKey::from_secret(&key.secret), public: None });
        }
        let seed_error = |_| KeyError::Seed(key.kid.clone());
        let mut jwk = Jwk::from_encoding_key(&encoding_key(key)?, Algorithm::EdDSA).map_err(seed_error)?;
        jwk.common.key_id = Some(key.kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { decoding: DecodingKey::from_jwk(&jwk).map_err(seed_error)?, public: Some(jwk) })
    }
}

pub(super) fn encoding_key(key: &Key) -> Result<EncodingKey, KeyError> {
    match key.alg {
        Alg::Hs256 if key.secret.len() < 32 => Err(KeyError::TooShort(key.kid.clone(), key.secret.len())),
        Alg::Hs256 => Ok(EncodingKey::from_secret(&key.secret)),
        Alg::EdDsa if key.secret.len() != 32 => Err(KeyError::Seed(key.kid.clone())),
        Alg::EdDsa => Ok(EncodingKey::from_ed_der(&ed25519_pkcs8(&key.secret))),
    }
}

/// A 32-byte seed as PKCS#8 version 1 (RFC 8410 §7): a fixed head, then the seed.
fn ed25519_pkcs8(seed: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [&HEAD[..], seed].concat()
}

pub(super) const fn algorithm(alg: Alg) -> Algorithm {
    match alg {
        Alg::Hs256 => Algorithm::HS256,
        Alg::EdDsa => Algorithm::EdDSA,
    }
}
