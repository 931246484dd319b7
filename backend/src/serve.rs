//! The listener: a bounded number of connections, slow heads cut off, an orderly end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// For the head of a request, and for the next one on a connection kept alive: longer than proxies keep theirs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests that are being served may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then lets running requests finish.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    max_connections: usize,
    stop: impl Future<Output = ()>,
) {
    // Every connection holds a receiver: it hears of the end, and the sender knows when the last one is gone.
    let ending = watch::Sender::new(false);
    tokio::select! {
        () = accept(listener, routes, Arc::new(Semaphore::new(max_connections)), &ending) => {}
        () = stop => {}
    }
    ending.send_replace(true);
    if timeout(DRAIN, ending.closed()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

async fn accept(listener: TcpListener, routes: Router, slots: Arc<Semaphore>, ending: &watch::Sender<bool>) {
    // The semaphore is never closed; were it, nobody could be served any more.
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (routes, ending) = (routes.clone(), ending.subscribe());
                tokio::spawn(async move {
                    attend(stream, routes, ending).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, until the peer leaves or the end comes and its running request is answered.
async fn attend(stream: TcpStream, routes: Router, mut ending: watch::Receiver<bool>) {
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
        _ = ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _peer_gone = connection.await;
}
