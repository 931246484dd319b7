//! The listener: a bounded number of connections, slow heads cut off, an orderly end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::ending::{Ending, Stage};

/// For the head of a request, and for the next one on a connection kept alive: longer than proxies keep theirs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// After a failed accept (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection needs.
#[derive(Debug, Clone)]
struct Attendance {
    routes: Router,
    /// One for each connection.
    slots: Arc<Semaphore>,
    ending: Ending,
}

/// Serves until it is time to drain, then lets running requests finish, until it is time to cut them.
pub async fn serve(listener: TcpListener, routes: Router, connections: u32, mut ending: Ending) {
    let slots = Arc::new(Semaphore::new(connections as usize));
    let attendance = Attendance { routes, slots: Arc::clone(&slots), ending: ending.clone() };
    tokio::select! {
        () = attendance.accept(&listener) => {}
        () = ending.reaches(Stage::Draining) => {}
    }
    attendance.take_queued(listener);
    tokio::select! {
        _all_back = slots.acquire_many(connections) => {}
        () = ending.reaches(Stage::Cut) => tracing::warn!("requests that did not finish in time are cut off"),
    }
}

impl Attendance {
    async fn accept(&self, listener: &TcpListener) {
        // The semaphore is never closed; were it, nobody could be served any more.
        while let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => self.attend(stream, slot),
                Err(error) => {
                    tracing::warn!(error = %error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Those whom the kernel has accepted already: closing the listener would reset them.
    fn take_queued(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            let Ok((stream, _)) = listener.accept() else { return };
            // What cannot be registered is closed, as one too many would be.
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.attend(stream, slot);
            }
        }
    }

    fn attend(&self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        let (routes, ending) = (self.routes.clone(), self.ending.clone());
        tokio::spawn(async move {
            attend(stream, routes, ending).await;
            drop(slot);
        });
    }
}

/// One connection, until the peer leaves or the end comes and its running request is answered.
async fn attend(stream: TcpStream, routes: Router, mut ending: Ending) {
    // Fails only on a socket that is gone already.
    let _best_effort = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
            .with_upgrades()
    );
    // Errors are the peer's: a reset, a malformed head. hyper has answered what can be answered.
    tokio::select! {
        _peer_gone = connection.as_mut() => return,
        () = ending.reaches(Stage::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _peer_gone = connection.as_mut() => {}
        () = ending.reaches(Stage::Cut) => {}
    }
}
