//! A look into tokens as anybody can take it: the payload is read, no signature is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use room::ids::{TicketId, VisitorId};
use room::time::Micros;
use serde::Deserialize;

/// What a ticket says about its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TicketView {
    #[serde(rename = "sub")]
    pub visitor: VisitorId,
    #[serde(rename = "jti")]
    pub id: TicketId,
    pub stamp: Micros,
    #[serde(rename = "cat", default)]
    pub confirmed_at: Option<Micros>,
}

/// What a pass says about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct PassView {
    #[serde(rename = "tkt")]
    pub ticket: TicketId,
    #[serde(rename = "exp")]
    expires_at_secs: u64,
}

impl PassView {
    pub fn expires_at(&self) -> Micros {
        Micros::from_secs(self.expires_at_secs)
    }
}

pub fn ticket(token: &str) -> Option<TicketView> {
    payload(token)
}

pub fn pass(token: &str) -> Option<PassView> {
    payload(token)
}

fn payload<T: serde::de::DeserializeOwned>(token: &str) -> Option<T> {
    let encoded = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// A token with a header of the forger's choice, somebody's payload and a made-up signature.
pub fn forge(header: &str, payload_of: &str, signature: &str) -> String {
    let payload = payload_of.split('.').nth(1).unwrap_or("e30");
    format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_ticket_shows_its_stamp_and_whether_it_is_confirmed() {
        let text =
            r#"{"sub":"0f0f0f0f0f0f0f0f0f0f0f0f","jti":"1f0f0f0f0f0f0f0f0f0f0f0f","stamp":1767225600250123}"#;
        let view = ticket(&token(text)).unwrap();
        assert_eq!((view.stamp, view.confirmed_at), (Micros(1_767_225_600_250_123), None));
    }

    #[test]
    fn text_that_is_no_token_shows_nothing() {
        for text in ["", "a.b", "a.!!.c", "e30.e30.e30"] {
            assert_eq!(ticket(text), None, "{text}");
            assert_eq!(pass(text), None, "{text}");
        }
    }
}
