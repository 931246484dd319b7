//! A connection of which the proxy sees one request and not a byte more.
//!
//! What a client sends behind a request is the next request, and the gate must read it first. So Pingora gets the
//! connection wrapped: reads end where the body ends, what follows is kept aside and handed back with the stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framed::Body;

/// How much of the next request is read ahead while this one is served.
const AHEAD_BYTES: usize = 1024;

#[derive(Debug)]
pub(super) struct OneRequest {
    stream: Stream,
    body: Body,
    /// What came behind the body.
    next: BytesMut,
    closed: bool,
}

impl OneRequest {
    /// `body` is what is still to come of this request, `next` what has already come of the next one.
    pub(super) fn new(stream: Stream, body: Body, next: BytesMut) -> Self {
        Self { stream, body, next, closed: false }
    }

    /// The connection and the start of the next request, if this one was read to its end.
    pub(super) fn into_parts(self) -> Option<(Stream, BytesMut)> {
        (self.body == Body::Done && !self.closed).then_some((self.stream, self.next))
    }

    /// Between the end of the body and the end of the answer: notices when the client leaves.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        if !self.next.is_empty() {
            return Poll::Pending;
        }
        let mut ahead = [0; AHEAD_BYTES];
        let mut buffer = ReadBuf::new(&mut ahead);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.closed = true;
            return Poll::Ready(Ok(()));
        }
        self.next.extend_from_slice(buffer.filled());
        Poll::Pending
    }
}

impl AsyncRead for OneRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.body == Body::Done {
            return self.poll_idle(cx);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let this = &mut *self;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let taken = this.body.take(fresh).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        this.next.extend_from_slice(fresh.get(taken..).unwrap_or_default());
        buf.set_filled(before + taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneRequest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for OneRequest {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}

impl UniqueID for OneRequest {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for OneRequest {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for OneRequest {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_write_pending_time()
    }
}

impl GetProxyDigest for OneRequest {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for OneRequest {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

/// What was peeked would not be counted, so nothing is.
impl Peek for OneRequest {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::edge::fields::Framing;

    fn wrap(framing: Framing) -> (tokio::io::DuplexStream, OneRequest) {
        let (client, server) = tokio::io::duplex(4096);
        (client, OneRequest::new(Box::new(server), Body::new(framing), BytesMut::new()))
    }

    #[tokio::test]
    async fn what_follows_the_body_is_handed_back() {
        let (mut client, mut one) = wrap(Framing::Length(3));
        client.write_all(b"abcGET /next").await.unwrap();
        let mut body = [0; 64];
        let read = one.read(&mut body).await.unwrap();
        assert_eq!(&body[..read], b"abc");
        assert_eq!(&one.into_parts().unwrap().1[..], b"GET /next");
    }

    #[tokio::test]
    async fn a_pipelined_request_never_reaches_the_reader() {
        let (mut client, mut one) = wrap(Framing::Length(0));
        client.write_all(b"GET /next").await.unwrap();
        let mut body = [0; 64];
        let early = tokio::time::timeout(Duration::from_millis(50), one.read(&mut body)).await;
        assert!(early.is_err(), "read {early:?}");
        assert_eq!(&one.into_parts().unwrap().1[..], b"GET /next");
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed() {
        let (client, mut one) = wrap(Framing::Length(0));
        drop(client);
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(one.into_parts().is_none());
    }

    #[tokio::test]
    async fn an_unfinished_body_is_not_reused() {
        let (_client, one) = wrap(Framing::Chunked);
        assert!(one.into_parts().is_none());
    }
}
