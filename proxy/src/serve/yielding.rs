//! A listener that leaves off when a successor accepts in its place.

use std::io;
use std::net::SocketAddr;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Accepts until `yielded` turns true. Those who were accepted by then are served: told to stop as a whole, the
/// server would close the connections on which nothing was asked yet.
#[derive(Debug)]
pub(super) struct Yielding {
    listener: Option<TcpListener>,
    address: SocketAddr,
    yielded: watch::Receiver<bool>,
}

impl Yielding {
    pub(super) fn new(listener: std::net::TcpListener, yielded: watch::Receiver<bool>) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { address: listener.local_addr()?, listener: Some(listener), yielded })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Listener for Yielding {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                biased;
                // Without a sender the edge is over.
                _ = self.yielded.wait_for(|yielded| *yielded) => {}
                accepted = Listener::accept(listener) => return accepted,
            }
        }
        self.listener = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
