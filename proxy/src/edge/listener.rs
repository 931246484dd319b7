//! New connections, and the end of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as L4Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::alarm::Alarm;
use super::connection::Connection;
use super::hops::Peer;
use super::plain::Plain;
use super::refusal::Refusal;
use super::signal::Signal;
use super::{Shared, answer, proxy_protocol};

/// How long accepting pauses when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// How one edge is told to end.
pub(super) struct Signals {
    pub(super) stop: watch::Receiver<bool>,
    pub(super) on_stop: Box<dyn FnOnce() + Send>,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) killed: watch::Sender<bool>,
}

/// Accepts until told to stop, then some more, then waits for the last connection.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, signals: Signals) {
    let Signals { mut stop, on_stop, stopping, killed } = signals;
    tokio::select! {
        () = accept(&listener, &shared) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    on_stop();
    stopping.send_replace(true);
    // Whoever spreads the connections needs a moment to notice that this edge is no longer ready.
    let _ = timeout(shared.limits.linger, accept(&listener, &shared)).await;
    take_queued(listener, &shared);
    let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
    if timeout(shared.limits.drain, shared.places.acquire_many(all)).await.is_err() {
        let left = shared.limits.connections.saturating_sub(shared.places.available_permits());
        tracing::warn!(connections = left, "connections are cut: they did not end in time");
        killed.send_replace(true);
        // Dropping a connection does not block, so this is soon over.
        let _ = shared.places.acquire_many(all).await;
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, shared),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                sleep(BREATH).await;
            }
        }
    }
}

/// Takes those whom the kernel has accepted already: closing the listener would reset them.
fn take_queued(listener: TcpListener, shared: &Arc<Shared>) {
    let Ok(listener) = listener.into_std() else { return };
    let most = shared.limits.connections;
    // It ends with the first that is not there.
    let queued = std::iter::from_fn(|| listener.accept().ok()).take(most);
    for (stream, peer) in queued {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        // A connection that cannot be registered is closed, as one too many would be.
        let _ = stream.map(|stream| admit(stream, peer, shared));
    }
}

/// Whether it says something of the connection and nothing of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    let Ok(permit) = Arc::clone(&shared.places).try_acquire_owned() else {
        return turn_away(&stream, shared);
    };
    // Without it an answer may wait for an acknowledgement; with it nothing else changes.
    let _ = stream.set_nodelay(true);
    shared.spawn(open(stream, peer, Arc::clone(shared), permit));
}

/// Says why, as far as the socket takes it at once: a full edge spends no task on those it cannot hold.
fn turn_away(stream: &TcpStream, shared: &Shared) {
    tracing::warn!(limit = shared.limits.connections, "a connection was turned away: the edge is full");
    if shared.tls.is_none() {
        let _ = stream.try_write(&answer::last_words(Refusal::Full.answer()));
    }
}

/// From a TCP connection to the stream that requests come on.
async fn open(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, permit: OwnedSemaphorePermit) {
    let accepted = Instant::now();
    let deadline = accepted + shared.limits.head;
    let Ok(Ok((stream, peer, arrived))) = timeout_at(deadline, handshake(stream, peer, &shared)).await else {
        return;
    };
    let (tls, peer) = (shared.tls.is_some(), Peer::new(peer.ip()));
    let stop = Signal::new(shared.stopping.clone());
    let alarm = Alarm::at(deadline);
    Connection { shared, peer, tls, stream, arrived, permit, stop, alarm }.serve(accepted).await;
}

/// PROXY header, then TLS. What was read behind the former comes back as well.
async fn handshake(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    shared: &Shared,
) -> io::Result<(Stream, SocketAddr, BytesMut)> {
    let mut arrived = BytesMut::new();
    if shared.proxy_protocol && shared.trusted_proxies.trusts(peer.ip().to_canonical()) {
        peer = proxy_protocol::read(&mut stream, &mut arrived).await?.unwrap_or(peer);
    }
    match &shared.tls {
        None => Ok((Box::new(Plain::new(stream)), peer, arrived)),
        Some(identity) => {
            // Pingora's stream has no buffers of its own this way.
            let mut stream = L4Stream::from(stream);
            stream.rewind(&arrived);
            let encrypted = identity.acceptor().tls_handshake(stream).await.map_err(io::Error::other)?;
            Ok((Box::new(encrypted), peer, BytesMut::new()))
        }
    }
}
