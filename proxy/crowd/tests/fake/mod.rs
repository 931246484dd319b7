//! A small waiting room with a shop behind it, over real sockets: honest, or broken in one chosen way.

mod line;
mod shop;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use room::time::Micros;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use line::Line;
pub(crate) use shop::Shop;

/// What is wrong with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The API is not behind the gate.
    OpenApi,
    /// The last in line gets the turn.
    LastFirst,
    /// Entries are not limited.
    NoLimit,
    /// Joining again makes a new place.
    Restamps,
    /// Positions are a tenth too high.
    InflatedPositions,
    /// The idempotency key is ignored.
    IgnoresKeys,
    /// A place is told again four seconds later than announced.
    FallsSilent,
    /// Positions go up and down by one.
    PositionsSwing,
    /// Every tenth ticket sold is not in the books.
    LosesSales,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) per_minute: u64,
    pub(crate) burst: u64,
    pub(crate) stock: u64,
    pub(crate) fault: Fault,
}

/// Runs until it is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Fake {
    pub(crate) async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let house = Arc::new(House { settings, line: Mutex::default(), shop: Mutex::default() });
        let ticking = tokio::spawn(line::tick(Arc::clone(&house)));
        let app = Router::new().fallback(move |request: Request<Body>| answer(Arc::clone(&house), request));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, tasks: [ticking, serving] }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) struct House {
    settings: Settings,
    line: Mutex<Line>,
    shop: Mutex<Shop>,
}

impl House {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap()
    }

    fn has(&self, fault: Fault) -> bool {
        self.settings.fault == fault
    }
}

fn now() -> Micros {
    Micros::from(SystemTime::now())
}

/// The stamp tells everybody apart.
type Stamp = u64;

async fn answer(house: Arc<House>, mut request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let ticket = cookie(request.headers(), "ticket");
    if path == "/_queue/ws" {
        return line::socket(house, ticket, &mut request).await;
    }
    let body = axum::body::to_bytes(std::mem::take(request.body_mut()), 4096).await.unwrap();
    if path.starts_with("/_queue/") {
        return api(&house, request.method(), &path, request.headers());
    }
    let pass = cookie(request.headers(), "pass").filter(|stamp| house.line().holds_session(*stamp));
    let open = house.has(Fault::OpenApi) && path.starts_with("/api/");
    if let Some(stamp) = pass.or(open.then_some(0)) {
        return shop::answer(&house, stamp, &request, &body);
    }
    let entered = house.line().let_in(&house.settings, ticket);
    match entered {
        Some(stamp) => set_cookie(shop::answer(&house, stamp, &request, &body), "pass", &pass_token(stamp)),
        None => queued(&house, ticket, request.headers()),
    }
}

fn queued(house: &House, ticket: Option<Stamp>, headers: &HeaderMap) -> Response<Body> {
    let page =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.to_str().unwrap().starts_with("text/html"));
    if !page {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "1")],
            json!({ "code": "queued" }).to_string(),
        )
            .into_response();
    }
    let mut page = (
        [(header::CONTENT_TYPE, "text/html"), (header::HeaderName::from_static("x-robots-tag"), "noindex")],
        "<h1>Wait</h1>",
    )
        .into_response();
    if ticket.is_none() {
        page = set_cookie(page, "ticket", &ticket_token(house.line().stamp(), None));
    }
    page
}

fn api(house: &House, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
    let ticket = cookie(headers, "ticket");
    let known = |f: &dyn Fn(Stamp) -> Response<Body>| ticket.map_or_else(|| status(401), f);
    match (method.as_str(), path) {
        ("GET", "/_queue/rooms/e1") => json_answer(200, &house.line().public(&house.settings)),
        ("POST", "/_queue/join") => known(&|stamp| join(house, stamp)),
        ("GET", "/_queue/status") => known(&|stamp| json_answer(200, &house.line().standing(house, stamp))),
        ("POST", "/_queue/enter") => {
            known(&|stamp| match house.line().let_in(&house.settings, Some(stamp)) {
                Some(stamp) => {
                    set_cookie(json_answer(200, &json!({ "token": "t" })), "pass", &pass_token(stamp))
                }
                None => (StatusCode::CONFLICT, [("retry-after", "1")]).into_response(),
            })
        }
        ("DELETE", "/_queue/leave") => {
            house.line().leave(ticket.into_iter().chain(cookie(headers, "pass")));
            status(204)
        }
        _ => status(404),
    }
}

fn join(house: &House, stamp: Stamp) -> Response<Body> {
    let mut line = house.line();
    let again = house.has(Fault::Restamps) && line.stands(stamp);
    let stamp = if again { line.stamp() } else { stamp };
    line.join(stamp);
    let mut standing = line.standing(house, stamp);
    let token = ticket_token(stamp, Some(now()));
    standing["ticket"] = token.as_str().into();
    set_cookie(json_answer(201, &standing), "ticket", &token)
}

fn status(code: u16) -> Response<Body> {
    StatusCode::from_u16(code).unwrap().into_response()
}

fn json_answer(code: u16, body: &Value) -> Response<Body> {
    (StatusCode::from_u16(code).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
        .into_response()
}

fn set_cookie(mut answer: Response<Body>, name: &str, token: &str) -> Response<Body> {
    let line = format!("vestibule_{name}_e1={token}; Path=/; HttpOnly; SameSite=Lax");
    answer.headers_mut().append(header::SET_COOKIE, line.parse().unwrap());
    answer
}

fn id(stamp: Stamp) -> String {
    format!("{stamp:024x}")
}

fn ticket_token(stamp: Stamp, confirmed: Option<Micros>) -> String {
    token("ticket", &json!({ "sub": id(stamp), "jti": id(stamp), "stamp": stamp, "cat": confirmed }))
}

fn pass_token(stamp: Stamp) -> String {
    let expires = (now() + Duration::from_secs(600)).as_secs();
    token("pass", &json!({ "sub": id(stamp), "tkt": id(stamp), "stamp": stamp, "exp": expires }))
}

/// The kind stands where the signature would: what is forged has another.
fn token(kind: &str, payload: &Value) -> String {
    format!("e30.{}.signed-{kind}", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

fn cookie(headers: &HeaderMap, kind: &str) -> Option<Stamp> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let name = format!("vestibule_{kind}_e1=");
    let token = cookies.split("; ").find_map(|pair| pair.strip_prefix(&name))?;
    let mut parts = token.split('.').skip(1);
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
    (parts.next()? == format!("signed-{kind}")).then(|| payload["stamp"].as_u64())?
}
