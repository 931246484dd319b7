//! What the tests of the edge need: an edge with scripted decisions, a recording origin, a client that writes bytes.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use room::ids::{RoomName, VisitorId};
use room::time::Micros;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use vestibule::edge::upstream::{Upstream, UpstreamSettings};
use vestibule::edge::{EdgeHandle, EdgeLimits, EdgeOptions, bind, serve};
use vestibule::request::{Answer, Command, Decide, Forward, ForwardPass, Head, Plan};

/// Longer than anything takes, shorter than anybody's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

type Planner = Box<dyn Fn(&Head, &[u8]) -> Plan + Send + Sync>;

/// Decides as the test says and remembers what it was asked.
pub(crate) struct Script {
    plan: Planner,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) commands: Mutex<Vec<(RoomName, VisitorId, Command)>>,
}

/// One head that reached the gate.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) client: String,
    pub(crate) secure: bool,
    pub(crate) body: Vec<u8>,
}

#[async_trait]
impl Decide for Script {
    async fn plan(&self, head: &Head, body: &[u8]) -> Plan {
        self.seen.lock().unwrap().push(Seen {
            host: head.host.clone(),
            path: head.path.clone(),
            client: head.client.to_string(),
            secure: head.secure,
            body: body.to_vec(),
        });
        (self.plan)(head, body)
    }

    async fn command(&self, room: &RoomName, visitor: VisitorId, command: Command) {
        self.commands
            .lock()
            .unwrap()
            .push((room.clone(), visitor, command));
    }

    fn is_reserved(&self, path: &str) -> bool {
        path == "/_queue" || path.starts_with("/_queue/")
    }

    fn now(&self) -> Micros {
        Micros::from(std::time::SystemTime::now())
    }
}

pub(crate) fn answer(status: u16, body: &'static str) -> Plan {
    let headers = vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))];
    Plan::Answer(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
    })
}

pub(crate) const VISITOR: &str = "0f0f0f0f0f0f0f0f0f0f0f0f";

/// A session that ends in `seconds`.
pub(crate) fn pass(seconds: f64) -> ForwardPass {
    let until = Micros::from(std::time::SystemTime::now()) + Duration::from_secs_f64(seconds);
    ForwardPass {
        token: "the.signed.pass".into(),
        visitor: VISITOR.parse().unwrap(),
        until,
    }
}

pub(crate) fn forward(upstream: &Arc<Upstream>) -> Forward {
    Forward {
        upstream: Arc::clone(upstream),
        room: Some("e1".parse().unwrap()),
        pass: Some(pass(600.0)),
        set_cookies: Vec::new(),
        trust_commands: false,
    }
}

/// Short times, so that tests of limits are short.
pub(crate) fn quick() -> UpstreamSettings {
    UpstreamSettings {
        connect: Duration::from_secs(1),
        read: Duration::from_secs(5),
        probe_every: Duration::from_millis(50),
        ..UpstreamSettings::default()
    }
}

pub(crate) fn upstream(origins: &[SocketAddr]) -> Arc<Upstream> {
    upstream_with(origins, quick())
}

pub(crate) fn upstream_with(origins: &[SocketAddr], settings: UpstreamSettings) -> Arc<Upstream> {
    let urls: Vec<_> = origins
        .iter()
        .map(|origin| format!("http://{origin}").parse().unwrap())
        .collect();
    Upstream::with_settings(&urls, settings)
}

/// A running edge; dropping it stops it.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) handle: EdgeHandle,
}

impl Rig {
    pub(crate) fn start(plan: impl Fn(&Head, &[u8]) -> Plan + Send + Sync + 'static) -> Self {
        Self::with(|_| {}, plan)
    }

    pub(crate) fn with(
        adjust: impl FnOnce(&mut EdgeOptions),
        plan: impl Fn(&Head, &[u8]) -> Plan + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(Script {
            plan: Box::new(plan),
            seen: Mutex::default(),
            commands: Mutex::default(),
        });
        let mut options = EdgeOptions::new(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        options.limits = EdgeLimits {
            linger: Duration::ZERO,
            ..EdgeLimits::default()
        };
        adjust(&mut options);
        let (stop, stopped) = watch::channel(false);
        let decide: Arc<dyn Decide> = Arc::<Script>::clone(&script);
        let handle = serve(options, decide, stopped).unwrap();
        Self {
            address: handle.address,
            script,
            stop,
            handle,
        }
    }

    /// Forwards everything to `origins`.
    pub(crate) fn forwarding(origins: &[SocketAddr]) -> Self {
        let upstream = upstream(origins);
        Self::start(move |_, _| Plan::Forward(forward(&upstream)))
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.script
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.path.clone())
            .collect()
    }
}

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn one(&self, name: &str) -> String {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all.into_iter().next().unwrap()
    }
}

pub(crate) type Reply = http::Response<BoxBody<Bytes, hyper::Error>>;
type Handler = Arc<dyn Fn(Received) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// An HTTP server that remembers every request.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    http::Response::builder().status(status).body(body).unwrap()
}

impl Origin {
    /// Answers 200 with the request line.
    pub(crate) async fn start() -> Self {
        Self::with(|request| async move { reply(200, format!("{} {}", request.method, request.target)) })
            .await
    }

    pub(crate) async fn with<F>(handler: impl Fn(Received) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        let log = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                        let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                        async move { respond(request, &handler, &log).await }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            received,
            task,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The one request that came.
    pub(crate) fn only(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.into_iter().next().unwrap()
    }
}

async fn respond(
    request: http::Request<Incoming>,
    handler: &Handler,
    log: &Mutex<Vec<Received>>,
) -> Result<Reply, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received = Received {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    };
    log.lock().unwrap().push(received.clone());
    Ok(handler(received).await)
}

/// An address where nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A client that sends exactly the bytes it is given.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
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
        self.headers
            .get(name)
            .and_then(|values| values.first())
            .map(String::as_str)
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::of(stream)
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// A request with `Host: shop.example` and these lines.
    pub(crate) async fn ask(&mut self, request_line: &str, lines: &str) -> Response {
        self.send(format!(
            "{request_line} HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n"
        ))
        .await;
        self.response(request_line.starts_with("HEAD ")).await
    }

    /// Reads one whole response; one to `HEAD` has no body.
    pub(crate) async fn response(&mut self, to_head: bool) -> Response {
        let mut response = self.head().await;
        let length = response
            .header("content-length")
            .and_then(|length| length.parse().ok());
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
            assert!(
                self.more().await,
                "closed before the head was whole: {:?}",
                self.buffer
            );
        };
        let head = self.buffer.split_to(end);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(&head).unwrap();
        let mut headers: HashMap<String, Vec<String>> = HashMap::new();
        for field in parsed.headers.iter() {
            let value = String::from_utf8_lossy(field.value).into_owned();
            headers
                .entry(field.name.to_ascii_lowercase())
                .or_default()
                .push(value);
        }
        Response {
            status: parsed.code.unwrap(),
            headers,
            body: Vec::new(),
        }
    }

    async fn more(&mut self) -> bool {
        soon("more bytes", self.stream.read_buf(&mut self.buffer))
            .await
            .is_ok_and(|read| read > 0)
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(
                self.more().await,
                "closed after {} of {length} bytes",
                self.buffer.len()
            );
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
        if self.buffer.is_empty()
            && self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .is_ok_and(|read| read == 0)
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
