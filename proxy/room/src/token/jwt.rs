//! Signing and verifying one kind of token with the keys of that kind.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{Key, KeyError, Use, algorithm, encoding_key};
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
    pub(super) header: Header,
    pub(super) key: EncodingKey,
    pub(super) kind: Kind,
}

impl Signer {
    pub(super) fn from(keys: &[Key], kind: Kind) -> Result<Self, KeyError> {
        let signs = |key: &&Key| key.kind == kind && key.use_ == Use::Sign;
        let mut signers = keys.iter().filter(signs);
        match (signers.next(), signers.count()) {
            (Some(key), 0) => {
                let mut header = Header::new(algorithm(key.alg));
                header.typ = Some(kind.typ().into());
                header.kid = Some(key.kid.clone());
                Ok(Self { header, key: encoding_key(key)?, kind })
            }
            (first, others) => {
                let name = if kind == Kind::Ticket { "ticket" } else { "pass" };
                Err(KeyError::Signers(name, usize::from(first.is_some()) + others))
            }
        }
    }

    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> String {
        let claims = WithAudience { aud: self.kind.audience(), claims };
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
