//! Signatures between the box office and the gateway: HMAC-SHA256 over `TIME.BODY`, the body as it came, so that
//! nobody can send a word of the gateway, change one, or send an old one again.
//!
//! `Gateway-Signature: t=1767225600,v1=HEX`

use std::fmt;
use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use room::token::secret_from_text;
use sha2::Sha256;

pub const HEADER: &str = "gateway-signature";
/// A signature is good this long before and after its time.
pub const WINDOW: Duration = Duration::from_secs(300);
const MIN_SECRET_BYTES: usize = 32;

/// The secret that both sides share.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why a message is not taken for one of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("there is no `Gateway-Signature`")]
    Missing,
    #[error("the `Gateway-Signature` is not `t=SECONDS,v1=HEX`")]
    Malformed,
    #[error("the `Gateway-Signature` is more than {} s old or early", WINDOW.as_secs())]
    Stale,
    #[error("the `Gateway-Signature` is not of this body and our secret")]
    Wrong,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("does not hold base64url text of at least {MIN_SECRET_BYTES} bytes")]
    Text,
    #[error("cannot be made: {0}")]
    Random(getrandom::Error),
}

impl Secret {
    /// From a file with base64url text.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let secret = secret_from_text(&std::fs::read_to_string(path)?).ok_or(SecretError::Text)?;
        if secret.len() >= MIN_SECRET_BYTES { Ok(Self(secret)) } else { Err(SecretError::Text) }
    }

    /// Known to this process alone.
    pub fn random() -> Result<Self, SecretError> {
        let mut secret = vec![0; MIN_SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(SecretError::Random)?;
        Ok(Self(secret))
    }

    /// The value of the header for this body, sent now.
    pub fn sign(&self, now_secs: u64, body: &[u8]) -> String {
        let code = self.mac(now_secs, body).map(|mac| mac.finalize().into_bytes());
        let bytes = code.iter().flatten();
        let digits = bytes.flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        format!("t={now_secs},v1={hex}")
    }

    /// Whether this body came with a good signature. Compares in constant time.
    pub fn verify(&self, header: Option<&str>, now_secs: u64, body: &[u8]) -> Result<(), SignatureError> {
        let (signed_at, code) =
            parse(header.ok_or(SignatureError::Missing)?).ok_or(SignatureError::Malformed)?;
        if signed_at.abs_diff(now_secs) > WINDOW.as_secs() {
            return Err(SignatureError::Stale);
        }
        let mac = self.mac(signed_at, body).ok_or(SignatureError::Wrong)?;
        mac.verify_slice(&code).map_err(|_| SignatureError::Wrong)
    }

    /// HMAC takes keys of any length; `None` never happens.
    fn mac(&self, at_secs: u64, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(at_secs.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        Some(mac)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn parse(header: &str) -> Option<(u64, Vec<u8>)> {
    let (time, code) = header.split_once(',')?;
    let time = time.strip_prefix("t=")?;
    let digits = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.then(|| time.parse().ok())??, unhex(code.strip_prefix("v1=")?)?))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn secret() -> Secret {
        Secret(b"0123456789abcdef0123456789abcdef".to_vec())
    }

    #[test]
    fn a_signature_is_that_of_rfc_2104() {
        // printf '1767225600.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let known = "t=1767225600,v1=5a178d9c0a752b5853bf52551646d72a3506620c785b7cfaf493f8b2adddfbdd";
        assert_eq!(secret().sign(NOW, br#"{"a":1}"#), known);
    }

    #[test]
    fn a_message_is_good_with_its_body_secret_and_time_only() {
        let (secret, body) = (secret(), b"{}".as_slice());
        let header = secret.sign(NOW, body);
        let verify = |now, body| secret.verify(Some(&header), now, body);
        assert_eq!(verify(NOW + 300, body), Ok(()));
        assert_eq!(verify(NOW - 300, body), Ok(()));
        assert_eq!(verify(NOW + 301, body), Err(SignatureError::Stale));
        assert_eq!(verify(NOW - 301, body), Err(SignatureError::Stale));
        assert_eq!(verify(NOW, b"{ }"), Err(SignatureError::Wrong));
        let other = Secret(vec![7; 32]);
        assert_eq!(other.verify(Some(&header), NOW, body), Err(SignatureError::Wrong));
        let moved = header.replace("t=1767225600", "t=1767225601");
        assert_eq!(secret.verify(Some(&moved), NOW, body), Err(SignatureError::Wrong));
        assert_eq!(secret.verify(None, NOW, body), Err(SignatureError::Missing));
    }

    #[test]
    fn a_malformed_header_is_called_so() {
        let whole = secret().sign(NOW, b"");
        let cut = &whole[..whole.len() - 1];
        for header in ["", "t=1", "t=,v1=00", "t=-1,v1=00", "t=+1,v1=00", "v1=00,t=1", "t=1,v1=zz", cut] {
            assert_eq!(secret().verify(Some(header), NOW, b""), Err(SignatureError::Malformed), "{header}");
        }
        let short = secret().verify(Some(&format!("t={NOW},v1=00")), NOW, b"");
        assert_eq!(short, Err(SignatureError::Wrong));
    }
}
