//! Inside to the end of the run: looks at the event again and again, as people with a full basket do.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use hyper::{Method, StatusCode, header};
use room::time::Micros;
use serde_json::Value;

use super::Visitor;
use super::shop::event_path;
use crate::client::{Answer, Call, CallError};
use crate::clock::Span;
use crate::story::End;

/// Between two looks, in milliseconds.
const LOOK_EVERY: Range<u64> = 1500..3500;

impl Visitor {
    pub(super) async fn stay(&mut self) -> Result<End, End> {
        let event = self.event().await?;
        let call = Call::json(Method::GET, format!("{}/availability", event_path(&event)));
        loop {
            if self.actor.pause_briefly(LOOK_EVERY).await.is_err() {
                return Ok(End::Stayed);
            }
            self.look(&call).await;
        }
    }

    /// One request of somebody who is in.
    async fn look(&mut self, call: &Call) {
        let from = self.actor.now();
        let answer = self.actor.ask(call).await;
        self.count(call, from, &answer);
    }

    /// Whoever is in hears from the origin: anything else is a failure.
    pub(super) fn count(&mut self, call: &Call, from: Micros, answer: &Result<Answer, CallError>) {
        let Some(what) = failure(answer) else {
            self.actor.world.meter.answered.fetch_add(1, Relaxed);
            self.actor.story.visits.answered += 1;
            return;
        };
        let span = Span::new(from, self.actor.now());
        self.actor.world.meter.failed.fetch_add(1, Relaxed);
        self.actor.log("failed", serde_json::json!({ "path": call.path, "sent": from, "what": what }));
        self.actor.story.visits.fail(span, what);
    }
}

/// The kind of error or the status; a 503 that does not say when to come back says so.
fn failure(answer: &Result<Answer, CallError>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
            let says_when = answer.headers.contains_key(header::RETRY_AFTER);
            let code = answer.json::<Value>().and_then(|body| Some(body.get("code")?.as_str()?.to_owned()));
            let when = if says_when { "" } else { ", no Retry-After" };
            Some(format!("503 {}{when}", code.unwrap_or_default()))
        }
        Ok(answer) if answer.status.is_server_error() => Some(answer.status.as_u16().to_string()),
        Ok(_) => None,
        Err(error) => Some(error.label().to_owned()),
    }
}
