//! The two cookies of a browser (RFC 6265): ticket and pass, one of each for a room.

use std::borrow::Cow;

use http::{HeaderValue, header};
use room::ids::RoomName;
use room::token::Kind;

use crate::request::{Digits, Fields, Known, Lines};

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

/// A `Set-Cookie`, not in one piece yet: most are written straight into an answer.
pub(super) struct Cookie<'a> {
    pub(super) kind: Kind,
    pub(super) room: &'a RoomName,
    pub(super) token: Cow<'a, str>,
    /// Zero takes the cookie away.
    pub(super) max_age_secs: u64,
    pub(super) secure: bool,
}

impl Cookie<'_> {
    pub(super) fn add_to(&self, headers: &mut Lines) {
        headers.add_parts(&header::SET_COOKIE, &self.parts(&Digits::of(self.max_age_secs)));
    }

    pub(super) fn value(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(self.parts(&Digits::of(self.max_age_secs)).concat()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn parts<'b>(&'b self, age: &'b Digits) -> [&'b [u8]; 8] {
        let (prefix, flag) = if self.secure { (SECURE_PREFIX, "; Secure") } else { ("", "") };
        let [prefix, stem, room, token, flag] =
            [prefix, stem(self.kind), self.room.as_str(), &self.token, flag].map(str::as_bytes);
        let behind = b"; Path=/; HttpOnly; SameSite=Lax; Max-Age=";
        [prefix, stem, room, b"=", token, behind, age.as_bytes(), flag]
    }
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
        let cookie =
            |secure| Cookie { kind: Kind::Ticket, room: &e1, token: "t".into(), max_age_secs: 60, secure };
        let expected = "__Host-vestibule_ticket_e1=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure";
        assert!(cookie(true).value().is_some_and(|value| value == expected && value.is_sensitive()));
        let expected = "vestibule_ticket_e1=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60";
        assert_eq!(cookie(false).value().unwrap(), expected);
        let mut headers = Lines::default();
        cookie(false).add_to(&mut headers);
        assert_eq!(headers.iter().next(), Some((&b"set-cookie"[..], expected.as_bytes())));
    }
}
