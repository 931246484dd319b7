//! One visitor's connection: heads are read and checked here, the plan is asked for, and carried out.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Method, StatusCode};
use pingora::apps::HttpServerApp as _;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::alarm::Alarm;
use super::fields::Framing;
use super::framed::Body;
use super::head::{MAX_HEAD_BYTES, RawHead, find_end};
use super::hops::{Hops, Peer};
use super::one_request::OneRequest;
use super::refusal::Refusal;
use super::signal::Signal;
use super::trip::{Cut, Trip};
use super::websocket::Handshake;
use super::{Shared, answer, relay, tunnel};
use crate::metrics::{self, Verdict};
use crate::request::{Answer, Forward, Head, Known, Plan, Planned, SocketPlan};
use crate::trace::Trace;

/// The largest body of a call to the edge itself.
const MAX_BODY_BYTES: usize = 4 * 1024;
const READ_BYTES: usize = 2048;

pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) tls: bool,
    pub(super) stream: Stream,
    /// What was read and not used yet.
    pub(super) arrived: BytesMut,
    /// Its place among the connections that the edge holds.
    pub(super) permit: OwnedSemaphorePermit,
    /// The order to stop.
    pub(super) stop: Signal,
    /// Rings when whoever is to move next has taken too long.
    pub(super) alarm: Alarm,
}

/// A checked head with what is known of where it came from.
struct Request {
    raw: RawHead,
    hops: Hops,
    trace: Trace,
    /// When the head was whole.
    began: Instant,
}

impl Connection {
    /// Serves requests until either side has enough.
    pub(super) async fn serve(mut self, accepted: Instant) {
        let mut deadline = accepted + self.shared.limits.head;
        let mut waits = false;
        loop {
            let raw = match self.read_head(deadline, waits).await {
                Ok(Some(raw)) => raw,
                Ok(None) => return self.part().await,
                Err(refusal) => return self.refuse(refusal).await,
            };
            let (request, plan) = match self.decide(raw).await {
                Ok(decided) => decided,
                Err(refusal) => return self.refuse(refusal).await,
            };
            // Answers come in floods and are given right here; what forwarding needs is a future many times as large.
            match plan {
                Plan::Answer(answer) => {
                    if !self.answer(&request, answer).await {
                        return;
                    }
                }
                Plan::Forward(forward) => match Box::pin(self.forward(request, forward)).await {
                    Some(connection) => self = connection,
                    None => return,
                },
                Plan::Socket(plan) => return Box::pin(self.socket(request.raw, plan)).await,
            }
            deadline = Instant::now() + self.shared.limits.keep_alive;
            waits = true;
        }
    }

    /// The next head; `None` when the connection is over before it began. Between requests (`waits`) the clock for
    /// the head starts with its first byte.
    async fn read_head(
        &mut self,
        mut deadline: Instant,
        mut waits: bool,
    ) -> Result<Option<RawHead>, Refusal> {
        let mut searched = 0;
        loop {
            // Less than a whole empty line was searched: there may be one at the start.
            if searched < 2 {
                self.skip_empty_lines();
                searched = 0;
            }
            if let Some(end) = find_end(&self.arrived, &mut searched)? {
                if end > MAX_HEAD_BYTES {
                    return Err(Refusal::HeadTooLarge);
                }
                return RawHead::parse(self.arrived.split_to(end)).map(Some);
            }
            if self.arrived.len() >= MAX_HEAD_BYTES {
                return Err(Refusal::HeadTooLarge);
            }
            if waits && !self.arrived.is_empty() {
                deadline = Instant::now() + self.shared.limits.head;
                waits = false;
            }
            self.alarm.set(deadline);
            self.arrived.reserve(READ_BYTES);
            match poll_fn(|cx| self.poll_read(cx)).await {
                Some(true) => {}
                Some(false) => return Ok(None),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(Refusal::Slow),
            }
        }
    }

    /// RFC 9112 §2.2: empty lines before a request line are passed over.
    fn skip_empty_lines(&mut self) {
        while self.arrived.starts_with(b"\r\n") {
            let _ = self.arrived.split_to(2);
        }
    }

