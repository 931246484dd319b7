//! The short way to an origin, for what nearly all requests are: HTTP/1.1 to a plain HTTP server, with a counted body
//! or none.
//!
//! Pingora's state machines can do much that such a request does not need, and it pays for all of it (`docs/EDGE.md`,
//! *What a request costs*). Here it is two buffers, one `select` and as few system calls as HTTP takes. Connections
//! are opened by Pingora's connector. Whatever is not plain takes Pingora's way (`forward.rs`); both mean the same to
//! visitors and origins, which `tests/it/both_ways.rs` holds them to.

mod answer;
mod body;
mod request;
mod upload;

use std::future::{Future as _, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::header;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout_at};

use self::answer::{Answer, Asked, FinalAnswer};
use self::body::Body;
use self::upload::Upload;
use super::answer as own;
use super::connection::Connection;
use super::failure::{Failure, is_navigation};
use super::fields::Framing;
use super::head::RawHead;
use super::trip::Trip;
use super::upstream::Backend;
use super::within::within;
use crate::metrics::Verdict;

/// The largest head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Read from the origin at a time; more once a read was filled to the brim.
const READ_BYTES: usize = 4 * 1024;
const LARGE_READ_BYTES: usize = 32 * 1024;
/// How much of the next request is read ahead while this one is served.
const AHEAD_BYTES: usize = 1024;

/// Whether a request may go this way.
pub(super) fn takes(raw: &RawHead, trip: &Trip) -> bool {
    raw.plain && trip.forward.upstream.is_plain()
}

/// Carries one request to an origin and its answer back; the connection, if it may be used again.
pub(super) async fn run(mut connection: Connection, raw: &RawHead, trip: &Trip) -> Option<Connection> {
    let mut exchange = Exchange::new(&mut connection, raw, trip);
    let ended = exchange.run().await;
    let verdict = if ended.is_ok() { Verdict::Forwarded } else { Verdict::Error };
    trip.ended(verdict);
    match ended {
        Ok(true) => return Some(connection),
        Ok(false) => own::close(connection.stream).await,
        Err(End::Failed(failure)) => refuse(connection, failure, raw, trip).await,
        Err(End::Gone | End::Lost) => {}
    }
    None
}

/// Why an exchange did not come to its end.
#[derive(Debug)]
enum End {
    /// The client is gone.
    Gone,
    /// The origin's connection broke. The visitor sees it where the answer had begun.
    Lost,
    /// The visitor is told.
    Failed(Failure),
}

struct Exchange<'a> {
    connection: &'a mut Connection,
    raw: &'a RawHead,
    trip: &'a Trip,
    upload: Upload,
    /// What came of the body together with the head.
    first: BytesMut,
    /// Whether the visitor has got a byte: the request is not repeated then.
    spoken: bool,
    /// How much is read from the origin at a time.
    read_bytes: usize,
}

/// A server with a connection to it.
struct Line {
    backend: Arc<Backend>,
    stream: Stream,
    /// It carried another request before.
    kept: bool,
}

/// What one step of waiting for the origin came to.
enum Step {
    Read(usize),
    /// Some of the request's body moved on.
    Moved,
}

