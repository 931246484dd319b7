//! The PROXY protocol, versions 1 and 2: a load balancer that forwards bare TCP says who is on the other side.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_MAX_BYTES: usize = 107;
/// Addresses and the extensions that load balancers send.
const V2_MAX_BYTES: usize = 2048;

/// A header that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not start with a valid PROXY header")]
pub(super) struct BadHeader;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Who connected to the proxy; `None` if it speaks for itself (a health check) or does not know.
    pub(super) source: Option<SocketAddr>,
    /// Length of the header.
    pub(super) length: usize,
}

/// Reads the header from the start of a connection; what came behind it stays in `arrived`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    arrived: &mut BytesMut,
) -> io::Result<Option<SocketAddr>> {
    loop {
        if let Some(found) = parse(arrived).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))? {
            let _ = arrived.split_to(found.length);
            return Ok(found.source);
        }
        if stream.read_buf(arrived).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// `Ok(None)`: not all of it has arrived.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Found>, BadHeader> {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..shared) == V2_SIGNATURE.get(..shared) {
        return if shared < V2_SIGNATURE.len() { Ok(None) } else { parse_v2(bytes) };
    }
    let Some(end) = bytes.windows(2).take(V1_MAX_BYTES).position(|pair| pair == b"\r\n") else {
        let possible = bytes.len() < V1_MAX_BYTES && b"PROXY ".starts_with(bytes.get(..6).unwrap_or(bytes));
        return if possible { Ok(None) } else { Err(BadHeader) };
    };
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(BadHeader)?;
    Ok(Some(Found { source: parse_v1(line)?, length: end + 2 }))
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`
fn parse_v1(line: &str) -> Result<Option<SocketAddr>, BadHeader> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err(BadHeader);
    }
    let family = words.next().ok_or(BadHeader)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut word = || words.next().ok_or(BadHeader);
    let (source, _destination, port, _to_port) = (word()?, word()?, word()?, word()?);
    let source: IpAddr = source.parse().map_err(|_| BadHeader)?;
    let matches = matches!((family, source), ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)));
    if !matches || words.next().is_some() {
        return Err(BadHeader);
    }
    Ok(Some(SocketAddr::new(source, port.parse().map_err(|_| BadHeader)?)))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Found>, BadHeader> {
    let Some(&[command, family, high, low]) = bytes.get(12..16) else {
        return Ok(None);
    };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || length > V2_MAX_BYTES {
        return Err(BadHeader);
    }
    let Some(payload) = bytes.get(16..length) else {
        return Ok(None);
    };
    let source = match (command & 0xf, family) {
        (1, 0x11) => Some(v4(payload).ok_or(BadHeader)?),
        (1, 0x21) => Some(v6(payload).ok_or(BadHeader)?),
        // The proxy itself (0), or a family that has no address.
        (0 | 1, _) => None,
        _ => return Err(BadHeader),
    };
    Ok(Some(Found { source, length }))
}

fn v4(payload: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = payload.get(..4)?.try_into().ok()?;
    Some(SocketAddr::new(Ipv4Addr::from(address).into(), port(payload.get(8..12)?)?))
}

fn v6(payload: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = payload.get(..16)?.try_into().ok()?;
    Some(SocketAddr::new(Ipv6Addr::from(address).into(), port(payload.get(32..36)?)?))
}

/// The source port stands before the destination's.
fn port(ports: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(ports.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, payload].concat()
    }

    fn source(bytes: &[u8]) -> Result<Option<String>, BadHeader> {
        let whole = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        for length in 0..bytes.len() {
            assert_eq!(parse(&whole[..length]), Ok(None), "{length}");
        }
        let found = parse(&whole)?.unwrap();
        assert_eq!(found.length, bytes.len());
        Ok(found.source.map(|source| source.to_string()))
    }

    #[test]
    fn version_1_names_the_source() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", Some("192.0.2.1:4711")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", Some("[2001:db8::1]:4711")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            assert_eq!(source(line.as_bytes()).unwrap().as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn version_2_names_the_source() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 1, 187];
        assert_eq!(source(&v2(0x21, 0x11, &v4)).unwrap().as_deref(), Some("192.0.2.1:4711"));
        let with_extension = [&v4[..], &[4, 0, 1, 0]].concat();
        assert_eq!(source(&v2(0x21, 0x11, &with_extension)).unwrap().as_deref(), Some("192.0.2.1:4711"));
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0x12, 0x67, 1, 187]].concat();
        assert_eq!(source(&v2(0x21, 0x21, &v6)).unwrap().as_deref(), Some("[2001:db8::1]:4711"));
        assert_eq!(source(&v2(0x20, 0, &[])), Ok(None), "the proxy itself");
    }

    #[test]
    fn anything_else_is_no_header() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 4]),
            &v2(0x21, 0x11, &[0; 3000]),
            &[b'P'; 200],
        ] {
            assert_eq!(parse(bytes), Err(BadHeader), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), v2 in any::<bool>()) {
            let start: &[u8] = if v2 { V2_SIGNATURE } else { b"PROXY " };
            let whole = [start, &bytes].concat();
            if let Ok(Some(found)) = parse(&whole) {
                prop_assert!(found.length <= whole.len());
            }
        }
    }
}
