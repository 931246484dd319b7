//! What everybody in a herd says, in bytes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use room::wire::SUBPROTOCOL;

use super::reply::Names;
use crate::args::Target;
use crate::jar::SECURE_PREFIX;
use crate::world::World;

/// One request of a waiter's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Opens the site like a browser.
    Page,
    Join,
    /// The socket's handshake.
    Socket,
    Enter,
    Leave,
}

/// Who asks, as far as a request shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    pub ticket: Option<&'a str>,
    pub pass: Option<&'a str>,
    /// What the screen shows.
    pub place: Option<u64>,
    pub forwarded_for: Option<Ipv4Addr>,
}

/// The same for the whole herd.
#[derive(Debug)]
pub struct Script {
    pub names: Names,
    room: String,
    /// Where each edge is.
    targets: Vec<Target>,
}

impl Script {
    pub fn new(world: &World) -> Self {
        let names = Names {
            ticket: format!("vestibule_ticket_{}", world.room),
            pass: format!("vestibule_pass_{}", world.room),
        };
        let targets = world.edges.iter().map(|edge| edge.target.clone()).collect();
        Self { names, room: world.room.to_string(), targets }
    }

    pub fn request(&self, ask: Ask, edge: usize, shown: Shown<'_>) -> String {
        let (method, call) = match ask {
            Ask::Page => ("GET", None),
            Ask::Join => ("POST", Some("join")),
            Ask::Socket => ("GET", Some("ws")),
            Ask::Enter => ("POST", Some("enter")),
            Ask::Leave => ("DELETE", Some("leave")),
        };
        let mut path = call.map_or("/".into(), |call| format!("/_queue/{call}?room={}", self.room));
        if let (Ask::Join | Ask::Socket, Some(place)) = (ask, shown.place) {
            let _ = write!(path, "&shown={place}");
        }
        let target = self.targets.get(edge);
        let authority = target.map_or("", |target| target.authority.as_str());
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: crowd/{}\r\n{}",
            env!("CARGO_PKG_VERSION"),
            headers(ask),
        );
        // Writing into a string cannot fail.
        if ask == Ask::Socket {
            let origin = target.map(Target::origin).unwrap_or_default();
            let _ = write!(text, "Origin: {origin}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
        }
        let held = [(&self.names.ticket, shown.ticket), (&self.names.pass, shown.pass)];
        let mark = if target.is_some_and(|target| target.secure) { SECURE_PREFIX } else { "" };
        let mut cookies = held.into_iter().filter_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = cookies.next() {
            let _ = write!(text, "Cookie: {mark}{name}={value}");
            for (name, value) in cookies {
                let _ = write!(text, "; {mark}{name}={value}");
            }
            text.push_str("\r\n");
        }
        if let Some(address) = shown.forwarded_for {
            let _ = write!(text, "X-Forwarded-For: {address}\r\n");
        }
        text.push_str("\r\n");
        text
    }
}

/// Every socket has the same nonce: what it guards against are caches between, and there are none.
const fn headers(ask: Ask) -> &'static str {
    match ask {
        Ask::Page => {
            "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Dest: document\r\n\
             Accept-Encoding: gzip, br\r\n"
        }
        Ask::Join | Ask::Enter | Ask::Leave => {
            "Accept: application/json\r\nSec-Fetch-Dest: empty\r\nContent-Length: 0\r\n"
        }
        Ask::Socket => {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIGhlcmQgd2FpdHMuLg==\r\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        let names = Names { ticket: "vestibule_ticket_e1".into(), pass: "vestibule_pass_e1".into() };
        Script {
            names,
            room: "e1".into(),
            targets: vec!["http://127.0.0.1:81".parse().unwrap(), "https://a".parse().unwrap()],
        }
    }

    #[test]
    fn requests_are_whole_and_carry_what_is_held() {
        let forwarded_for = Some(Ipv4Addr::new(10, 1, 2, 3));
        let shown = Shown { ticket: Some("t"), pass: Some("p"), place: None, forwarded_for };
        for ask in [Ask::Page, Ask::Join, Ask::Socket, Ask::Enter, Ask::Leave] {
            let text = script().request(ask, 0, shown);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut headers);
            assert!(request.parse(text.as_bytes()).unwrap().is_complete(), "{text}");
            let value = |name| {
                let header = request.headers.iter().find(|header| header.name == name).unwrap();
                std::str::from_utf8(header.value).unwrap()
            };
            assert_eq!(value("Host"), "127.0.0.1:81");
            assert_eq!(value("Cookie"), "vestibule_ticket_e1=t; vestibule_pass_e1=p");
            assert_eq!(value("X-Forwarded-For"), "10.1.2.3");
        }
    }

    #[test]
    fn a_screen_says_what_it_shows_where_a_place_is_answered() {
        let path = |ask| {
            let text = script().request(ask, 0, Shown { place: Some(77), ..Shown::default() });
            text.split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(path(Ask::Socket), "/_queue/ws?room=e1&shown=77");
        assert_eq!(path(Ask::Join), "/_queue/join?room=e1&shown=77");
        assert_eq!(path(Ask::Leave), "/_queue/leave?room=e1");
    }

    #[test]
    fn by_tls_origin_and_cookies_say_so() {
        let text = script().request(Ask::Socket, 1, Shown { ticket: Some("t"), ..Shown::default() });
        assert!(text.contains("Host: a\r\n") && text.contains("Origin: https://a\r\n"), "{text}");
        assert!(text.contains("Cookie: __Host-vestibule_ticket_e1=t\r\n"), "{text}");
    }

    #[test]
    fn a_newcomer_shows_nothing() {
        let text = script().request(Ask::Page, 0, Shown::default());
        assert!(!text.contains("Cookie") && !text.contains("Forwarded"), "{text}");
    }
}
