//! The two cookies of a browser (RFC 6265): ticket and pass, one of each for a room.

use http::HeaderValue;
use room::ids::RoomName;
use room::token::Kind;

use crate::request::{Fields, Known};

const SECURE_PREFIX: &str = "__Host-";
/// Cookies looked at in one request; nobody honest has more of ours.
const MOST: usize = 16;

fn stem(kind: Kind) -> &'static str {
    match kind {
        Kind::Ticket => "vestibule_ticket_",
        Kind::Pass => "vestibule_pass_",
    }
}

/// Values of our cookies of one kind, in the order they came: those of `room`, or of any.
pub(super) fn values<'a>(
    fields: &'a Fields,
    kind: Kind,
    room: Option<&'a RoomName>,
) -> impl Iterator<Item = &'a str> {
    let pairs = fields
        .texts(Known::Cookie)
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter_map(move |(name, value)| {
        let name = name.strip_prefix(SECURE_PREFIX).unwrap_or(name);
        let of_room = name.strip_prefix(stem(kind))?;
        room.is_none_or(|room| room.as_str() == of_room).then_some(value)
    });
    ours.take(MOST)
}

/// The value of a `Set-Cookie`.
pub(super) struct Cookie(String);

impl Cookie {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn value(self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A cookie for a token that is good for `max_age_secs`; zero takes it away.
pub(super) fn set(kind: Kind, room: &RoomName, token: &str, max_age_secs: u64, secure: bool) -> Cookie {
    let (prefix, flag) = if secure { (SECURE_PREFIX, "; Secure") } else { ("", "") };
    let (before, age) = ("; Path=/; HttpOnly; SameSite=Lax; Max-Age=", max_age_secs.to_string());
    Cookie([prefix, stem(kind), room.as_str(), "=", token, before, &age, flag].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookies_are_found_among_others_by_room() {
        let lines = ["a=b; vestibule_pass_e1=one; vestibule_pass_e2=two", "__Host-vestibule_pass_e1=three;x"];
        let fields: Fields = lines.into_iter().map(|line| ("cookie", line)).collect();
        let e1 = "e1".parse().unwrap();
        assert_eq!(values(&fields, Kind::Pass, Some(&e1)).collect::<Vec<_>>(), ["one", "three"]);
        assert_eq!(values(&fields, Kind::Pass, None).count(), 3);
        assert_eq!(values(&fields, Kind::Ticket, None).count(), 0);
    }

    #[test]
    fn under_tls_a_cookie_is_bound_to_its_host() {
        let e1 = "e1".parse().unwrap();
        let cookie = set(Kind::Ticket, &e1, "t", 60, true);
        let expected = "__Host-vestibule_ticket_e1=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure";
        assert_eq!(cookie.as_str(), expected);
        assert!(cookie.value().is_some_and(|value| value == expected && value.is_sensitive()));
        assert!(!set(Kind::Ticket, &e1, "t", 60, false).as_str().contains("Secure"));
    }
}
