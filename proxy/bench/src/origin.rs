//! The site behind every proxy: one thread that answers each request with the same bytes, as cheaply as it goes.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::usage::pin_thread;

/// 64 bytes of body.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// How long a stop takes at most to be seen.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Heads of more than this are no requests of a bench.
const MOST_HEAD: usize = 64 * 1024;
const EVENTS: usize = 128;

/// It ends when dropped. Requests have no bodies.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Origin {
    pub fn start(core: usize) -> io::Result<Self> {
        Self::start_on(Some(core))
    }

    /// On any core.
    pub fn start_anywhere() -> io::Result<Self> {
        Self::start_on(None)
    }

    fn start_on(core: Option<usize>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("origin".into()).spawn(move || {
            core.map_or(Ok(()), pin_thread)?;
            Answering::new(listener)?.until(&stopped)
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Answering {
    listener: TcpListener,
    epoll: rustix::fd::OwnedFd,
    peers: HashMap<u64, Peer>,
}

struct Peer {
    stream: TcpStream,
    /// Of a head that is not whole yet.
    head: Vec<u8>,
}

impl Answering {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(key(&listener)), EventFlags::IN)?;
        Ok(Self { listener, epoll, peers: HashMap::new() })
    }

    fn until(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while !stop.load(Ordering::Relaxed) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&LOOK_EVERY)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.attend({ event.data }.u64());
            }
        }
        Ok(())
    }

    fn attend(&mut self, id: u64) {
        if id == key(&self.listener) {
            while let Ok((stream, _)) = self.listener.accept() {
                // Whoever cannot be served finds the connection closed.
                let _served = self.greet(stream);
            }
        } else if let Some(peer) = self.peers.get_mut(&id)
            && peer.answer().is_err()
        {
            self.peers.remove(&id);
        }
    }

    fn greet(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(key(&stream)), EventFlags::IN)?;
        self.peers.insert(key(&stream), Peer { stream, head: Vec::new() });
        Ok(())
    }
}

impl Peer {
    /// An error ends the connection.
    fn answer(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let read = match self.stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.head.extend_from_slice(bytes.get(..read).unwrap_or_default());
        while let Some(end) = self.head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            self.head.drain(..end + 4);
            self.stream.write_all(ANSWER)?;
        }
        if self.head.len() > MOST_HEAD { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}

fn key(socket: &impl AsRawFd) -> u64 {
    u64::from(socket.as_raw_fd().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_on_one_connection_are_answered_one_by_one() {
        let origin = Origin::start(0).unwrap();
        let mut stream = TcpStream::connect(origin.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo").unwrap();
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, ANSWER);
        stream.write_all(b"st: a\r\n\r\n").unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, ANSWER);
    }
}