    /// `Some(true)`: there is more. `Some(false)`: the other side is gone. `None`: out of time. An idle connection also
    /// ends some time after the edge begins to stop, or after its last answer, if that was later: whoever asks once
    /// more until then reads `Connection: close` in the answer and asks elsewhere from then on.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<bool>> {
        let Self { shared, stream, arrived, stop, alarm, .. } = self;
        let idle = arrived.is_empty();
        if let Poll::Ready(read) = pin!(stream.read_buf(arrived)).poll(cx) {
            return Poll::Ready(Some(read.is_ok_and(|bytes| bytes > 0)));
        }
        if idle && stop.poll(cx).is_ready() {
            alarm.no_later_than(Instant::now() + shared.limits.linger);
        }
        alarm.poll(cx).map(|()| None)
    }

    /// Ends a connection between requests. A client that asks in this very moment learns that it was not heard, and
    /// not by a reset that could take an unread answer with it.
    async fn part(mut self) {
        if self.is_stopping() {
            answer::close(&mut self.stream).await;
        }
    }

    /// What is to be done with a request, and the request as it is wanted for that.
    async fn decide(&mut self, mut raw: RawHead) -> Result<(Request, Plan), Refusal> {
        let began = Instant::now();
        let hops = Hops::read(&self.peer, self.tls, &raw.fields, &self.shared.trusted_proxies);
        let trace = Trace::of(raw.fields.all(Known::Traceparent));
        // Rare, and as a part of this future it would make all of them large.
        let body = match self.own_length(&raw)? {
            0 => BytesMut::new(),
            length => Box::pin(self.read_own_body(&mut raw, length)).await?,
        };
        let mut request = Request { raw, hops, trace, began };
        let head = request.head();
        let plan = match self.shared.decide.planned(&head, &body) {
            Planned::Now(plan) => plan,
            Planned::Later(plan) => plan.await,
        };
        request.raw.fields = head.fields;
        Ok((request, plan))
    }

    /// How long the body of a call to the edge itself is; nothing for everything else.
    fn own_length(&self, raw: &RawHead) -> Result<usize, Refusal> {
        let length = match raw.framing {
            Framing::Length(0) => return Ok(0),
            _ if !self.shared.decide.is_reserved(&raw.path) => return Ok(0),
            Framing::Chunked => return Err(Refusal::LengthRequired),
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        };
        if length > MAX_BODY_BYTES { Err(Refusal::BodyTooLarge) } else { Ok(length) }
    }

    async fn read_own_body(&mut self, raw: &mut RawHead, length: usize) -> Result<BytesMut, Refusal> {
        let deadline = Instant::now() + self.shared.limits.head;
        if raw.expects_continue && self.arrived.is_empty() {
            self.write_continue().await?;
        }
        while self.arrived.len() < length {
            let read = timeout_at(deadline, self.stream.read_buf(&mut self.arrived)).await;
            if !read.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0)) {
                return Err(Refusal::SlowBody);
            }
        }
        raw.framing = Framing::Length(0);
        Ok(self.arrived.split_to(length))
    }

    async fn write_continue(&mut self) -> Result<(), Refusal> {
        use tokio::io::AsyncWriteExt as _;
        let written = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        let written = tokio::time::timeout(self.shared.limits.write, written).await;
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(Refusal::SlowBody) }
    }

    /// Whether the connection serves on.
    async fn answer(&mut self, request: &Request, answer: Answer) -> bool {
        let (raw, status) = (&request.raw, answer.status);
        // A body that was not read would be taken for the next request.
        let unread = raw.framing != Framing::Length(0);
        let keep_alive = raw.keep_alive && !unread && !self.is_stopping();
        let patience = self.shared.limits.write;
        let written = answer::write(&mut self.stream, answer, &raw.method, keep_alive, patience).await;
        let (verdict, took) = (verdict(status), request.began.elapsed());
        metrics::edge().request_took(verdict, took);
        request.trace.answered_here(raw.fields.get(Known::Traceparent), &raw.method, (verdict, status), took);
        if written.is_ok() && !keep_alive {
            answer::close(&mut self.stream).await;
        }
        written.is_ok() && keep_alive
    }

    async fn refuse(mut self, refusal: Refusal) {
        let (answer, patience) = (refusal.answer(), self.shared.limits.write);
        tracing::debug!(%refusal, "a request was refused");
        if answer::write(&mut self.stream, answer, &Method::GET, false, patience).await.is_ok() {
            answer::close(&mut self.stream).await;
        }
    }

    async fn forward(self, request: Request, forward: Forward) -> Option<Self> {
        let (raw, trip) = request.into_trip(forward, &self.shared);
        if raw.websocket {
            // Rare, and as a part of this future it would make all of them large.
            Box::pin(tunnel::run(self, raw, trip)).await;
            return None;
        }
        if self.shared.short_way && relay::takes(&raw, &trip) {
            return relay::run(self, &raw, &trip).await;
        }
        // A future that is many times as large as all others: it is made only where it is needed.
        Box::pin(self.forward_by_pingora(raw, trip)).await
    }

    async fn forward_by_pingora(mut self, raw: RawHead, mut trip: Trip) -> Option<Self> {
        let mut body = Body::new(raw.framing);
        let Ok(own) = body.take(&self.arrived) else {
            self.refuse(Refusal::Malformed("the chunked body is malformed")).await;
            return None;
        };
        let mut head = BytesMut::from(raw.bytes);
        head.unsplit(self.arrived.split_to(own));
        let Self { shared, peer, tls, stream, arrived, permit, stop, alarm } = self;
        let one = OneRequest::new(stream, body, arrived);
        let keep_alive = raw.keep_alive;
        let cut = Arc::new(Cut::default());
        trip.cut = Some(Arc::clone(&cut));
        let session = new_session(one, head, trip, &shared);
        let served = tokio::select! {
            served = shared.proxy.process_new_http(session, &shared.stopping) => served?,
            () = cut.reached() => return None,
        };
        let one = served.consume().0.into_any().downcast::<OneRequest>().ok()?;
        let (stream, arrived) = one.into_parts()?;
        keep_alive.then_some(Self { shared, peer, tls, stream, arrived, permit, stop, alarm })
    }

    async fn socket(self, raw: RawHead, plan: SocketPlan) {
        let Some(Ok(handshake)) = raw.websocket.then(|| Handshake::read(&raw.fields)) else {
            return self.refuse(Refusal::Handshake).await;
        };
        let Self { shared, stream, arrived, permit, .. } = self;
        let opened = handshake.open(stream, &arrived, &plan.headers, shared.limits.write).await;
        let Ok(socket) = opened else { return };
        drop(arrived);
        // A task of its own: this one is as large as the largest thing a connection ever does.
        let run = (plan.run)(socket);
        shared.spawn(async move {
            run.await;
            drop(permit);
        });
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }
}

