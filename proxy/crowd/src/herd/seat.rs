//! A waiter and its connection.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use rustls::{ClientConnection, StreamOwned};

use super::guest::Guest;

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) guest: Guest,
    /// Among all of the herd.
    pub(super) number: u64,
    pub(super) link: Option<Link>,
    /// Whether it is counted among the open sockets.
    pub(super) counted: bool,
}

impl Seat {
    pub(super) fn new(guest: Guest, number: u64) -> Self {
        Self { guest, number, link: None, counted: false }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    /// What is to be sent once it is connected.
    outgoing: Option<String>,
    /// The beginning of something that is not whole; mostly nothing.
    pub(super) partial: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Sealed(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) bytes: usize,
    /// There may be more: else what comes later is announced again.
    pub(super) is_more: bool,
}

impl Link {
    /// By TLS, if it is brought.
    pub(super) fn new(stream: TcpStream, tls: Option<ClientConnection>, first: String) -> Self {
        let stream = match tls {
            Some(tls) => Stream::Sealed(Box::new(StreamOwned::new(tls, stream))),
            None => Stream::Plain(stream),
        };
        Self { stream, outgoing: Some(first), partial: Vec::new() }
    }

    /// Sends what waits for the connection. Whether it is sent now.
    pub(super) fn connected(&mut self) -> io::Result<bool> {
        let Some(text) = &self.outgoing else { return Ok(false) };
        match self.stream.write(text.as_bytes()) {
            Ok(written) if written == text.len() => {
                self.outgoing = None;
                Ok(true)
            }
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if is_not_yet(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Requests and pongs are small: a socket that does not take them at once is broken.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.stream.write(bytes)? == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// `None`: nothing there now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<Read>> {
        let is_sealed = matches!(self.stream, Stream::Sealed(_));
        match self.stream.read(buffer) {
            // Of a sealed stream another record may lie behind the one that was opened.
            Ok(bytes) => Ok(Some(Read { bytes, is_more: is_sealed || bytes == buffer.len() })),
            Err(error) if is_not_yet(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Sealed(stream) => stream.read(buffer),
        }
    }
}

impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Sealed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Sealed(stream) => stream.flush(),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
