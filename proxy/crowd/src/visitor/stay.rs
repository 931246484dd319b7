//! Inside to the end of the run: looks at the event again and again, as people with a full basket do.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use hyper::{Method, StatusCode};

use super::Visitor;
use super::shop::event_path;
use crate::client::Call;
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

    /// One request of somebody who is in: anything but the origin's answer is a failure.
    async fn look(&mut self, call: &Call) {
        let from = self.actor.now();
        let answer = self.actor.ask(call).await;
        let span = Span::new(from, self.actor.now());
        let meter = &self.actor.world.meter;
        let what = match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                meter.answered.fetch_add(1, Relaxed);
                self.actor.story.visits.answered += 1;
                return;
            }
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.label().to_owned(),
        };
        meter.failed.fetch_add(1, Relaxed);
        self.actor.log("failed", serde_json::json!({ "path": call.path, "sent": from, "what": what }));
        self.actor.story.visits.fail(span, what);
    }
}
