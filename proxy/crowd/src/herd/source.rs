//! Where connections come from: addresses and ports of our choice. The kernel's own choice of a port gets slow once
//! tens of thousands are taken, and ends at 28,000 for one pair of addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::schedule::Shard;

/// Below are servers; above, on this address block, is nobody.
const FIRST_PORT: u16 = 10_000;
const PORTS: u32 = 55_000;
/// Ports tried for one connection.
const MAX_TRIES: u32 = 64;
/// Visitors' addresses are 127.100.0.1 and up.
const NETWORK: u32 = 0x7f64_0001;
const MAX_ADDRESSES: u64 = 1 << 16;

/// One process's share of the source ports of all addresses.
#[derive(Debug)]
pub struct Sources {
    addresses: u64,
    first_port: u32,
    ports: u32,
    taken: u32,
}

impl Sources {
    /// So many addresses that no more than `per_address` of `visitors` share one.
    pub fn new(visitors: u64, per_address: u64, shard: Shard) -> Self {
        let ports = PORTS / shard.of.max(1);
        Self {
            addresses: visitors.div_ceil(per_address.max(1)).clamp(1, MAX_ADDRESSES),
            first_port: u32::from(FIRST_PORT) + shard.index * ports,
            ports: ports.max(1),
            // Runs right behind each other begin elsewhere.
            taken: fastrand::u32(..ports.max(1)),
        }
    }

    /// The address of a visitor, if the edge is on this machine; else the machine's own.
    pub fn address(&self, number: u64, edge: SocketAddr) -> Option<Ipv4Addr> {
        let local = matches!(edge, SocketAddr::V4(to) if to.ip().is_loopback());
        local.then(|| Ipv4Addr::from(NETWORK + (number % self.addresses) as u32))
    }

    /// Begins to connect. A connection that is dropped is reset: no port stays in `TIME_WAIT`.
    pub fn connect(&mut self, number: u64, edge: SocketAddr) -> io::Result<TcpStream> {
        let Some(from) = self.address(number, edge) else {
            return begin(socket(edge)?, edge);
        };
        let mut refused = io::ErrorKind::AddrInUse.into();
        for _ in 0..MAX_TRIES {
            let socket = socket(edge)?;
            socket.set_reuse_address(true)?;
            let source = SocketAddrV4::new(from, self.next_port());
            match socket.bind(&source.into()).and_then(|()| begin(socket, edge)) {
                Err(error) if is_taken(&error) => refused = error,
                result => return result,
            }
        }
        Err(refused)
    }

    fn next_port(&mut self) -> u16 {
        self.taken = (self.taken + 1) % self.ports;
        u16::try_from(self.first_port + self.taken).unwrap_or(FIRST_PORT)
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

fn socket(edge: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(edge), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

fn begin(socket: Socket, edge: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&edge.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

    #[test]
    fn visitors_share_an_address_up_to_the_number_allowed() {
        let sources = Sources::new(1000, 200, Shard::WHOLE);
        let mut visitors = std::collections::BTreeMap::new();
        for number in 0..1000 {
            *visitors.entry(sources.address(number, EDGE).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(visitors.len(), 5);
        assert!(visitors.values().all(|sharing| *sharing == 200));
        assert_eq!(sources.address(0, "10.0.0.1:80".parse().unwrap()), None);
    }

    #[test]
    fn shards_have_ports_of_their_own() {
        let ports = |index| {
            let mut sources = Sources::new(10, 1, Shard { index, of: 8 });
            (0..20_000).map(|_| sources.next_port()).collect::<std::collections::BTreeSet<_>>()
        };
        let (one, last) = (ports(0), ports(7));
        assert!(one.is_disjoint(&last) && one.len() == 6875);
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let edge = listener.local_addr().unwrap();
        let mut sources = Sources::new(1, 1, Shard::WHOLE);
        let first = sources.connect(0, edge).unwrap();
        sources.taken -= 1;
        let second = sources.connect(0, edge).unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
