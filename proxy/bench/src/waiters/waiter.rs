//! One socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::frames::next_frame;
use crate::bench::BenchError;
use crate::edge::ROOM;

const READ: usize = 4096;

#[derive(Debug)]
pub(super) struct Waiter {
    /// `None` once the edge has closed it.
    stream: Option<TcpStream>,
    is_open: bool,
    /// What is not whole yet: nothing, nearly always.
    rest: Vec<u8>,
}

impl Waiter {
    pub(super) fn knock(edge: SocketAddr, ticket: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(edge)?;
        let handshake = format!(
            "GET /_queue/ws?room={ROOM} HTTP/1.1\r\nHost: tickets.example.com\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: vestibule.v1\r\nCookie: vestibule_ticket_{ROOM}={ticket}\r\n\r\n"
        );
        stream.write_all(handshake.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: Some(stream), is_open: false, rest: Vec::new() })
    }

    pub(super) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    /// Whether the socket opened with what came. The edge closes the sockets of those who left.
    pub(super) fn hear(&mut self, heard: &mut dyn FnMut(&[u8])) -> Result<bool, BenchError> {
        let mut bytes = [0; READ];
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let read = match stream.read(&mut bytes) {
            Ok(0) if self.is_open => {
                self.stream = None;
                return Ok(false);
            }
            Ok(0) => return Err(BenchError::Broken("the edge closed a socket before it opened".into())),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.rest.extend_from_slice(bytes.get(..read).unwrap_or_default());
        let opened = !self.is_open && self.handshake()?;
        self.is_open |= opened;
        while self.is_open
            && let Some((text, length)) = next_frame(&self.rest)
        {
            heard(text);
            self.rest.drain(..length);
        }
        if self.rest.is_empty() {
            // Thousands of waiters: what a long frame needed is given back.
            self.rest.shrink_to(0);
        }
        Ok(opened)
    }

    /// Whether the answer to the handshake is whole; it is taken away then.
    fn handshake(&mut self) -> Result<bool, BenchError> {
        let Some(end) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(false);
        };
        if !self.rest.starts_with(b"HTTP/1.1 101") {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            return Err(BenchError::Broken(format!("a socket was refused: {text}")));
        }
        self.rest.drain(..end + 4);
        Ok(true)
    }
}
