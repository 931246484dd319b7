//! Somebody inside, as a dumb HTTP client is: it keeps its connection until the answer says that it ends, or it finds
//! it closed, and never asks twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::site::Visitor;

/// How many requests were answered, and what became of the others.
#[derive(Debug, Default)]
pub(super) struct Purchases {
    pub(super) answered: usize,
    pub(super) failed: Vec<String>,
    /// The most requests in a row that failed.
    pub(super) in_a_row: usize,
}

pub(super) struct Shopper {
    over: Arc<AtomicBool>,
    task: JoinHandle<Purchases>,
}

impl Shopper {
    /// Asks through `address` with the visitor's pass, every so often.
    pub(super) fn inside(visitor: &Visitor, address: SocketAddr, every: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let pass = visitor.pass().unwrap().to_owned();
        let task = tokio::spawn(shop(address, pass, every, Arc::clone(&over)));
        Self { over, task }
    }

    pub(super) async fn stop(self) -> Purchases {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn shop(address: SocketAddr, pass: String, every: Duration, over: Arc<AtomicBool>) -> Purchases {
    let mut purchases = Purchases::default();
    let (mut kept, mut in_a_row) = (None::<TcpStream>, 0);
    while !over.load(Ordering::Relaxed) {
        // What is closed already was closed in between: no request was lost with it.
        kept = kept.filter(is_open);
        let asked = timeout(Duration::from_secs(10), ask(address, &pass, kept.take())).await;
        match asked.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(stream) => {
                (purchases.answered, in_a_row) = (purchases.answered + 1, 0);
                kept = stream;
            }
            Err(error) => {
                in_a_row += 1;
                purchases.in_a_row = purchases.in_a_row.max(in_a_row);
                purchases.failed.push(error);
            }
        }
        sleep(every).await;
    }
    purchases
}

/// Nothing may come between two requests but the end.
fn is_open(stream: &TcpStream) -> bool {
    let empty = stream.try_read(&mut [0; 1]);
    empty.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// One request; gives the connection back unless the answer ends it.
async fn ask(address: SocketAddr, pass: &str, kept: Option<TcpStream>) -> Result<Option<TcpStream>, String> {
    let was = if kept.is_some() { "kept" } else { "new" };
    let told = |error: std::io::Error| format!("on a {was} connection: {error}");
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.map_err(told)?,
    };
    let request =
        format!("GET /buy HTTP/1.1\r\nHost: shop.example\r\nCookie: vestibule_pass_e1={pass}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(told)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).await.map_err(told)?;
        if read == 0 {
            return Err(format!("on a {was} connection: closed after {} bytes", answer.len()));
        }
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("http/1.1 200 ") {
            return Err(format!("on a {was} connection: {head}"));
        }
        // What the origin answers to this request.
        if body == "get /buy" {
            return Ok((!head.contains("connection: close")).then_some(stream));
        }
    }
}
