//! Connections to one origin server that wait for their next request.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pingora::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};

/// One more is closed instead of kept.
const MOST: usize = 512;

/// Those used last are taken first, so the oldest stand in front.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Idle>>);

struct Idle {
    stream: Stream,
    since: Instant,
}

impl Kept {
    /// A connection that was idle for less than `limit`, and neither ended nor said anything meanwhile.
    pub(super) fn take(&self, limit: Duration) -> Option<Stream> {
        loop {
            let Idle { mut stream, since } = self.lock().pop()?;
            if since.elapsed() < limit && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    pub(super) fn keep(&self, stream: Stream) {
        let mut kept = self.lock();
        if kept.len() < MOST {
            kept.push(Idle { stream, since: Instant::now() });
        }
    }

    /// Closes those that were idle for `limit`.
    pub(super) fn sweep(&self, limit: Duration) {
        let mut kept = self.lock();
        let old = kept.partition_point(|idle| idle.since.elapsed() >= limit);
        kept.drain(..old);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An origin that speaks before it is asked says goodbye, or what would be taken for the answer to somebody else.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut scrap = [0; 1];
    let mut buffer = ReadBuf::new(&mut scrap);
    Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    fn pair() -> (tokio::io::DuplexStream, Stream) {
        let (origin, ours) = tokio::io::duplex(64);
        (origin, Box::new(ours))
    }

    #[tokio::test]
    async fn the_connection_used_last_is_taken_first() {
        let kept = Kept::default();
        let (_first, ours) = pair();
        kept.keep(ours);
        let (mut last, ours) = pair();
        kept.keep(ours);
        let mut taken = kept.take(LIMIT).unwrap();
        taken.write_all(b"x").await.unwrap();
        assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut last).await.unwrap(), b'x');
        assert!(kept.take(LIMIT).is_some() && kept.take(LIMIT).is_none());
    }

    #[tokio::test]
    async fn one_that_ended_or_spoke_is_not_used_again() {
        let kept = Kept::default();
        let (ended, ours) = pair();
        kept.keep(ours);
        let (mut spoke, ours) = pair();
        kept.keep(ours);
        drop(ended);
        spoke.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        assert!(kept.take(LIMIT).is_none());
    }

    #[tokio::test]
    async fn one_that_was_idle_for_too_long_is_closed() {
        let kept = Kept::default();
        let (_origin, ours) = pair();
        kept.keep(ours);
        kept.sweep(LIMIT);
        assert_eq!(kept.lock().len(), 1);
        kept.sweep(Duration::ZERO);
        assert_eq!(kept.lock().len(), 0);
        let (_origin, ours) = pair();
        kept.keep(ours);
        assert!(kept.take(Duration::ZERO).is_none());
    }
}
