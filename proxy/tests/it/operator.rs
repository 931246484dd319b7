//! The operator's listener over a real socket, on a queue in memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use room::ids::{Incarnation, NodeId, RoomName};
use room::queue::{Caller, Change, Control, Survey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::memory::Memory;
use store::{Call, Store, StoreError, TuneError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use vestibule::config::parse;
use vestibule::config::settings::RoomSettings;
use vestibule::metrics::Exposition;
use vestibule::operator::{OperatorApp, Readiness, RoomCalls, serve};

/// One recorder counts for the whole process.
static EXPOSITION: LazyLock<Exposition> = LazyLock::new(|| Exposition::install().unwrap());

/// A node of its own beside an empty queue; `lost` answers as a store that is away.
struct Direct {
    store: Memory,
    lost: Mutex<bool>,
    caller: Caller,
}

impl Default for Direct {
    fn default() -> Self {
        let caller = Caller {
            node: NodeId::from_random([1; 12]),
            fresh: Incarnation::from_random([2; 12]),
            witness: None,
            hold: false,
            alone: true,
        };
        Self { store: Memory::default(), lost: Mutex::default(), caller }
    }
}

impl Direct {
    fn call<'a>(&'a self, room: &'a RoomSettings) -> Result<Call<'a>, StoreError> {
        if *self.lost.lock().unwrap() {
            return Err(StoreError::TimedOut(Duration::from_millis(250)));
        }
        Ok(Call { room: &room.name, rules: &room.rules, caller: &self.caller, at_most: Duration::MAX })
    }
}

#[async_trait]
impl RoomCalls for Direct {
    async fn survey(&self, room: &RoomSettings) -> Result<Survey, StoreError> {
        self.store.survey(self.call(room)?, false).await
    }

    async fn tune(&self, room: &RoomSettings, change: &Change) -> Result<Control, TuneError> {
        self.store.tune(self.call(room)?, change).await
    }
}

struct Desk {
    address: SocketAddr,
    readiness: Readiness,
    calls: Arc<Direct>,
    _stop: oneshot::Sender<()>,
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Desk {
    async fn open() -> Self {
        let digest = |token: &str| {
            Sha256::digest(token).iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let text = format!(
            "[[operator.tokens]]\nname = \"alice\"\nrole = \"operator\"\nsha256 = \"{}\"\n\
             [[operator.tokens]]\nname = \"bob\"\nrole = \"viewer\"\nsha256 = \"{}\"\n\
             [[keys]]\nkid = \"t\"\nkind = \"ticket\"\nsecret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n\
             [[keys]]\nkid = \"p\"\nkind = \"pass\"\nsecret = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"\n\
             [room.e1]\nupstream = [\"http://127.0.0.1:1\"]\nnew_users_per_minute = 100\n",
            digest("alice's"),
            digest("bob's")
        );
        let settings = parse("test", &text, Path::new(""), &BTreeMap::new()).unwrap().settings;
        let calls = Arc::new(Direct::default());
        let readiness = Readiness::default();
        let app = OperatorApp {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            calls: Arc::clone(&calls) as _,
            exposition: EXPOSITION.clone(),
            readiness: readiness.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, app, async {
            let _ = stopped.await;
        }));
        Self { address, readiness, calls, _stop: stop }
    }

    async fn send(&self, request: Request<Full<bytes::Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response: Response<_> = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send(request("GET", path, token).body(Full::default()).unwrap()).await
    }

    async fn patch(&self, body: &Value) -> Answer {
        let request = request("PATCH", "/api/rooms/e1", Some("alice's"));
        let request = request.header("content-type", "application/merge-patch+json");
        self.send(request.body(Full::from(body.to_string())).unwrap()).await
    }

    async fn post(&self, action: &str, body: &'static str) -> Answer {
        let request = request("POST", &format!("/api/rooms/e1/{action}"), Some("alice's"));
        self.send(request.body(Full::from(body)).unwrap()).await
    }
}

fn request(method: &str, path: &str, token: Option<&str>) -> hyper::http::request::Builder {
    let request = Request::builder().method(method).uri(path).header("host", "operator");
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

#[tokio::test]
async fn probes_and_metrics_need_no_token_and_everything_else_does() {
    let desk = Desk::open().await;
    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        assert_eq!(desk.get(path, None).await.status, 200, "{path}");
    }
    for path in ["/api/rooms", "/api/rooms/e1", "/api/rooms/none", "/api/audit", "/"] {
        for token in [None, Some("wrong"), Some("")] {
            let answer = desk.get(path, token).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("no-token")), "{path}");
            assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn metrics_show_what_the_edge_counted() {
    let desk = Desk::open().await;
    vestibule::metrics::room(Some(&"counted".parse::<RoomName>().unwrap()))
        .request(vestibule::metrics::Verdict::Forwarded);
    let answer = desk.get("/metrics", None).await;
    assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    for line in [
        "vestibule_requests_total{room=\"counted\",verdict=\"forwarded\"} 1",
        "vestibule_build_info{version=\"",
        "# HELP vestibule_waiting ",
    ] {
        assert!(answer.text.contains(line), "{line} is not in\n{}", answer.text);
    }
}

#[tokio::test]
async fn not_ready_while_a_latch_is_held() {
    let desk = Desk::open().await;
    let latch = desk.readiness.hold("the store has not answered yet");
    let answer = desk.get("/readyz", None).await;
    let report = json!({"ready": false, "store": "here", "reasons": ["the store has not answered yet"]});
    assert_eq!((answer.status, answer.json()), (503, report));
    assert_eq!(desk.get("/livez", None).await.status, 200);
    drop(latch);
    assert_eq!(desk.get("/readyz", None).await.status, 200);
}

#[tokio::test]
async fn a_viewer_looks_and_does_not_change() {
    let desk = Desk::open().await;
    let rooms = desk.get("/api/rooms", Some("bob's")).await.json();
    assert_eq!(rooms["rooms"][0]["room"], "e1");
    assert_eq!(rooms["rooms"][0]["status"], "open");
    let request = request("POST", "/api/rooms/e1/pause", Some("bob's")).body(Full::default()).unwrap();
    let answer = desk.send(request).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("role")));
}

#[tokio::test]
async fn a_patch_changes_the_room_and_its_tag() {
    let desk = Desk::open().await;
    let before = desk.get("/api/rooms/e1", Some("alice's")).await;
    let change =
        json!({ "new_users_per_minute": 1800, "paused": { "reason": "sound check" }, "message": "soon" });
    let after = desk.patch(&change).await;
    assert_eq!(after.status, 200);
    assert_ne!(before.headers["etag"], after.headers["etag"]);
    let room = after.json();
    assert_eq!(room["new_users_per_minute"], 1800);
    assert_eq!(room["configured"]["new_users_per_minute"], 100);
    assert_eq!((&room["status"], &room["paused"]["reason"]), (&json!("paused"), &json!("sound check")));
    assert_eq!(room["message"], "soon");
    let back =
        desk.patch(&json!({ "new_users_per_minute": null, "paused": false, "message": null })).await.json();
    assert_eq!(
        (&back["new_users_per_minute"], &back["paused"], &back["message"]),
        (&json!(100), &json!(null), &json!(null))
    );
}

#[tokio::test]
async fn a_change_on_top_of_an_unseen_one_is_refused() {
    let desk = Desk::open().await;
    let seen = desk.get("/api/rooms/e1", Some("alice's")).await.headers["etag"].clone();
    let change = |tag: &str, rate: u32| {
        request("PATCH", "/api/rooms/e1", Some("alice's"))
            .header("content-type", "application/merge-patch+json")
            .header("if-match", tag)
            .body(Full::from(json!({ "new_users_per_minute": rate }).to_string()))
            .unwrap()
    };
    assert_eq!(desk.send(change(&seen, 200)).await.status, 200);
    let refused = desk.send(change(&seen, 300)).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (412, Some("stale")));
    assert_eq!(desk.send(change("*", 400)).await.status, 200);
    assert_eq!(desk.send(change("yesterday's", 500)).await.status, 400);
    assert_eq!(desk.get("/api/rooms/e1", Some("bob's")).await.json()["new_users_per_minute"], 400);
}

#[tokio::test]
async fn actions_change_the_state_of_a_room() {
    let desk = Desk::open().await;
    for (action, body, field, value) in [
        ("pause", "{\"reason\":\"slow\"}", "status", "paused"),
        ("resume", "", "status", "open"),
        ("drain", "{\"note\":\"deploy\"}", "mode", "drain"),
        ("close", "", "status", "closed"),
        ("open", "{}", "status", "open"),
    ] {
        let answer = desk.post(action, body).await;
        assert_eq!(
            (answer.status, answer.json()[field].as_str()),
            (200, Some(value)),
            "{action}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let desk = Desk::open().await;
    let patch = |content_type: &str, body: String| {
        request("PATCH", "/api/rooms/e1", Some("alice's"))
            .header("content-type", content_type)
            .body(Full::from(body))
            .unwrap()
    };
    let json = "application/merge-patch+json";
    for (content_type, body, status, code) in [
        (json, "{".to_owned(), 400, "bad-json"),
        (json, "[]".to_owned(), 400, "bad-json"),
        (json, "{\"rate\":1}".to_owned(), 422, "bad-field"),
        (json, "{\"new_users_per_minute\":0}".to_owned(), 422, "bad-field"),
        ("text/plain", "{}".to_owned(), 415, "content-type"),
        (json, format!("{{\"note\":\"{}\"}}", "x".repeat(17 * 1024)), 413, "too-large"),
    ] {
        let answer = desk.send(patch(content_type, body)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["trace_id"].as_str().map(str::len), Some(32));
    }
    assert_eq!(desk.post("explode", "").await.json()["code"], "no-such-action");
    for (method, path, status) in [
        ("GET", "/api/rooms/none", 404),
        ("GET", "/api/rooms/NOT%20A%20ROOM", 404),
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/rooms/e1", 405),
    ] {
        let answer = desk.send(request(method, path, Some("alice's")).body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["detail"].is_string());
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_tried_again_later() {
    let desk = Desk::open().await;
    *desk.calls.lost.lock().unwrap() = true;
    let answer = desk.get("/api/rooms", Some("bob's")).await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "1"));
    assert_eq!(desk.patch(&json!({ "paused": true })).await.json()["code"], "store-unavailable");
    assert_eq!(desk.get("/livez", None).await.status, 200);
}
