//! Signing and verifying one kind of token with the keys of that kind.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use super::key::{Alg, Key, KeyError, Use, algorithm, encoding_key};
use super::{Kind, MAX_TOKEN_BYTES, Ticket, TokenError};

/// Those of a ticket are shorter.
const CLAIMS_BYTES: usize = 384;

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
    Hs256(Box<Keyed>),
    EdDsa(EncodingKey),
}

/// The hash as it stands before anything that differs from token to token: every newcomer of a crowd gets one.
struct Keyed {
    /// Behind the key.
    bare: Hmac<Sha256>,
    /// Behind the header of a token too.
    begun: Hmac<Sha256>,
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
        Ok(Self { key: SigningKey::of(key, &head)?, head, audience })
    }

    /// `claims` is a struct with at least one field and without `aud`, which is put before its own.
    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> String {
        // Fails only for keys of another family or maps with non-text keys: both are excluded by construction. An
        // empty token is valid nowhere, so even then nobody gets in.
        self.try_sign(claims).unwrap_or_default()
    }

    /// The same for a ticket, whose claims are written without serde.
    pub(super) fn sign_ticket(&self, ticket: &Ticket) -> String {
        let mut json = Vec::with_capacity(CLAIMS_BYTES);
        json.extend_from_slice(self.audience.as_bytes());
        ticket.write_claims(&mut json);
        json.push(b'}');
        self.signed(&json).unwrap_or_default()
    }

    /// The keyed hash (HS256) of a message that is no token; `None` for keys of another algorithm.
    pub(super) fn mac(&self, message: &[u8]) -> Option<[u8; 32]> {
        match &self.key {
            SigningKey::Hs256(keyed) => {
                Some(keyed.bare.clone().chain_update(message).finalize().into_bytes().into())
            }
            SigningKey::EdDsa(_) => None,
        }
    }

    fn try_sign<C: Serialize>(&self, claims: &C) -> jsonwebtoken::errors::Result<String> {
        self.signed(&self.json(claims)?)
    }

    fn signed(&self, json: &[u8]) -> jsonwebtoken::errors::Result<String> {
        let mut token = String::with_capacity(MAX_TOKEN_BYTES);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(json, &mut token);
        match &self.key {
            SigningKey::Hs256(keyed) => {
                let claims = token.as_bytes().get(self.head.len()..).unwrap_or_default();
                let signature = keyed.begun.clone().chain_update(claims).finalize().into_bytes();
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
    fn of(key: &Key, head: &str) -> Result<Self, KeyError> {
        // It also says why a secret does not do.
        let encoding = encoding_key(key)?;
        if key.alg == Alg::EdDsa {
            return Ok(Self::EdDsa(encoding));
        }
        // A key of HMAC has any length.
        let bare = Hmac::<Sha256>::new_from_slice(&key.secret)
            .map_err(|_| KeyError::TooShort(key.kid.clone(), key.secret.len()))?;
        let begun = bare.clone().chain_update(head);
        Ok(Self::Hs256(Box::new(Keyed { bare, begun })))
    }
}
