//! Who is asking: the peer itself, or whoever the trusted proxies in front say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::request::{Fields, Known, plain_text};

/// More proxies than this in a row are a forgery or a loop.
const MAX_HOPS: usize = 16;

/// The networks whose word about visitors is taken; replaced as a whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<ArcSwap<Vec<IpNet>>>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(networks)))
    }

    pub fn replace(&self, networks: Vec<IpNet>) {
        self.0.store(Arc::new(networks));
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.load().iter().any(|network| network.contains(&address))
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: IpAddr,
    /// As text: made once for all requests of the connection.
    shown: Arc<str>,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, shown: address.to_string().into() }
    }
}

/// What is known of the way that a request took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hops {
    pub(super) client: IpAddr,
    /// Whether the visitor speaks TLS.
    pub(super) secure: bool,
    /// `X-Forwarded-For` for the origin: the client, then the trusted hops, the peer last.
    pub(super) forwarded_for: Arc<str>,
    /// Whether the peer is a trusted proxy.
    pub(super) trusted: bool,
}

impl Hops {
    /// `tls` says whether the connection of the peer is encrypted.
    pub(super) fn read(peer: &Peer, tls: bool, fields: &Fields, proxies: &TrustedProxies) -> Self {
        let Peer { address: peer, shown } = peer;
        let peer = *peer;
        if !proxies.trusts(peer) {
            return Self { client: peer, secure: tls, forwarded_for: Arc::clone(shown), trusted: false };
        }
        let secure = scheme(fields).map_or(tls, |scheme| scheme.eq_ignore_ascii_case("https"));
        if fields.get(Known::XForwardedFor).is_none() {
            return Self { client: peer, secure, forwarded_for: Arc::clone(shown), trusted: true };
        }
        let mut way = vec![peer];
        for hop in named_from_the_right(fields).take(MAX_HOPS) {
            let Some(hop) = hop else { break };
            way.push(hop);
            if !proxies.trusts(hop) {
                break;
            }
        }
        let client = way.last().copied().unwrap_or(peer);
        let shown: Vec<String> = way.iter().rev().map(IpAddr::to_string).collect();
        Self { client, secure, forwarded_for: shown.join(", ").into(), trusted: true }
    }
}

/// The entries of `X-Forwarded-For`, nearest hop first; `None` for one that is no address.
fn named_from_the_right(fields: &Fields) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = fields.all(Known::XForwardedFor).rev().map(|line| plain_text(line).unwrap_or("?"));
    lines.flat_map(|line| line.rsplit(',')).map(|entry| address(entry.trim()))
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse().ok().or_else(with_port).or_else(bare).map(|address: IpAddr| address.to_canonical())
}

/// The word of the nearest hop, which stands last.
fn scheme(fields: &Fields) -> Option<&str> {
    let line = fields.all(Known::XForwardedProto).next_back()?;
    plain_text(line)?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(peer: &str, lines: &[(&'static str, &str)]) -> Hops {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        Hops::read(&Peer::new(peer.parse().unwrap()), false, &lines.iter().copied().collect(), &proxies)
    }

    #[test]
    fn a_stranger_speaks_for_nobody_else() {
        let seen = hops("192.0.2.9", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")]);
        assert_eq!(seen.client.to_string(), "192.0.2.9");
        assert!(!seen.secure && !seen.trusted);
        assert_eq!(&*seen.forwarded_for, "192.0.2.9");
    }

    #[test]
    fn the_visitor_is_the_rightmost_address_that_is_no_proxy_of_ours() {
        for (line, client, shown) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("6.6.6.6, 192.0.2.1, 10.1.1.1", "192.0.2.1", "192.0.2.1, 10.1.1.1, 10.0.0.1"),
            ("10.2.2.2,10.1.1.1", "10.2.2.2", "10.2.2.2, 10.1.1.1, 10.0.0.1"),
            ("6.6.6.6, unknown, 10.1.1.1", "10.1.1.1", "10.1.1.1, 10.0.0.1"),
            ("192.0.2.1:4711", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("[2001:db8::1]:4711", "2001:db8::1", "2001:db8::1, 10.0.0.1"),
            ("[2001:db8::1]", "2001:db8::1", "2001:db8::1, 10.0.0.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ] {
            let seen = hops("10.0.0.1", &[("x-forwarded-for", line)]);
            assert_eq!((seen.client.to_string().as_str(), &*seen.forwarded_for), (client, shown), "{line}");
        }
        assert_eq!(hops("::ffff:10.0.0.1", &[]).client.to_string(), "10.0.0.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let seen = hops("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(seen.client.to_string(), "192.0.2.1");
    }

    #[test]
    fn a_proxy_says_whether_the_visitor_came_encrypted() {
        assert!(hops("10.0.0.1", &[("x-forwarded-proto", "https")]).secure);
        assert!(!hops("10.0.0.1", &[("x-forwarded-proto", "https, http")]).secure);
        assert!(!hops("10.0.0.1", &[]).secure);
    }
}
