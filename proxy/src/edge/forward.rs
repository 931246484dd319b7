//! Requests that go to an origin: Pingora streams them, this file says where to and how they look.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::dress::dress;
use super::failure::{Failure, is_navigation_of};
use super::trip::Trip;
use super::upstream::Backend;
use crate::metrics::Verdict;
use crate::request::Command;

/// The header with which an origin speaks of the session it just served.
pub(super) const COMMAND: &str = "vestibule-command";

/// How many connections to origins are kept for reuse.
const POOL_SIZE: usize = 1024;
/// More than any upstream's own limit of attempts.
const MAX_TRIES: usize = 8;

/// What Pingora asks about every request.
#[derive(Debug)]
pub(super) struct Forwarder;

/// Pingora with [`Forwarder`] in it. `ca_file` replaces the system's trust store towards origins.
pub(super) fn proxy(ca_file: Option<String>) -> Arc<HttpProxy<Forwarder>> {
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: POOL_SIZE,
        max_retries: MAX_TRIES,
        ca_file,
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(Forwarder, Arc::new(conf));
    proxy.handle_init_modules();
    Arc::new(proxy)
}

/// What is known of one request while it is forwarded.
#[derive(Default)]
pub(super) struct Progress {
    trip: Option<Box<Trip>>,
    /// The server that has, or is to get, the request.
    current: Option<Arc<Backend>>,
    /// Those that took no connection.
    tried: Vec<Arc<Backend>>,
}

impl Progress {
    fn trip(&self) -> pingora::Result<&Trip> {
        self.trip
            .as_deref()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without a plan"))
    }
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = Progress;

    fn new_ctx(&self) -> Progress {
        Progress::default()
    }

    /// No compression: what the origin sends is what the visitor gets.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// The plan comes as the context of the connection: see `connection.rs`.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Progress,
        carried: Box<dyn std::any::Any + Send + Sync>,
    ) {
        ctx.trip = carried.downcast().ok();
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Progress) -> pingora::Result<Box<HttpPeer>> {
        let trip = ctx.trip()?;
        let upstream = &trip.forward.upstream;
        let backend = upstream.pick(&ctx.tried).await;
        let backend = backend.ok_or_else(|| Error::explain(ErrorType::ConnectNoRoute, "no upstream left"))?;
        let peer = backend.peer(upstream.settings(), trip.streams);
        ctx.current = Some(backend);
        Ok(Box::new(peer))
    }

    /// Nothing was sent yet, so the next server gets the request, whatever its method.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Progress,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(backend) = ctx.current.take() {
            backend.learn(false);
            ctx.tried.push(backend);
        }
        let attempts = ctx.trip().map_or(1, |trip| trip.forward.upstream.settings().attempts);
        tracing::warn!(upstream = %peer._address, error = error.reason_str(), "an upstream cannot be reached");
        error.set_retry(ctx.tried.len() < attempts.min(MAX_TRIES));
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        ctx: &mut Progress,
    ) -> pingora::Result<()> {
        if let Some(backend) = ctx.current.as_ref().filter(|backend| backend.is_down()) {
            backend.learn(true);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Progress,
    ) -> pingora::Result<()> {
        dress(request, ctx.trip()?)
    }

    /// Pingora #935: an empty last piece of an unframed body would be written as the end twice.
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        _: &mut Progress,
    ) -> pingora::Result<()> {
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Progress,
    ) -> pingora::Result<()> {
        let trip = ctx.trip()?;
        let command = command(response);
        response.remove_header(COMMAND);
        if response.status.is_informational() {
            return Ok(());
        }
        trip.trace.answered(response.status.as_u16());
        if let Some(command) = command.filter(|_| !response.headers.contains_key(header::AGE)) {
            trip.obey(command).await;
        }
        let kind = response.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if is_event_stream(kind)
            && let Some((cut, until)) = trip.cut.as_ref().zip(trip.until())
        {
            cut.set(until);
        }
        add_cookies(response, trip)
    }

    /// An edge that stops says so in every answer that begins from now on. HTTP/1.0 knows no chunks: such a client
    /// reads until the connection ends.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Progress,
    ) -> pingora::Result<()> {
        if ctx.trip()?.shared.is_stopping() {
            session.set_keepalive(None);
        }
        if session.req_header().version == Version::HTTP_10 {
            let chunked = response.remove_header(&header::TRANSFER_ENCODING);
            if chunked.is_some() {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Progress) -> FailToProxy {
        let failure = Failure::of(error);
        let status = failure.map_or(0, |failure| failure.status().as_u16());
        let trace_id = ctx.trip().ok().map(|trip| tracing::field::display(trip.trace.id));
        tracing::warn!(trace_id, status, error = %error, "a request was not forwarded");
        if let (Some(failure), Ok(trip), None) = (failure, ctx.trip(), session.response_written()) {
            let written = write_failure(session, failure, trip).await;
            if let Err(error) = written {
                tracing::debug!(trace_id, %error, "the client left before it was told");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, ctx: &mut Progress) {
        let verdict = if error.is_some() { Verdict::Error } else { Verdict::Forwarded };
        if let Ok(trip) = ctx.trip() {
            trip.ended(verdict);
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Progress, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Progress, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// What the origin says of the session, whether or not it is listened to.
fn command(response: &ResponseHeader) -> Option<Command> {
    parse_command(response.headers.get(COMMAND)?.as_bytes())
}

pub(super) fn parse_command(value: &[u8]) -> Option<Command> {
    match value {
        b"release" => Some(Command::Release),
        b"revoke" => Some(Command::Revoke),
        _ => None,
    }
}

/// By the value of `Content-Type`.
pub(super) fn is_event_stream(kind: &[u8]) -> bool {
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// Gives the visitor the cookies of the plan. A shared cache that kept them would hand one visitor's pass to others.
fn add_cookies(response: &mut ResponseHeader, trip: &Trip) -> pingora::Result<()> {
    if trip.forward.set_cookies.is_empty() {
        return Ok(());
    }
    for cookie in &trip.forward.set_cookies {
        response.append_header(header::SET_COOKIE, cookie.clone())?;
    }
    response.insert_header(header::CACHE_CONTROL, "private, no-store")
}

async fn write_failure(session: &mut Session, failure: Failure, trip: &Trip) -> pingora::Result<()> {
    let answer = failure.answer(is_navigation_of(&session.req_header().headers), trip.trace.id);
    let mut response = ResponseHeader::build(answer.status, None)?;
    for (name, value) in answer.headers.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            response.append_header(name, value)?;
        }
    }
    response.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    add_cookies(&mut response, trip)?;
    session.set_keepalive(None);
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(answer.body), true).await
}

impl Trip {
    /// Passes the origin's word on, if it may be listened to.
    pub(super) async fn obey(&self, command: Command) {
        let (room, pass) = (&self.forward.room, &self.forward.pass);
        if let (true, Some(room), Some(pass)) = (self.forward.trust_commands, room, pass) {
            self.shared.decide.command(room, pass, command).await;
        }
    }
}
