//! A client of which every byte is known.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// A client that sends exactly the bytes it is given.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, Vec<String>>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|values| values.first()).map(String::as_str)
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::of(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// A request with `Host: shop.example` and these lines.
    pub(crate) async fn ask(&mut self, request_line: &str, lines: &str) -> Response {
        self.send(format!("{request_line} HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")).await;
        self.response(request_line.starts_with("HEAD ")).await
    }

    /// Reads one whole response; one to `HEAD` has no body.
    pub(crate) async fn response(&mut self, to_head: bool) -> Response {
        let mut response = self.head().await;
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        let bodiless = to_head || response.status == 204 || response.status == 304 || response.status < 200;
        response.body = match (bodiless, length, response.header("transfer-encoding")) {
            (true, ..) => Vec::new(),
            (_, Some(length), _) => self.exactly(length).await,
            (_, None, Some("chunked")) => self.chunks().await,
            _ => self.rest().await,
        };
        response
    }

    pub(crate) async fn head(&mut self) -> Response {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "closed before the head was whole: {:?}", self.buffer);
        };
        let head = self.buffer.split_to(end);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(&head).unwrap();
        let mut headers: HashMap<String, Vec<String>> = HashMap::new();
        for field in parsed.headers.iter() {
            let value = String::from_utf8_lossy(field.value).into_owned();
            headers.entry(field.name.to_ascii_lowercase()).or_default().push(value);
        }
        Response { status: parsed.code.unwrap(), headers, body: Vec::new() }
    }

    /// The bytes of the next head; `None` when the other side ended the connection before it.
    pub(crate) async fn next_head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(self.buffer.split_to(at + 4).to_vec());
            }
            if self.stream.read_buf(&mut self.buffer).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return None;
        }
    }

    async fn more(&mut self) -> bool {
        soon("more bytes", self.stream.read_buf(&mut self.buffer)).await.is_ok_and(|read| read > 0)
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more().await, "closed after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.split_to(length).to_vec()
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            body.extend(chunk);
        }
        body
    }

    /// One chunk of a chunked body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            assert!(self.more().await, "closed inside a chunked body");
        };
        let line = self.buffer.split_to(end + 2);
        let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
        let mut chunk = self.exactly(size + 2).await;
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Everything up to and with `mark`.
    pub(crate) async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return self.buffer.split_to(at + mark.len()).to_vec();
            }
            assert!(self.more().await, "closed before {mark:?}");
        }
    }

    /// What has arrived, at least a byte; `None` at the end.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && self.stream.read_buf(&mut self.buffer).await.is_ok_and(|read| read == 0)
        {
            return None;
        }
        (!self.buffer.is_empty()).then(|| self.buffer.split().to_vec())
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        self.buffer.split().to_vec()
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }
}
