//! Where a running edge is found.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::Serialize;

/// Where a running edge listens, as addresses that this machine can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub site: String,
    pub operator: String,
}

impl Addresses {
    pub(super) fn new(site: SocketAddr, site_is_tls: bool, operator: SocketAddr) -> Self {
        let scheme = if site_is_tls { "https" } else { "http" };
        Self {
            site: format!("{scheme}://{}", reachable(site)),
            operator: format!("http://{}", reachable(operator)),
        }
    }

    /// Writes the addresses as JSON. Whoever waits for the file finds it whole.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = file.with_file_name(name);
        let mut written = std::fs::File::create(&new)?;
        serde_json::to_writer(&mut written, self)?;
        written.write_all(b"\n")?;
        std::fs::rename(new, file)
    }
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
