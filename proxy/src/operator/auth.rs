//! Who calls, and what they may do.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::OperatorApp;
use super::refusal::Refusal;
use crate::config::settings::{OperatorToken, Role};

/// The caller's name, for the audit trail.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) String);

/// Lets a request through with its [`Caller`], if its token is known and its role suffices.
pub(super) async fn guard(State(app): State<OperatorApp>, mut request: Request, next: Next) -> Response {
    let settings = app.settings.load();
    let Some(token) = known(&settings.operator.tokens, request.headers()) else {
        return Refusal::NoToken.into_response();
    };
    let needed = if is_look(request.method()) { Role::Viewer } else { Role::Operator };
    if token.role < needed {
        return Refusal::Role.into_response();
    }
    request.extensions_mut().insert(Caller(token.name.clone()));
    drop(settings);
    next.run(request).await
}

fn is_look(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Compares digests, all of them, each in constant time: the time taken tells nothing about any token.
fn known<'t>(tokens: &'t [OperatorToken], headers: &HeaderMap) -> Option<&'t OperatorToken> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let digest: [u8; 32] = Sha256::digest(token.trim()).into();
    let mut found = None;
    for known in tokens {
        if bool::from(known.sha256.ct_eq(&digest)) {
            found = Some(known);
        }
    }
    found
}
