//! One connection of the load.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::answer::{Answer, whole};
use crate::bench::BenchError;

/// An answer is not waited for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Answers are shorter than this.
const MOST_ANSWER: usize = 1024 * 1024;
const READ: usize = 16 * 1024;

pub(super) struct Line {
    stream: TcpStream,
    /// When what is on its way was due.
    asked: Instant,
    buffer: Vec<u8>,
}

pub(super) struct Heard {
    pub(super) latency: Duration,
    pub(super) bytes: usize,
    /// And not only tolerated.
    pub(super) expected: bool,
    pub(super) closing: bool,
}

impl Line {
    pub(super) fn connect(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, asked: Instant::now(), buffer: Vec::new() })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests are small: they fit into the socket's buffer, or something is wrong.
    pub(super) fn ask(&mut self, request: &[u8], due: Instant) -> Result<(), BenchError> {
        self.asked = due;
        self.buffer.clear();
        Ok(self.stream.write_all(request)?)
    }

    /// `None` until the answer is whole.
    pub(super) fn hear(
        &mut self,
        expected: &str,
        tolerated: Option<&str>,
    ) -> Result<Option<Heard>, BenchError> {
        let held = self.buffer.len();
        self.buffer.resize(held + READ, 0);
        let read = self.stream.read(self.buffer.get_mut(held..).unwrap_or_default());
        let ended = match read {
            Ok(read) => {
                self.buffer.truncate(held + read);
                read == 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.buffer.truncate(held);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match whole(&self.buffer) {
            Some(answer) => self.judge(answer, expected, tolerated).map(Some),
            None if ended || self.buffer.len() > MOST_ANSWER => Err(self.odd()),
            None => Ok(None),
        }
    }

    fn judge(&self, answer: Answer, expected: &str, tolerated: Option<&str>) -> Result<Heard, BenchError> {
        let begins = |beginning: &str| self.buffer.starts_with(beginning.as_bytes());
        let expected = begins(expected);
        if !expected && !tolerated.is_some_and(begins) {
            return Err(self.odd());
        }
        let latency = self.asked.elapsed();
        Ok(Heard { latency, bytes: answer.bytes, expected, closing: answer.closing })
    }

    fn odd(&self) -> BenchError {
        let head = self.buffer.split(|byte| *byte == b'\n').take(12).collect::<Vec<_>>().join(&b' ');
        BenchError::Broken(format!("an answer began with: {}", String::from_utf8_lossy(&head)))
    }
}
