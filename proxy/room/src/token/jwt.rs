//! Signing and verifying one kind of token with the keys of that kind.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{Alg, Key, KeyError, Use, algorithm, encoding_key};
use super::{Kind, MAX_TOKEN_BYTES, TokenError};

pub(super) struct Verifier {
    pub(super) kind: Kind,
    pub(super) keys: HashMap<String, DecodingKey>,
    pub(super) validation: Validation,
}

impl Verifier {
    pub(super) fn new(kind: Kind, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        // The crate would read the wall clock; `in_time` compares with the caller's `now` instead.
        validation.leeway = 0;
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_audience(&[kind.audience()]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        Self { kind, keys: HashMap::new(), validation }
    }

    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.typ.as_deref() != Some(self.kind.typ()) {
            return Err(TokenError::Malformed);
        }
        let key = header.kid.as_deref().and_then(|kid| self.keys.get(kid)).ok_or(TokenError::UnknownKey)?;
        let data =
            jsonwebtoken::decode::<C>(token, key, &self.validation).map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::BadSignature,
                _ => TokenError::Malformed,
            })?;
        Ok(data.claims)
    }
}

pub(super) struct Signer {
    key: SigningKey,
    /// The header in base64url with the dot behind it: the same for every token of a key.
    head: String,
    /// The JSON of the claims before those of the token.
    audience: String,
}

enum SigningKey {
    /// With the key's own blocks already hashed: every newcomer of a crowd gets a token.
    Hs256(hmac::Key),
    EdDsa(EncodingKey),
}

impl Signer {
    pub(super) fn from(keys: &[Key], kind: Kind) -> Result<Self, KeyError> {
        let signs = |key: &&Key| key.kind == kind && key.use_ == Use::Sign;
        let mut signers = keys.iter().filter(signs);
        match (signers.next(), signers.count()) {
            (Some(key), 0) => Self::of(key),
            (first, others) => {
                let name = if kind == Kind::Ticket { "ticket" } else { "pass" };
                Err(KeyError::Signers(name, usize::from(first.is_some()) + others))
            }
        }
    }

    fn of(key: &Key) -> Result<Self, KeyError> {
        let mut header = Header::new(algorithm(key.alg));
        header.typ = Some(key.kind.typ().into());
        header.kid = Some(key.kid.clone());
        // Text of our own always serialises. A token without its header is valid nowhere.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let head = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        let audience = format!(r#"{{"aud":"{}""#, key.kind.audience());
        Ok(Self { key: SigningKey::of(key)?, head, audience })
    }

    /// `claims` is a struct with at least one field and without `aud`, which is put before its own.
    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> String {
        // Fails only for keys of another family or maps with non-text keys: both are excluded by construction. An
        // empty token is valid nowhere, so even then nobody gets in.
        self.try_sign(claims).unwrap_or_default()
    }

    /// The keyed hash (HS256) of a message that is no token; `None` for keys of another algorithm.
    pub(super) fn mac(&self, message: &[u8]) -> Option<[u8; 32]> {
        match &self.key {
            SigningKey::Hs256(key) => hmac::sign(key, message).as_ref().try_into().ok(),
            SigningKey::EdDsa(_) => None,
        }
    }

    fn try_sign<C: Serialize>(&self, claims: &C) -> jsonwebtoken::errors::Result<String> {
        let mut token = String::with_capacity(MAX_TOKEN_BYTES);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(self.json(claims)?, &mut token);
        match &self.key {
            SigningKey::Hs256(key) => {
                let signature = hmac::sign(key, token.as_bytes());
                token.push('.');
                URL_SAFE_NO_PAD.encode_string(signature, &mut token);
            }
            SigningKey::EdDsa(key) => {
                let signature = jsonwebtoken::crypto::sign(token.as_bytes(), key, Algorithm::EdDSA)?;
                token.push('.');
                token.push_str(&signature);
            }
        }
        Ok(token)
    }

    /// The audience and the claims as one object, without serde's buffer between the two.
    fn json<C: Serialize>(&self, claims: &C) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(MAX_TOKEN_BYTES);
        json.extend_from_slice(self.audience.as_bytes());
        serde_json::to_writer(&mut json, claims)?;
        if let Some(brace) = json.get_mut(self.audience.len()) {
            *brace = b',';
        }
        Ok(json)
    }
}

impl SigningKey {
    fn of(key: &Key) -> Result<Self, KeyError> {
        // It also says why a secret does not do.
        let encoding = encoding_key(key)?;
        Ok(match key.alg {
            Alg::Hs256 => Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &key.secret)),
            Alg::EdDsa => Self::EdDsa(encoding),
        })
    }
}
