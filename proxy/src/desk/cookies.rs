//! The two cookies of a browser (RFC 6265): ticket and pass, one of each for a room.

use http::{HeaderMap, HeaderValue, header};
use room::ids::RoomName;
use room::token::Kind;

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
    headers: &'a HeaderMap,
    kind: Kind,
    room: Option<&'a RoomName>,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter_map(move |(name, value)| {
        let name = name.strip_prefix(SECURE_PREFIX).unwrap_or(name);
        let of_room = name.strip_prefix(stem(kind))?;
        room.is_none_or(|room| room.as_str() == of_room).then_some(value)
    });
    ours.take(MOST)
}

/// `Set-Cookie` for a token that is good for `max_age_secs`; zero takes the cookie away.
pub(super) fn set(
    kind: Kind,
    room: &RoomName,
    token: &str,
    max_age_secs: u64,
    secure: bool,
) -> Option<HeaderValue> {
    let (prefix, flag) = if secure { (SECURE_PREFIX, "; Secure") } else { ("", "") };
    let (before, age) = ("; Path=/; HttpOnly; SameSite=Lax; Max-Age=", max_age_secs.to_string());
    let text = [prefix, stem(kind), room.as_str(), "=", token, before, &age, flag].concat();
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookies_are_found_among_others_by_room() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=b; vestibule_pass_e1=one; vestibule_pass_e2=two"),
        );
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-vestibule_pass_e1=three;x"));
        let e1 = "e1".parse().unwrap();
        assert_eq!(values(&headers, Kind::Pass, Some(&e1)).collect::<Vec<_>>(), ["one", "three"]);
        assert_eq!(values(&headers, Kind::Pass, None).count(), 3);
        assert_eq!(values(&headers, Kind::Ticket, None).count(), 0);
    }

    #[test]
    fn under_tls_a_cookie_is_bound_to_its_host() {
        let e1 = "e1".parse().unwrap();
        let value = set(Kind::Ticket, &e1, "t", 60, true).unwrap();
        let expected = "__Host-vestibule_ticket_e1=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure";
        assert_eq!(value.to_str().unwrap(), expected);
        assert!(!set(Kind::Ticket, &e1, "t", 60, false).unwrap().to_str().unwrap().contains("Secure"));
    }
}
