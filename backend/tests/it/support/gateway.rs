//! A gateway that answers what the test says, and a hand that writes its webhooks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use box_office::payment::signature::Secret;
use room::time::Micros;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::http::Answer;
use super::office::Office;

pub(crate) struct StubGateway {
    pub url: String,
    pub secret_file: PathBuf,
    script: Arc<Mutex<Script>>,
    _folder: TempDir,
}

#[derive(Default)]
struct Script {
    /// Of `charge`, `void`, `refund`; none is 500.
    answers: [Option<&'static str>; 3],
    calls: Vec<String>,
}

impl StubGateway {
    /// Answers these states to charge, void and refund.
    pub(crate) async fn answering(charge: &'static str, void: &'static str, refund: &'static str) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let told = Arc::clone(&script);
        let routes = Router::new()
            .fallback(async move |method: Method, uri: Uri| told.lock().unwrap().answer(&method, &uri));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let folder = TempDir::new().unwrap();
        let secret_file = folder.path().join("secret");
        // 32 bytes in base64url.
        std::fs::write(&secret_file, "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I").unwrap();
        let gateway = Self { url, secret_file, script, _folder: folder };
        gateway.answer([Some(charge), Some(void), Some(refund)]);
        gateway
    }

    pub(crate) fn answer(&self, answers: [Option<&'static str>; 3]) {
        self.script.lock().unwrap().answers = answers;
    }

    /// How often it was asked for this: `charge`, `void` or `refund`.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.script.lock().unwrap().calls.iter().filter(|call| *call == what).count()
    }

    /// Arguments for an office that uses it.
    pub(crate) fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let file = self.secret_file.to_str().unwrap();
        let own = ["--gateway-url", self.url.as_str(), "--webhook-secret-file", file];
        [own.as_slice(), more].concat()
    }

    /// Delivers an event, signed so many seconds from now.
    pub(crate) async fn tell(&self, office: &Office, event: &Value, seconds: i64) -> Answer {
        let body = event.to_string();
        let now = Micros::from(SystemTime::now()).as_secs().saturating_add_signed(seconds);
        let signature = Secret::read(&self.secret_file).unwrap().sign(now, body.as_bytes());
        let headers = [("gateway-signature", signature.as_str())];
        office.call(Method::POST, "/api/payments/webhook", &headers, &body).await
    }
}

/// As the gateway writes it, for a payment of one ticket.
pub(crate) fn event(id: &str, payment: &str, state: &str) -> Value {
    json!({ "id": id, "paymentId": payment, "state": state, "amountMinor": 5000, "currency": "EUR" })
}

impl Script {
    fn answer(&mut self, method: &Method, uri: &Uri) -> Result<String, StatusCode> {
        let what = match uri.path().rsplit('/').next() {
            Some("void") => 1,
            Some("refund") => 2,
            _ => 0,
        };
        assert_eq!(*method, if what == 0 { Method::PUT } else { Method::POST });
        self.calls.push(["charge", "void", "refund"][what].into());
        let state = self.answers[what].ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(json!({ "state": state }).to_string())
    }
}
