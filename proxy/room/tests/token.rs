//! What a token must and must not do.

#![allow(clippy::unwrap_used, reason = "tests: a failure here is the failure of the test")]

use room::ids::{Incarnation, TicketId, VisitorId};
use room::time::Micros;
use room::token::{Alg, Key, KeyError, KeyRing, Kind, Pass, PassVerifier, Ticket, TokenError, Use};
use std::time::Duration;

fn key(name: &str, kind: Kind, alg: Alg, use_: Use, fill: u8) -> Key {
    Key { kid: name.into(), kind, alg, use_, secret: vec![fill; 32] }
}

fn ring() -> KeyRing {
    KeyRing::new(&[
        key("t1", Kind::Ticket, Alg::Hs256, Use::Sign, 1),
        key("p1", Kind::Pass, Alg::EdDsa, Use::Sign, 2),
    ])
    .unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        room: "e1".parse().unwrap(),
        visitor: VisitorId::from_random([7; 12]),
        id: TicketId::from_random([8; 12]),
        stamp: Micros(1_767_225_600_250_001),
        head_start_micros: 0,
        confirmed_at: None,
        confirm_by: Micros(1_767_225_720_250_001),
        expires_at_secs: 1_767_312_000,
    }
}

fn pass() -> Pass {
    Pass {
        room: "e1".parse().unwrap(),
        visitor: VisitorId::from_random([7; 12]),
        ticket: TicketId::from_random([8; 12]),
        expires_at_secs: 1_767_226_200,
        hard_cap_secs: 1_767_232_800,
        incarnation: Incarnation::from_random([9; 12]),
        granted_secs: None,
    }
}

const NOW: Micros = Micros(1_767_225_600_300_000);

#[test]
fn a_ticket_and_a_pass_read_back_as_they_were_signed() {
    let ring = ring();
    assert_eq!(ring.ticket(&ring.sign_ticket(&ticket()), NOW), Ok(ticket()));
    assert_eq!(ring.pass(&ring.sign_pass(&pass()), NOW), Ok(pass()));
}

/// Claims with their audience by another hand: serde's own flattening.
fn with_audience(aud: &'static str, claims: impl serde::Serialize) -> impl serde::Serialize {
    #[derive(serde::Serialize)]
    struct WithAudience<C> {
        aud: &'static str,
        #[serde(flatten)]
        claims: C,
    }
    WithAudience { aud, claims }
}

/// Header and claims of a token, as text.
fn parts(token: &str) -> [String; 2] {
    let mut parts = token.split('.').map(|part| room::token::secret_from_text(part).unwrap());
    [(); 2].map(|()| String::from_utf8(parts.next().unwrap()).unwrap())
}

#[test]
fn a_token_of_any_shape_is_to_the_byte_what_the_jwt_library_makes_of_it() {
    let ring = ring();
    let tickets = [
        ticket(),
        Ticket { head_start_micros: 30_000_000, ..ticket() },
        ticket().confirmed(NOW),
        Ticket { head_start_micros: u64::MAX, stamp: Micros(0), ..ticket().confirmed(NOW) },
    ];
    let secret = jsonwebtoken::EncodingKey::from_secret(&[1; 32]);
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    (header.typ, header.kid) = (Some("vestibule-ticket+jwt".into()), Some("t1".into()));
    for ticket in tickets {
        let claims = with_audience("vestibule-ticket", &ticket);
        assert_eq!(ring.sign_ticket(&ticket), jsonwebtoken::encode(&header, &claims, &secret).unwrap());
    }
    for pass in [pass(), Pass { granted_secs: Some(1_767_226_200), ..pass() }] {
        let header = r#"{"typ":"vestibule-pass+jwt","alg":"EdDSA","kid":"p1"}"#;
        let claims = serde_json::to_string(&with_audience("vestibule-pass", &pass)).unwrap();
        assert_eq!(parts(&ring.sign_pass(&pass)), [header.to_owned(), claims]);
    }
}

#[test]
fn a_token_of_one_kind_is_never_one_of_the_other() {
    let ring = ring();
    assert_eq!(ring.pass(&ring.sign_ticket(&ticket()), NOW), Err(TokenError::Malformed));
    assert_eq!(ring.ticket(&ring.sign_pass(&pass()), NOW), Err(TokenError::Malformed));
    assert_eq!(Kind::claimed_by(&ring.sign_ticket(&ticket())), Some(Kind::Ticket));
    assert_eq!(Kind::claimed_by(&ring.sign_pass(&pass())), Some(Kind::Pass));
    assert_eq!(Kind::claimed_by("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.c2ln"), None);
}

#[test]
fn a_token_expires_by_the_callers_clock_to_the_second() {
    let ring = ring();
    let token = ring.sign_pass(&pass());
    assert!(ring.pass(&token, Micros::from_secs(pass().expires_at_secs) - Duration::from_micros(1)).is_ok());
    assert_eq!(ring.pass(&token, Micros::from_secs(pass().expires_at_secs)), Err(TokenError::Expired));
}

#[test]
fn one_changed_character_anywhere_is_refused() {
    let ring = ring();
    for token in [ring.sign_ticket(&ticket()), ring.sign_pass(&pass())] {
        for index in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last character of base64 can carry bits that mean nothing; then the token is the same token.
            let same_bytes = index + 1 == token.len();
            let accepted = ring.ticket(&forged, NOW).is_ok() || ring.pass(&forged, NOW).is_ok();
            assert!(!accepted || same_bytes, "character {index}");
        }
    }
}

