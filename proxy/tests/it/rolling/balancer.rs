//! The simplest balancer there is: each connection goes to the next edge that accepts it, byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(super) struct Balancer {
    pub(super) address: SocketAddr,
    edges: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Balancer {
    pub(super) async fn before(edges: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edges = Arc::new(Mutex::new(edges.to_vec()));
        let known = Arc::clone(&edges);
        let task = tokio::spawn(async move {
            let next = Arc::new(AtomicUsize::new(0));
            while let Ok((client, _)) = listener.accept().await {
                let (known, next) = (Arc::clone(&known), Arc::clone(&next));
                tokio::spawn(async move { carry(client, &known, &next).await });
            }
        });
        Self { address, edges, task }
    }

    /// From now on `new` stands where `old` stood.
    pub(super) fn replace(&self, old: SocketAddr, new: SocketAddr) {
        self.edges.lock().unwrap().iter_mut().filter(|edge| **edge == old).for_each(|edge| *edge = new);
    }
}

async fn carry(mut client: TcpStream, edges: &Mutex<Vec<SocketAddr>>, next: &AtomicUsize) {
    client.set_nodelay(true).unwrap();
    let edges = edges.lock().unwrap().clone();
    let first = next.fetch_add(1, Ordering::Relaxed);
    for turn in 0..edges.len() {
        let edge = edges[(first + turn) % edges.len()];
        if let Ok(Ok(mut server)) = timeout(Duration::from_secs(1), TcpStream::connect(edge)).await {
            server.set_nodelay(true).unwrap();
            // How it ended, both sides see for themselves.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
