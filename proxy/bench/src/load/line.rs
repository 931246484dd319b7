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
    /// When what is not answered yet was due.
    asked: Option<Instant>,
    buffer: Vec<u8>,
}

pub(super) enum Heard {
    /// Nothing that is whole.
    Nothing,
    Answer {
        latency: Duration,
        bytes: usize,
        /// And not only tolerated.
        expected: bool,
        closing: bool,
    },
    /// The server closed the connection, as it may when nothing is asked; when an unanswered request was due.
    End { unanswered: Option<Instant> },
}

impl Line {
    pub(super) fn connect(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, asked: None, buffer: Vec::new() })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests are small: they fit into the socket's buffer, or something is wrong.
    pub(super) fn ask(&mut self, request: &[u8], due: Instant) -> Result<(), BenchError> {
        self.asked = Some(due);
        self.buffer.clear();
        Ok(self.stream.write_all(request)?)
    }

    pub(super) fn hear(&mut self, expected: &str, tolerated: Option<&str>) -> Result<Heard, BenchError> {
        let held = self.buffer.len();
        self.buffer.resize(held + READ, 0);
        let read = self.stream.read(self.buffer.get_mut(held..).unwrap_or_default());
        self.buffer.truncate(held + read.as_ref().map_or(0, |read| *read));
        match read {
            Ok(0) if held == 0 => return Ok(Heard::End { unanswered: self.asked }),
            Ok(0) => return Err(self.odd()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Nothing),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && held == 0 => {
                return Ok(Heard::End { unanswered: self.asked });
            }
            Err(error) => return Err(error.into()),
        }
        match whole(&self.buffer) {
            Some(answer) => self.judge(answer, expected, tolerated),
            None if self.buffer.len() > MOST_ANSWER => Err(self.odd()),
            None => Ok(Heard::Nothing),
        }
    }

    fn judge(
        &mut self,
        answer: Answer,
        expected: &str,
        tolerated: Option<&str>,
    ) -> Result<Heard, BenchError> {
        let begins = |beginning: &str| self.buffer.starts_with(beginning.as_bytes());
        let is_expected = begins(expected);
        if !is_expected && !tolerated.is_some_and(begins) {
            return Err(self.odd());
        }
        self.buffer.clear();
        let latency = self.asked.take().map_or(Duration::ZERO, |due| due.elapsed());
        Ok(Heard::Answer { latency, bytes: answer.bytes, expected: is_expected, closing: answer.closing })
    }

    fn odd(&self) -> BenchError {
        let head = self.buffer.split(|byte| *byte == b'\n').take(12).collect::<Vec<_>>().join(&b' ');
        BenchError::Broken(format!("an answer began with: {}", String::from_utf8_lossy(&head)))
    }
}