#[test]
fn unsigned_foreign_and_monstrous_tokens_are_refused() {
    let ring = ring();
    let none = "eyJ0eXAiOiJ2ZXN0aWJ1bGUtcGFzcytqd3QiLCJhbGciOiJub25lIiwia2lkIjoicDEifQ.e30.";
    assert_eq!(ring.pass(none, NOW), Err(TokenError::Malformed));
    assert_eq!(ring.pass("", NOW), Err(TokenError::Malformed));
    assert_eq!(ring.pass(&"a".repeat(5000), NOW), Err(TokenError::TooLong));
    let foreign = KeyRing::new(&[
        key("t1", Kind::Ticket, Alg::Hs256, Use::Sign, 3),
        key("p1", Kind::Pass, Alg::EdDsa, Use::Sign, 4),
    ])
    .unwrap();
    assert_eq!(ring.pass(&foreign.sign_pass(&pass()), NOW), Err(TokenError::BadSignature));
    assert_eq!(ring.ticket(&foreign.sign_ticket(&ticket()), NOW), Err(TokenError::BadSignature));
}

#[test]
fn a_public_key_used_as_a_shared_secret_signs_nothing() {
    // RFC 8725 §2.1: the confusion of algorithms.
    let ring = ring();
    let jwks = serde_json::to_value(ring.jwks()).unwrap();
    let public = room::token::secret_from_text(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let confused = KeyRing::new(&[
        key("t1", Kind::Ticket, Alg::Hs256, Use::Sign, 1),
        Key { secret: public, ..key("p1", Kind::Pass, Alg::Hs256, Use::Sign, 0) },
    ])
    .unwrap();
    assert_eq!(ring.pass(&confused.sign_pass(&pass()), NOW), Err(TokenError::Malformed));
}

#[test]
fn an_origin_verifies_with_the_published_keys_alone() {
    let ring = ring();
    let verifier = PassVerifier::from_jwks(&serde_json::to_string(ring.jwks()).unwrap()).unwrap();
    assert_eq!(verifier.verify(&ring.sign_pass(&pass()), NOW), Ok(pass()));
    assert!(!serde_json::to_string(ring.jwks()).unwrap().contains("\"d\""), "no private part is published");
}

#[test]
fn a_key_is_published_then_signs_then_retires() {
    let ticket_key = key("t1", Kind::Ticket, Alg::Hs256, Use::Sign, 1);
    let pass_key = |kid, use_, fill| key(kid, Kind::Pass, Alg::EdDsa, use_, fill);
    let ring_of =
        |old, new| KeyRing::new(&[ticket_key.clone(), pass_key("old", old, 2), pass_key("new", new, 3)]);
    let published = ring_of(Use::Sign, Use::Verify).unwrap();
    let switched = ring_of(Use::Verify, Use::Sign).unwrap();
    let retired = KeyRing::new(&[ticket_key.clone(), pass_key("new", Use::Sign, 3)]).unwrap();
    let by_old = published.sign_pass(&pass());
    let by_new = switched.sign_pass(&pass());
    assert!(published.pass(&by_new, NOW).is_ok() && switched.pass(&by_old, NOW).is_ok());
    assert!(retired.pass(&by_new, NOW).is_ok());
    assert_eq!(retired.pass(&by_old, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn keys_that_do_not_go_together_make_no_ring() {
    let t = |fill| key("t1", Kind::Ticket, Alg::Hs256, Use::Sign, fill);
    let p = |fill| key("p1", Kind::Pass, Alg::EdDsa, Use::Sign, fill);
    let error = |keys: &[Key]| KeyRing::new(keys).unwrap_err();
    assert_eq!(error(&[t(1)]), KeyError::Signers("pass", 0));
    assert_eq!(error(&[t(1), p(2), Key { kid: "p2".into(), ..p(3) }]), KeyError::Signers("pass", 2));
    assert_eq!(error(&[t(1), p(1)]), KeyError::SharedSecret("t1".into(), "p1".into()));
    assert_eq!(error(&[t(1), Key { kid: "t1".into(), ..p(2) }]), KeyError::Twice("t1".into()));
    assert_eq!(error(&[Key { alg: Alg::EdDsa, ..t(1) }, p(2)]), KeyError::TicketAlgorithm("t1".into()));
    assert_eq!(error(&[Key { secret: vec![1; 31], ..t(1) }, p(2)]), KeyError::TooShort("t1".into(), 31));
    assert_eq!(error(&[t(1), Key { secret: vec![2; 33], ..p(2) }]), KeyError::Seed("p1".into()));
}

#[test]
fn a_place_once_confirmed_keeps_its_moment_and_stands() {
    let late = ticket().confirm_by + Duration::from_micros(1);
    assert!(ticket().stands(NOW) && !ticket().stands(late));
    let confirmed = ticket().confirmed(NOW);
    assert!(confirmed.stands(late));
    assert_eq!(confirmed.clone().confirmed(late), confirmed);
    assert!(ticket().deferred(late, Duration::from_secs(120)).stands(late));
}
