//! The opening handshake of a waiter's WebSocket.

use std::io::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use pingora::protocols::Stream;
use room::wire::SUBPROTOCOL;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::plain::Plain;
use super::refusal::Refusal;
use crate::request::{Fields, Known};

/// The connection of one waiter behind the handshake, with what has come on it already.
#[derive(Debug)]
pub enum WaiterSocket {
    /// Whoever has something to say may write to it.
    Plain(TcpStream, Vec<u8>),
    /// Under TLS one task must own it.
    Sealed(Stream, Vec<u8>),
}

impl WaiterSocket {
    fn new(stream: Stream, arrived: Vec<u8>) -> io::Result<Self> {
        if !Plain::is(&stream) {
            return Ok(Self::Sealed(stream, arrived));
        }
        let socket = Plain::socket_of(stream).ok_or(io::ErrorKind::NotConnected)?;
        Ok(Self::Plain(socket, arrived))
    }

    /// As one stream, for those who speak to the client in another way.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        match self {
            Self::Plain(socket, arrived) => (Box::new(Plain::new(socket)), arrived),
            Self::Sealed(stream, arrived) => (stream, arrived),
        }
    }
}

/// What a valid opening handshake (RFC 6455 §4.2.1) asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    accept: String,
    /// Whether the client offered our subprotocol.
    speaks_ours: bool,
}

impl Handshake {
    pub fn read(fields: &Fields) -> Result<Self, Refusal> {
        let version = fields.only(Known::SecWebsocketVersion).ok_or(Refusal::Handshake)?;
        let key = fields.only(Known::SecWebsocketKey).ok_or(Refusal::Handshake)?;
        if version != b"13" || !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            return Err(Refusal::Handshake);
        }
        let offers = fields.texts(Known::SecWebsocketProtocol);
        let speaks_ours = offers.flat_map(|line| line.split(',')).any(|offer| offer.trim() == SUBPROTOCOL);
        Ok(Self { accept: derive_accept_key(key), speaks_ours })
    }

    /// Answers 101 and turns the connection into a socket. `arrived` is what came right behind the head.
    pub async fn open(
        self,
        mut stream: Stream,
        arrived: &[u8],
        headers: &[(HeaderName, HeaderValue)],
        patience: Duration,
    ) -> io::Result<WaiterSocket> {
        let answer = self.answer(headers)?;
        tokio::time::timeout(patience, async {
            stream.write_all(&answer).await?;
            stream.flush().await
        })
        .await??;
        WaiterSocket::new(stream, arrived.to_vec())
    }

    fn answer(&self, headers: &[(HeaderName, HeaderValue)]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        );
        write!(bytes, "Sec-WebSocket-Accept: {}\r\n", self.accept)?;
        if self.speaks_ours {
            write!(bytes, "Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n")?;
        }
        for (name, value) in headers {
            write!(bytes, "{name}: ")?;
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Result<Handshake, Refusal> {
        Handshake::read(&lines.iter().copied().collect())
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");

    #[test]
    fn the_key_is_answered_as_the_rfc_shows() {
        let handshake = read(&[KEY, VERSION, ("sec-websocket-protocol", "other, vestibule.v1")]).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(handshake.speaks_ours);
        assert!(!read(&[KEY, VERSION]).unwrap().speaks_ours);
    }

    #[test]
    fn half_a_handshake_is_refused() {
        for lines in [
            vec![KEY],
            vec![VERSION],
            vec![KEY, KEY, VERSION],
            vec![KEY, ("sec-websocket-version", "8")],
            vec![("sec-websocket-key", "c2hvcnQ="), VERSION],
            vec![("sec-websocket-key", "?"), VERSION],
        ] {
            assert_eq!(read(&lines), Err(Refusal::Handshake), "{lines:?}");
        }
    }
}
