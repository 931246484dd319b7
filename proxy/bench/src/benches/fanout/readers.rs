//! Many who read what they are pushed, and count it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_bench::bench::BenchError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

const HANDSHAKE: &[u8] =
    b"GET /_queue/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Connections from one address: far from the number of its ports.
const FROM_ONE_ADDRESS: u64 = 5_000;
/// An update has some 400 bytes.
const BUFFER_BYTES: usize = 1024;

pub(super) struct Readers {
    /// They read as long as it lives.
    runtimes: Vec<Runtime>,
    frames: Arc<AtomicU64>,
}

impl Readers {
    /// Connects so many; with the opening handshake of a waiter, or without.
    pub(super) fn connect(to: SocketAddr, count: u64, shakes_hands: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let frames = Arc::new(AtomicU64::new(0));
        for number in 0..count {
            let stream = runtime.block_on(connect(to, number, shakes_hands))?;
            runtime.spawn(read(stream, Arc::clone(&frames)));
        }
        Ok(Self { runtimes: vec![runtime], frames })
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.runtimes.extend(other.runtimes);
        Self { frames: other.frames, ..self }
    }

    /// How many frames all of them but the first one have read.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn await_frames(&self, frames: u64, patience: Duration) -> Result<(), BenchError> {
        let deadline = Instant::now() + patience;
        while self.frames() < frames {
            if Instant::now() > deadline {
                return Err(BenchError::Broken(format!("{} of {frames} frames came", self.frames())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

async fn connect(to: SocketAddr, number: u64, shakes_hands: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let host = 2 + u8::try_from(number / FROM_ONE_ADDRESS).unwrap_or(u8::MAX - 2);
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    let mut stream = socket.connect(to).await?;
    if shakes_hands {
        stream.write_all(HANDSHAKE).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
    }
    Ok(stream)
}

/// Counts frames until the connection ends.
async fn read(stream: TcpStream, frames: Arc<AtomicU64>) {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut payload = Vec::new();
    while let Ok(length) = length(&mut stream).await {
        payload.resize(length, 0);
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        frames.fetch_add(1, Ordering::Relaxed);
    }
}

/// Of the payload of the next frame, which a server does not mask.
async fn length(stream: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let [_, short] = [stream.read_u8().await?, stream.read_u8().await?];
    Ok(match short {
        126 => stream.read_u16().await?.into(),
        short => short.into(),
    })
}
