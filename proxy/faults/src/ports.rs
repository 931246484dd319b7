//! Ports that keep: below the range from which the kernel takes the ports of clients, so that a server which was
//! killed finds its own free again.

use std::net::{Ipv4Addr, TcpListener};

/// `/proc/sys/net/ipv4/ip_local_port_range` begins at 32,768.
const RANGE: std::ops::Range<u16> = 18_000..32_000;
/// A node of a cluster also listens this much higher.
const BUS: u16 = 10_000;

/// Gives each port once.
#[derive(Debug)]
pub(crate) struct Ports(u16);

impl Ports {
    /// Begins somewhere, so that runs side by side hardly meet.
    pub(crate) fn new() -> Self {
        Self(fastrand::u16(RANGE))
    }

    /// A port on which nobody listens at the moment.
    pub(crate) fn free(&mut self) -> u16 {
        self.first(is_free)
    }

    /// One whose port for the cluster's own traffic is free too.
    pub(crate) fn free_with_bus(&mut self) -> u16 {
        self.first(|port| is_free(port) && is_free(port + BUS))
    }

    fn first(&mut self, fits: impl Fn(u16) -> bool) -> u16 {
        loop {
            self.0 = if self.0 + 1 < RANGE.end { self.0 + 1 } else { RANGE.start };
            if fits(self.0) {
                return self.0;
            }
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
