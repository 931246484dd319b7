//! Addresses as people write them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Text that is not an address of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("it must start with {0}")]
    Scheme(&'static str),
    #[error("it has no valid host name")]
    Host,
    #[error("`{0}` is no port from 1 to 65535")]
    Port(String),
    #[error("it must end after the port: paths are forwarded as visitors send them")]
    Path,
    #[error("it must not carry a user name")]
    UserInfo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An origin server: `http://app.internal:8090`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    pub scheme: Scheme,
    /// Lower case; a name or an address (IPv6 without brackets).
    pub host: String,
    pub port: u16,
}

impl FromStr for UpstreamUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = web_scheme(text)?;
        let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
        Ok(Self { scheme, host, port: port.unwrap_or(scheme.default_port()) })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), Bracketed(&self.host), self.port)
    }
}

/// The origin of a page, in the form that browsers send in `Origin`: no path, no default port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = web_scheme(text)?;
        let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
        let host = Bracketed(&host);
        match port.filter(|port| *port != scheme.default_port()) {
            Some(port) => Ok(Self(format!("{}://{host}:{port}", scheme.as_str()))),
            None => Ok(Self(format!("{}://{host}", scheme.as_str()))),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of a Redis server, sentinel or cluster node. Shown without what stands before the `@`.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// With user name and password, if it has them.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for StoreUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        const SCHEMES: [&str; 4] = ["redis://", "rediss://", "unix://", "redis+unix://"];
        let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
            return Err(AddressError::Scheme("redis://, rediss:// or unix://"));
        };
        if !text.contains("unix://") {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            host_and_port(authority.rsplit('@').next().unwrap_or_default())?;
        } else if !rest.starts_with('/') {
            return Err(AddressError::Host);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => write!(f, "{scheme}://{rest}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Which hosts a match speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Any,
    /// Lower case, without port and trailing dot.
    Exact(String),
}

impl FromStr for HostPattern {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "*" => Ok(Self::Any),
            name => host(name.strip_suffix('.').unwrap_or(name)).map(Self::Exact),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

fn web_scheme(text: &str) -> Result<(Scheme, &str), AddressError> {
    if let Some(rest) = text.strip_prefix("http://") {
        Ok((Scheme::Http, rest))
    } else if let Some(rest) = text.strip_prefix("https://") {
        Ok((Scheme::Https, rest))
    } else {
        Err(AddressError::Scheme("http:// or https://"))
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), AddressError> {
    if authority.contains('@') {
        return Err(AddressError::UserInfo);
    }
    if authority.contains(['/', '?', '#']) {
        return Err(AddressError::Path);
    }
    let in_brackets = authority.strip_prefix('[').map(|rest| rest.split_once(']').ok_or(AddressError::Host));
    let (name, port) = match in_brackets.transpose()? {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or(AddressError::Host)?)),
        None => authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(AddressError::Port(port.to_owned())),
    });
    Ok((host(name)?, port.transpose()?))
}

/// A host name or address in lower case.
fn host(text: &str) -> Result<String, AddressError> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| AddressError::Host);
    }
    let name = text.to_ascii_lowercase();
    let label = |label: &str| {
        let fits = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 253 && name.split('.').all(label) { Ok(name) } else { Err(AddressError::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_scheme_host_and_port() {
        for (text, shown) in [
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("https://App.Internal/", "https://app.internal:443"),
            ("http://[::1]:8090", "http://[::1]:8090"),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>().unwrap().to_string(), shown);
        }
        for (text, error) in [
            ("127.0.0.1:8090", AddressError::Scheme("http:// or https://")),
            ("http://", AddressError::Host),
            ("http://a:0", AddressError::Port("0".into())),
            ("http://a:b", AddressError::Port("b".into())),
            ("http://a/shop", AddressError::Path),
            ("http://me@a", AddressError::UserInfo),
            ("http://[::1", AddressError::Host),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_origin_looks_as_browsers_send_it() {
        for (text, sent) in [
            ("https://Shop.example.com:443/", "https://shop.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), sent);
        }
    }

    #[test]
    fn a_store_address_never_shows_its_password() {
        let url: StoreUrl = "redis://edge:p@ss@redis.internal:6379/1".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "redis://redis.internal:6379/1 redis://redis.internal:6379/1");
        assert!(url.reveal().contains("p@ss"));
        assert!("unix:///run/redis.sock".parse::<StoreUrl>().is_ok());
        assert!("http://redis".parse::<StoreUrl>().is_err());
        assert_eq!("redis://redis:x".parse::<StoreUrl>(), Err(AddressError::Port("x".into())));
    }

    #[test]
    fn a_host_pattern_is_a_name_or_any() {
        assert_eq!("*".parse(), Ok(HostPattern::Any));
        assert_eq!("Shop.Example.com.".parse(), Ok(HostPattern::Exact("shop.example.com".into())));
        assert_eq!("*.example.com".parse::<HostPattern>(), Err(AddressError::Host));
    }
}
