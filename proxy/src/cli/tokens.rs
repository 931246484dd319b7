//! Keys and tokens by hand.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use room::time::Micros;
use room::token::{Kind, secret_to_text};
use serde_json::Value;

use super::Failure;

/// `keys new`
pub(super) fn new_key() -> Result<(), Failure> {
    println!("{}", fresh_secret()?);
    Ok(())
}

/// 32 bytes of the system's randomness, as key files hold them.
pub(super) fn fresh_secret() -> Result<String, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Failure::Internal(format!("no randomness: {error}")))?;
    Ok(secret_to_text(&secret))
}

/// `ticket inspect`
pub(super) fn inspect(token: &str) -> Result<(), Failure> {
    let mut parts = token.trim().splitn(3, '.').map(decode);
    let (Some(Some(header)), Some(Some(claims)), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Usage(
            "that is no signed token: three parts of base64url, divided by dots".into(),
        ));
    };
    let kind = match Kind::claimed_by(token.trim()) {
        Some(Kind::Ticket) => "a ticket",
        Some(Kind::Pass) => "a pass",
        None => "a token, though none of ours",
    };
    println!("It says it is {kind}. Nothing is verified: anybody can write such a text.");
    println!("{}", pretty(&header));
    println!("{}", pretty(&claims));
    for (claim, meaning) in [("stamp", "first contact"), ("cat", "confirmed"), ("cby", "confirm by")] {
        if let Some(micros) = claims.get(claim).and_then(Value::as_u64) {
            println!("{meaning}: {}", Micros(micros).to_rfc3339());
        }
    }
    for (claim, meaning) in [("exp", "expires"), ("cap", "never beyond")] {
        if let Some(secs) = claims.get(claim).and_then(Value::as_u64) {
            println!("{meaning}: {}", Micros::from_secs(secs).to_rfc3339());
        }
    }
    Ok(())
}

fn decode(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    // The signature is no JSON; that it decodes is enough.
    Some(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
