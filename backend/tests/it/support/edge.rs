//! What the box office needs of an edge: its keys, its passes, and the address where it publishes them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use room::ids::{Incarnation, TicketId, VisitorId};
use room::time::Micros;
use room::token::{Alg, Key, KeyRing, Kind, Pass, Use};
use serde_json::json;
use tokio::net::TcpListener;

/// Publishes keys, and a room where many wait, on a port of its own.
pub(crate) struct Edge {
    pub url: String,
    published: Arc<Mutex<String>>,
}

impl Edge {
    pub(crate) async fn publishing(ring: &KeyRing) -> Self {
        let published = Arc::new(Mutex::new(jwks(ring)));
        let shown = Arc::clone(&published);
        let room = async |Path(name): Path<String>| {
            let state =
                json!({ "room": name, "status": "queueing", "waiting": 51_873, "rate_per_minute": 1600 });
            state.to_string()
        };
        let routes = Router::new()
            .route("/_queue/jwks.json", get(async move || shown.lock().unwrap().clone()))
            .route("/_queue/rooms/{name}", get(room));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/_queue/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, published }
    }

    pub(crate) fn publish(&self, ring: &KeyRing) {
        *self.published() = jwks(ring);
    }

    /// The text at the address.
    pub(crate) fn published(&self) -> MutexGuard<'_, String> {
        self.published.lock().unwrap()
    }
}

fn jwks(ring: &KeyRing) -> String {
    serde_json::to_string(ring.jwks()).unwrap()
}

/// A ring whose pass key has this name; rings with the same name have different keys if `seed` differs.
pub(crate) fn ring(kid: &str, alg: Alg, seed: u8) -> KeyRing {
    let key = |kid: &str, kind, alg, byte| Key {
        kid: kid.into(),
        kind,
        alg,
        use_: Use::Sign,
        secret: vec![byte; 32],
    };
    KeyRing::new(&[key("tickets", Kind::Ticket, Alg::Hs256, 200), key(kid, Kind::Pass, alg, seed)]).unwrap()
}

/// The pass of visitor number `visitor`, good for so many seconds from now (or expired before so many).
pub(crate) fn pass(ring: &KeyRing, room: &str, visitor: u8, seconds: i64) -> String {
    let now = Micros::from(SystemTime::now()).as_secs();
    let expires_at_secs = now.saturating_add_signed(seconds);
    ring.sign_pass(&Pass {
        room: room.parse().unwrap(),
        visitor: VisitorId::from_random([visitor; 12]),
        ticket: TicketId::from_random([visitor; 12]),
        expires_at_secs,
        hard_cap_secs: expires_at_secs,
        granted_secs: None,
        incarnation: Incarnation::from_random([1; 12]),
    })
}
