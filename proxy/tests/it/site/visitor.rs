//! A visitor with a cookie jar, over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use room::wire::Standing;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Screen;
use crate::rig::{DEADLINE, soon};

/// What a browser sends with a navigation.
const NAVIGATION: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
];

/// One person, or one app.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// The edge that the next request goes to.
    pub(crate) edge: SocketAddr,
    pub(crate) host: String,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Visitor {
    pub(crate) fn new(edge: SocketAddr) -> Self {
        let host = "shop.example".into();
        Self { edge, host, cookies: BTreeMap::new(), headers: Vec::new() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn with_cookie(mut self, name: &str, value: &str) -> Self {
        self.cookies.insert(name.into(), value.into());
        self
    }

    /// Loads a page, as a browser does.
    pub(crate) async fn visit(&mut self, target: &str) -> Response {
        self.request("GET", target, NAVIGATION, "").await
    }

    /// What a script on a page asks for.
    pub(crate) async fn fetch(&mut self, target: &str) -> Response {
        self.request("GET", target, &[("accept", "application/json")], "").await
    }

    /// A call to the edge itself: `POST join`, `GET status?room=e1`.
    pub(crate) async fn call(&mut self, call: &str) -> Response {
        let (method, name) = call.split_once(' ').unwrap();
        self.request(method, &format!("/_queue/{name}"), &[], "").await
    }

    pub(crate) async fn status(&mut self) -> Standing {
        let response = self.call("GET status").await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.standing()
    }

    /// Takes a place that was not there before.
    pub(crate) async fn join(&mut self) -> Standing {
        let response = self.call("POST join").await;
        assert_eq!(response.status, 201, "{}", response.text());
        response.standing()
    }

    /// Asks again and again until the standing is as wanted.
    pub(crate) async fn status_until(&mut self, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let asked = async {
            loop {
                let standing = self.status().await;
                if wanted(&standing) {
                    return standing;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        soon(what, asked).await
    }

    /// Opens the waiting socket; the jar takes the cookies of the 101.
    pub(crate) async fn watch(&mut self) -> Screen {
        self.watch_from(None).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// The same from a page of `origin`; the status where there is no socket.
    pub(crate) async fn watch_from(&mut self, origin: Option<&str>) -> Result<Screen, u16> {
        let mut lines = self.lines(&[]);
        lines.extend(origin.map(|origin| ("origin".into(), origin.into())));
        let (screen, headers) = Screen::open(self.edge, &self.host, &lines).await?;
        self.keep_cookies(&headers);
        Ok(screen)
    }

    pub(crate) async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, &self.host);
        for (name, value) in self.lines(headers) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = soon(&format!("{method} {target}"), exchange(self.edge, request)).await;
        self.keep_cookies(&response.headers);
        response
    }

    pub(crate) fn ticket(&self) -> Option<&str> {
        self.cookies.get("vestibule_ticket_e1").map(String::as_str)
    }

    pub(crate) fn pass(&self) -> Option<&str> {
        self.cookies.get("vestibule_pass_e1").map(String::as_str)
    }

    fn lines(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut lines = self.headers.clone();
        lines.extend(more.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            lines.push(("cookie".into(), pairs.join("; ")));
        }
        lines
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
    }
}

/// One request on a connection of its own.
async fn exchange(edge: SocketAddr, request: Request<Full<Bytes>>) -> Response {
    let stream = TcpStream::connect(edge).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(tokio::time::timeout(DEADLINE, connection));
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Response { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What a person sees, short enough for a failure's message.
    pub(crate) fn shows(&self) -> String {
        if self.is_page() { "the waiting page".into() } else { self.text() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn standing(&self) -> Standing {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Of a problem, or of a standing that stands for one.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let name: HeaderName = name.parse().unwrap();
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Seconds to wait, as the answer says.
    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {self:?}"))
    }

    /// Whole `Set-Cookie` lines.
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap()).collect()
    }

    /// Whether this is the waiting page.
    pub(crate) fn is_page(&self) -> bool {
        self.header("content-type").starts_with("text/html") && self.text().contains("data-room=\"e1\"")
    }
}
