//! The two cookies of a visitor.

use hyper::HeaderMap;
use hyper::header::SET_COOKIE;
use room::ids::RoomName;

/// Before the names of cookies that came by TLS (RFC 6265bis §4.1.3.2).
pub const SECURE_PREFIX: &str = "__Host-";

/// Holds what a browser would hold of ours; other cookies are not kept.
#[derive(Debug, Clone)]
pub struct Jar {
    ticket_name: String,
    pass_name: String,
    pub ticket: Option<String>,
    pub pass: Option<String>,
}

/// Which of the two an answer set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gained {
    pub ticket: bool,
    pub pass: bool,
}

impl Jar {
    pub fn new(room: &RoomName) -> Self {
        Self {
            ticket_name: format!("vestibule_ticket_{room}"),
            pass_name: format!("vestibule_pass_{room}"),
            ticket: None,
            pass: None,
        }
    }

    /// The `Cookie` header; `None` when there is nothing to send.
    pub fn header(&self) -> Option<String> {
        let held = [(&self.ticket_name, &self.ticket), (&self.pass_name, &self.pass)];
        let pairs: Vec<String> = held
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The name under which a pass would be held, for those who forge one.
    pub fn pass_name(&self) -> &str {
        &self.pass_name
    }

    /// Takes in what an answer sets; a cookie that is emptied or has no age left is dropped.
    pub fn absorb(&mut self, headers: &HeaderMap) -> Gained {
        let mut gained = Gained::default();
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let Some(Named { name, value, gone }) = Named::parse(line) else {
                continue;
            };
            let kept = (!gone).then(|| value.to_owned());
            if is_same(name, &self.ticket_name) {
                gained.ticket = kept.is_some();
                name.clone_into(&mut self.ticket_name);
                self.ticket = kept;
            } else if is_same(name, &self.pass_name) {
                gained.pass = kept.is_some();
                name.clone_into(&mut self.pass_name);
                self.pass = kept;
            }
        }
        gained
    }
}

/// Whether two names are of the same cookie, which may have come by TLS.
pub fn is_same(name: &str, other: &str) -> bool {
    name.strip_prefix(SECURE_PREFIX).unwrap_or(name) == other.strip_prefix(SECURE_PREFIX).unwrap_or(other)
}

/// One line of `Set-Cookie`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    pub name: &'a str,
    pub value: &'a str,
    /// The line deletes the cookie.
    pub gone: bool,
}

impl<'a> Named<'a> {
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let gone = value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
        Some(Self { name, value, gone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (SET_COOKIE, line.parse().unwrap())).collect()
    }

    #[test]
    fn the_two_cookies_of_the_room_are_kept_and_sent() {
        let mut jar = Jar::new(&"e1".parse().unwrap());
        let gained = jar.absorb(&answer(&[
            "vestibule_ticket_e1=t; Path=/; HttpOnly",
            "other=1",
            "vestibule_ticket_e2=x",
        ]));
        assert_eq!(gained, Gained { ticket: true, pass: false });
        jar.absorb(&answer(&["vestibule_pass_e1=p"]));
        assert_eq!(jar.header().unwrap(), "vestibule_ticket_e1=t; vestibule_pass_e1=p");
    }

    #[test]
    fn a_cookie_that_came_by_tls_is_sent_under_its_own_name() {
        let mut jar = Jar::new(&"e1".parse().unwrap());
        jar.absorb(&answer(&["__Host-vestibule_ticket_e1=t; Path=/; Secure"]));
        assert_eq!(jar.header().unwrap(), "__Host-vestibule_ticket_e1=t");
        jar.absorb(&answer(&["__Host-vestibule_ticket_e1=u", "__Host-vestibule_ticket_e2=x"]));
        assert_eq!(jar.header().unwrap(), "__Host-vestibule_ticket_e1=u");
    }

    #[test]
    fn a_deleted_cookie_is_dropped() {
        let mut jar = Jar::new(&"e1".parse().unwrap());
        jar.absorb(&answer(&["vestibule_pass_e1=p"]));
        assert_eq!(jar.absorb(&answer(&["vestibule_pass_e1=; Max-Age=0"])), Gained::default());
        assert_eq!(jar.header(), None);
    }
}
