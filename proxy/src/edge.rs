//! The edge: everything between a visitor's connection and [`Decide`].
//!
//! | module | does |
//! |---|---|
//! | [`listener`] | accepts, caps, PROXY protocol, TLS |
//! | [`connection`] | one connection: head, plan, answer |
//! | [`head`], [`fields`], [`path`], [`hops`], [`framed`] | bytes to facts; pure |
//! | [`answer`], [`refusal`], [`failure`] | what the edge says itself |
//! | [`within`], [`alarm`], [`signal`] | what hardly ever comes: the end of a time, the order to stop |
//! | [`plain`] | a connection without TLS, as Pingora's code sees it |
//! | [`websocket`] | the opening handshake of a waiter's socket |
//! | [`forward`], [`dress`], [`one_request`], [`trip`] | requests that Pingora carries to an origin |
//! | [`relay`], [`kept`] | plain requests to plain origins, without Pingora's state machines |
//! | [`tunnel`] | WebSockets of admitted visitors |
//! | [`upstream`] | origin servers and their health |

mod alarm;
mod answer;
mod connection;
mod dress;
mod failure;
mod fields;
mod forward;
mod framed;
mod head;
mod hops;
mod kept;
mod listener;
mod one_request;
pub mod path;
mod plain;
mod proxy_protocol;
pub mod refusal;
mod relay;
mod signal;
pub mod tls;
mod trip;
mod tunnel;
pub mod upstream;
pub mod websocket;
mod within;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::proxy::HttpProxy;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::forward::Forwarder;
pub use self::hops::TrustedProxies;
use self::signal::Signal;
use self::tls::TlsIdentity;
use crate::request::Decide;

/// What an edge is made of. Everything but the listener has a usable default.
pub struct EdgeOptions {
    /// Bound already, so that the address is known and a busy port is the caller's error. See [`bind`].
    pub listener: TcpListener,
    pub tls: Option<TlsIdentity>,
    pub trusted_proxies: TrustedProxies,
    /// Whether connections from trusted proxies start with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// PEM file of the authorities that origins are checked against, instead of the system's.
    pub upstream_ca_file: Option<String>,
    pub limits: EdgeLimits,
    /// Whether plain requests take the short way to an origin. Otherwise all go through Pingora.
    pub short_way: bool,
    /// Called once when the edge begins to stop: readiness goes off here.
    pub on_stop: Box<dyn FnOnce() + Send>,
}

impl EdgeOptions {
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            tls: None,
            trusted_proxies: TrustedProxies::default(),
            proxy_protocol: false,
            upstream_ca_file: None,
            limits: EdgeLimits::default(),
            short_way: true,
            on_stop: Box::new(|| {}),
        }
    }
}

impl fmt::Debug for EdgeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeOptions")
            .field("listener", &self.listener)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds of one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLimits {
    /// All connections together, waiters among them: one descriptor each.
    pub connections: usize,
    /// From the connection (or the first byte of a later request) to the end of the head.
    pub head: Duration,
    /// Between requests.
    pub keep_alive: Duration,
    /// Between two reads of a body that is forwarded.
    pub body: Duration,
    /// For a client to take what is written to it.
    pub write: Duration,
    /// How long a tunnel may be silent.
    pub tunnel: Duration,
    /// After the order to stop: how long new connections are still taken, until nobody sends them here any more; and
    /// how long after it, or after its last answer, a connection may be idle.
    pub linger: Duration,
    /// After that: how long sessions may go on before they are cut.
    pub drain: Duration,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections: 18_000,
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(5),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            tunnel: Duration::from_secs(600),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(30),
        }
    }
}

/// A running edge.
#[derive(Debug)]
pub struct EdgeHandle {
    pub address: SocketAddr,
    /// Ends when the edge has stopped and no connection is left.
    pub done: JoinHandle<()>,
}

/// What all connections of one edge share.
struct Shared {
    decide: Arc<dyn Decide>,
    proxy: Arc<HttpProxy<Forwarder>>,
    /// For tunnels.
    connector: TransportConnector,
    trusted_proxies: TrustedProxies,
    proxy_protocol: bool,
    tls: Option<TlsIdentity>,
    limits: EdgeLimits,
    short_way: bool,
    places: Arc<Semaphore>,
    /// Each connection ends with the answer that it gets next.
    stopping: watch::Receiver<bool>,
    /// Stop now.
    killed: watch::Receiver<bool>,
}

impl Shared {
    /// Without anybody who could say so, too.
    fn is_stopping(&self) -> bool {
        !matches!(self.stopping.has_changed(), Ok(false))
    }

    /// Runs one connection, or what became of it, on a task of its own.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut killed = Signal::new(self.killed.clone());
        tokio::spawn(async move {
            let mut work = pin!(work);
            poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => killed.poll(cx),
            })
            .await;
        });
    }
}

/// Binds `address` (port 0: any) for [`serve`].
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Starts an edge on the current runtime. It stops when `stop` becomes true, or when its sender is gone.
pub fn serve(
    options: EdgeOptions,
    decide: Arc<dyn Decide>,
    stop: watch::Receiver<bool>,
) -> io::Result<EdgeHandle> {
    options.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(options.listener)?;
    let address = listener.local_addr()?;
    let (stopping_sender, stopping) = watch::channel(false);
    let (killed_sender, killed) = watch::channel(false);
    tls::install_crypto();
    let mut connector = ConnectorOptions::new(0);
    connector.ca_file.clone_from(&options.upstream_ca_file);
    let shared = Arc::new(Shared {
        decide,
        proxy: forward::proxy(options.upstream_ca_file),
        connector: TransportConnector::new(Some(connector)),
        trusted_proxies: options.trusted_proxies,
        proxy_protocol: options.proxy_protocol,
        tls: options.tls,
        places: Arc::new(Semaphore::new(options.limits.connections)),
        limits: options.limits,
        short_way: options.short_way,
        stopping,
        killed,
    });
    let signals = listener::Signals {
        stop,
        on_stop: options.on_stop,
        stopping: stopping_sender,
        killed: killed_sender,
    };
    let done = tokio::spawn(listener::run(listener, shared, signals));
    Ok(EdgeHandle { address, done })
}