impl<'a> Exchange<'a> {
    fn new(connection: &'a mut Connection, raw: &'a RawHead, trip: &'a Trip) -> Self {
        let length = match raw.framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
        };
        let come = usize::try_from(length).unwrap_or(usize::MAX).min(connection.arrived.len());
        let first = if come == 0 { BytesMut::new() } else { connection.arrived.split_to(come) };
        let upload = Upload::new(length - come as u64);
        Self { connection, raw, trip, upload, first, spoken: false, read_bytes: READ_BYTES }
    }

    /// Whether the visitor's connection may be used again.
    async fn run(&mut self) -> Result<bool, End> {
        let request = request::compose(self.raw, self.trip, &self.first);
        let mut arrived = BytesMut::new();
        let (mut line, answer) = self.ask_any(&request, &mut arrived).await?;
        drop(request);
        let FinalAnswer { status, head, body, keeps_client, reusable, streams_events, command } = answer;
        self.trip.trace.answered(status);
        if let Some(command) = command {
            self.trip.obey(command).await;
        }
        let until = if streams_events { self.trip.until() } else { None };
        let passed = self.pass_on(&mut line.stream, head, body, &mut arrived);
        match until {
            Some(until) => timeout_at(until, passed).await.map_err(|_| End::Lost)??,
            None => passed.await?,
        }
        if reusable && arrived.is_empty() && self.upload.is_done() {
            line.backend.kept().keep(line.stream);
        }
        Ok(keeps_client)
    }

    fn keeps_client(&self) -> bool {
        self.raw.keep_alive && self.upload.is_done() && !self.connection.is_stopping()
    }

    /// Asks one server after the other until one answers. A request that was sent is sent again only if that cannot do
    /// anything twice, and if all that is known is that a kept connection was dead.
    async fn ask_any(&mut self, request: &[u8], arrived: &mut BytesMut) -> Result<(Line, FinalAnswer), End> {
        let mut tried = Vec::new();
        let mut may_use_kept = true;
        loop {
            let mut line = self.reach(&mut tried, may_use_kept).await?;
            match self.ask(&mut line.stream, request, arrived).await {
                Ok(answer) => return Ok((line, answer)),
                Err(End::Lost) if line.kept && self.may_repeat() => may_use_kept = false,
                Err(End::Lost) => return Err(self.broken()),
                Err(end) => return Err(end),
            }
        }
    }

    fn may_repeat(&self) -> bool {
        self.raw.method.is_idempotent() && !self.upload.has_moved() && !self.spoken
    }

    /// A connection to the server whose turn it is, or to the next: nothing was sent yet.
    async fn reach(&self, tried: &mut Vec<Arc<Backend>>, may_use_kept: bool) -> Result<Line, End> {
        let upstream = &self.trip.forward.upstream;
        while tried.len() < upstream.settings().attempts {
            let Some(backend) = upstream.pick(tried).await else {
                break;
            };
            let kept = if may_use_kept { backend.kept().take(upstream.settings().idle) } else { None };
            if let Some(stream) = kept {
                return Ok(Line { backend, stream, kept: true });
            }
            // Rare, and the largest future of all.
            let connected = Box::pin(self.connection.shared.connector.new_stream(backend.plain_peer())).await;
            if connected.is_ok() == backend.is_down() {
                backend.learn(connected.is_ok());
            }
            match connected {
                Ok(stream) => return Ok(Line { backend, stream, kept: false }),
                Err(error) => tracing::warn!(upstream = ?backend, %error, "an upstream cannot be reached"),
            }
            tried.push(backend);
        }
        Err(End::Failed(Failure::Unreachable))
    }

    /// Sends the request and reads the head of its answer. `arrived` is what came behind that.
    async fn ask(
        &mut self,
        origin: &mut Stream,
        request: &[u8],
        arrived: &mut BytesMut,
    ) -> Result<FinalAnswer, End> {
        send(origin, request, self.trip.forward.upstream.settings().write).await?;
        loop {
            if self.more(origin, arrived).await? == 0 {
                let nothing = arrived.is_empty();
                return Err(if nothing { End::Lost } else { self.broken() });
            }
            while let Some(answer) = self.read_head(arrived)? {
                match answer {
                    Answer::Final(answer) => return Ok(answer),
                    Answer::Interim(mut head) => {
                        self.tell(origin, &mut head).await?;
                    }
                }
            }
            if arrived.len() > MAX_HEAD_BYTES {
                return Err(self.broken());
            }
        }
    }

    fn read_head(&self, arrived: &mut BytesMut) -> Result<Option<Answer>, End> {
        let asked = Asked {
            method: &self.raw.method,
            keep_alive: self.keeps_client(),
            cookies: &self.trip.forward.set_cookies,
        };
        let read = Answer::read(arrived, asked).map_err(|_| self.broken())?;
        Ok(read.map(|(length, answer)| {
            arrived.advance(length);
            answer
        }))
    }

    /// Gives the visitor the head, then the body as it comes.
    async fn pass_on(
        &mut self,
        origin: &mut Stream,
        mut out: BytesMut,
        mut body: Body,
        arrived: &mut BytesMut,
    ) -> Result<(), End> {
        loop {
            body.take(arrived, &mut out).map_err(|_| self.broken())?;
            self.tell(origin, &mut out).await?;
            if body == Body::Done {
                return Ok(());
            }
            if self.more(origin, arrived).await? == 0 {
                body.end(&mut out).map_err(|_| End::Lost)?;
            }
        }
    }

    /// Waits for bytes of the origin, at most as long as the one who is to move next may take; 0 at their end.
    /// Meanwhile the rest of the request's body goes up, or the client is watched.
    async fn more(&mut self, origin: &mut Stream, arrived: &mut BytesMut) -> Result<usize, End> {
        arrived.reserve(self.read_bytes);
        loop {
            let (patience, late) = self.patience();
            self.connection.alarm.set(Instant::now() + patience);
            let step = poll_fn(|cx| match self.poll_step(cx, origin, arrived) {
                Poll::Pending => self.connection.alarm.poll(cx).map(|()| Err(None)),
                Poll::Ready(step) => Poll::Ready(step.map_err(Some)),
            });
            if let Step::Read(read) = step.await.map_err(|end| end.unwrap_or(late))? {
                if read >= self.read_bytes {
                    self.read_bytes = LARGE_READ_BYTES;
                }
                return Ok(read);
            }
        }
    }

    /// The origin's answer is none. The visitor is told, unless it has begun.
    fn broken(&self) -> End {
        if self.spoken { End::Lost } else { End::Failed(Failure::Broken) }
    }

    /// How long the next byte may take, and what it is if it takes longer.
    fn patience(&self) -> (Duration, End) {
        let settings = self.trip.forward.upstream.settings();
        let late = |failure| if self.spoken { End::Lost } else { End::Failed(failure) };
        match (self.upload.awaits_client(), self.trip.streams) {
            (true, _) => (self.connection.shared.limits.body, late(Failure::SlowBody)),
            (false, true) => (settings.stream, late(Failure::Slow)),
            (false, false) => (settings.read, late(Failure::Slow)),
        }
    }

    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        origin: &mut Stream,
        arrived: &mut BytesMut,
    ) -> Poll<Result<Step, End>> {
        if let Poll::Ready(read) = pin!(origin.read_buf(arrived)).poll(cx) {
            return Poll::Ready(read.map(Step::Read).map_err(|_| End::Lost));
        }
        if self.upload.goes_on() {
            ready!(self.upload.poll(cx, &mut self.connection.stream, origin)).map_err(|_| End::Gone)?;
            return Poll::Ready(Ok(Step::Moved));
        }
        self.poll_client(cx).map(Err)
    }

    /// Notices when the client leaves. What it says is the next request.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Connection { stream, arrived, .. } = &mut *self.connection;
        if !arrived.is_empty() || !self.upload.is_done() {
            return Poll::Pending;
        }
        let mut ahead = [MaybeUninit::uninit(); AHEAD_BYTES];
        let mut buffer = ReadBuf::uninit(&mut ahead);
        match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                arrived.extend_from_slice(buffer.filled());
                Poll::Pending
            }
            _ => Poll::Ready(End::Gone),
        }
    }

    /// Writes to the visitor. A body that is still to go up goes on meanwhile: the client may read nothing before.
    async fn tell(&mut self, origin: &mut Stream, bytes: &mut BytesMut) -> Result<(), End> {
        let patience = self.connection.shared.limits.write;
        self.spoken = true;
        while !bytes.is_empty() {
            let told = within(patience, poll_fn(|cx| self.poll_tell(cx, origin, bytes))).await;
            match told.map_err(|_| End::Gone)?? {
                written if written == bytes.len() => bytes.clear(),
                written => bytes.advance(written),
            }
        }
        if self.connection.tls {
            let flushed = within(patience, self.connection.stream.flush()).await;
            flushed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    fn poll_tell(
        &mut self,
        cx: &mut Context<'_>,
        origin: &mut Stream,
        bytes: &[u8],
    ) -> Poll<Result<usize, End>> {
        if let Poll::Ready(written) = Pin::new(&mut self.connection.stream).poll_write(cx, bytes) {
            return Poll::Ready(written.ok().filter(|written| *written > 0).ok_or(End::Gone));
        }
        if self.upload.goes_on() {
            ready!(self.upload.poll(cx, &mut self.connection.stream, origin)).map_err(|_| End::Gone)?;
            return Poll::Ready(Ok(0));
        }
        Poll::Pending
    }
}

/// Writes to the origin, which has so long to take each part.
async fn send(origin: &mut Stream, mut bytes: &[u8], patience: Duration) -> Result<(), End> {
    while !bytes.is_empty() {
        let written = within(patience, origin.write(bytes)).await.map_err(|_| End::Failed(Failure::Slow))?;
        let written = written.ok().filter(|written| *written > 0).ok_or(End::Lost)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Tells the visitor that the origin failed. A visitor who was let in meanwhile keeps the place.
async fn refuse(connection: Connection, failure: Failure, raw: &RawHead, trip: &Trip) {
    let status = failure.status().as_u16();
    tracing::warn!(trace_id = %trip.trace.id, status, ?failure, "a request was not forwarded");
    let Connection { shared, mut stream, .. } = connection;
    let mut answer = failure.answer(is_navigation(&raw.fields), trip.trace.id);
    if !trip.forward.set_cookies.is_empty() {
        answer.headers.replace(&header::CACHE_CONTROL, "private, no-store");
        for cookie in &trip.forward.set_cookies {
            answer.headers.add(&header::SET_COOKIE, cookie);
        }
    }
    if own::write(&mut stream, answer, &raw.method, false, shared.limits.write).await.is_ok() {
        own::close(stream).await;
    }
}