/// Pingora reads the head again, and then the body; the plan travels as the context of the connection.
fn new_session(one: OneRequest, head: BytesMut, trip: Trip, shared: &Shared) -> ServerSession {
    let mut session = ServerSession::new_http1(Box::new(one));
    session.set_pipelined_prefix(head);
    session.set_connection_user_context(Some(Box::new(trip)));
    session.set_read_timeout(Some(shared.limits.body));
    session.set_write_timeout(Some(shared.limits.write));
    session.set_total_drain_timeout(Some(shared.limits.body));
    session
}

impl Request {
    fn head(&mut self) -> Head {
        Head {
            method: self.raw.method.clone(),
            host: std::mem::take(&mut self.raw.host),
            path: std::mem::take(&mut self.raw.path),
            query: self.raw.query.take(),
            fields: std::mem::take(&mut self.raw.fields),
            client: self.hops.client,
            secure: self.hops.secure,
            trace_id: self.trace.id,
        }
    }

    fn into_trip(self, forward: Forward, shared: &Arc<Shared>) -> (RawHead, Trip) {
        let Self { raw, hops, trace, began } = self;
        let (accept, came) = (raw.fields.text(Known::Accept), raw.fields.get(Known::Traceparent));
        let streams = accept.is_some_and(|accept| accept.contains("text/event-stream"));
        let trace = trace.onward(came, &raw.method, &forward, began.elapsed());
        (raw, Trip { forward, hops, trace, streams, shared: Arc::clone(shared), cut: None, began })
    }
}

/// How an answer of our own counts among the times that requests took.
fn verdict(status: StatusCode) -> Verdict {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Verdict::Limited,
        // The waiting page and places, whatever status the room gives them.
        StatusCode::SERVICE_UNAVAILABLE => Verdict::Queued,
        status if status.is_server_error() => Verdict::Error,
        status if status.is_client_error() => Verdict::Rejected,
        _ => Verdict::Queued,
    }
}
