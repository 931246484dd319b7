//! Server-sent events as a browser reads them.

use std::time::Duration;

use axum::http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::office::Office;

const PATIENCE: Duration = Duration::from_secs(20);

/// One open stream.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    pub(crate) async fn open(office: &Office, path: &str, last_event_id: Option<&str>) -> Self {
        let stream = TcpStream::connect(&office.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", &office.address);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    /// Id, name and data of the next event.
    pub(crate) async fn next(&mut self) -> (Option<i64>, String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.lines().any(|line| line.starts_with("event:")) {
                    return parsed(&event);
                }
                continue;
            }
            assert!(self.read().await, "the stream ended");
        }
    }

    /// Whether it ends in time.
    pub(crate) async fn ends(&mut self) -> bool {
        while self.read().await {}
        true
    }

    async fn read(&mut self) -> bool {
        let frame = timeout(PATIENCE, self.body.frame()).await.expect("a word in time");
        match frame {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                self.text.push_str(std::str::from_utf8(&data).unwrap());
                true
            }
            Some(Err(_)) | None => false,
        }
    }
}

fn parsed(event: &str) -> (Option<i64>, String, Value) {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data = serde_json::from_str(field("data:").expect("data")).unwrap();
    (field("id:").map(|id| id.parse().unwrap()), field("event:").unwrap().to_owned(), data)
}
