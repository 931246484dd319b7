//! The part of a request's body that is still to come, on its way from the client to the origin.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Upload {
    /// Bytes that the client has not sent yet.
    left: u64,
    /// Bytes between `start` and `end` have come and are not sent on. Empty if there is nothing to move.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Whether anything went this way: it could not be sent again.
    moved: bool,
    /// The origin takes no more. It may have answered all the same.
    unwanted: bool,
}

/// The client is gone, or its body broke off.
#[derive(Debug)]
pub(super) struct Gone;

impl Upload {
    /// `left` bytes that are still to come.
    pub(super) fn new(left: u64) -> Self {
        let buffer = if left == 0 { Box::default() } else { vec![0; BUFFER_BYTES].into() };
        Self { left, buffer, start: 0, end: 0, moved: false, unwanted: false }
    }

    /// Whether all of the body is with the origin.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.start == self.end
    }

    /// Whether there is something to move.
    pub(super) fn goes_on(&self) -> bool {
        !self.is_done() && !self.unwanted
    }

    pub(super) fn has_moved(&self) -> bool {
        self.moved
    }

    /// Whether it is the client that is waited for, and not the origin.
    pub(super) fn awaits_client(&self) -> bool {
        self.goes_on() && self.start == self.end
    }

    /// Moves some bytes. Ready when some were, or when it is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        origin: &mut Stream,
    ) -> Poll<Result<(), Gone>> {
        if self.start == self.end {
            ready!(self.poll_fill(cx, client))?;
        }
        let come = self.buffer.get(self.start..self.end).unwrap_or_default();
        match ready!(Pin::new(origin).poll_write(cx, come)) {
            Ok(written) if written > 0 => self.start += written,
            _ => self.unwanted = true,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<Result<(), Gone>> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.buffer.len());
        let mut buffer = ReadBuf::new(self.buffer.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(client).poll_read(cx, &mut buffer)).map_err(|_| Gone)?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Err(Gone));
        }
        (self.start, self.end, self.moved) = (0, read, true);
        self.left -= read as u64;
        Poll::Ready(Ok(()))
    }
}
