//! The inspector: gets in like anybody, reads the stock before the crowd buys and after it has gone.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::Visitor;
use super::shop::event_path;
use crate::client::Call;
use crate::plan::{Habits, Person, Quirk};
use crate::stop::Phase;
use crate::story::{Part, Story};
use crate::world::World;

/// What `GET /api/events/{id}/availability` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Stock {
    pub total: u64,
    pub held: u64,
    pub sold: u64,
}

/// What the inspector found at the end, and its own story: it stood in the line too.
#[derive(Debug)]
pub struct Inspection {
    pub after: Option<Stock>,
    pub story: Story,
}

/// How often a session is used so that it does not run out.
const KEEP_UP: Duration = Duration::from_secs(15);
/// Attempts at the last reading, half a second apart: the line is empty by then.
const LAST_READINGS: u32 = 16;

/// Says over `before` what is on sale once it is in, reads again when `finish` turns true.
pub async fn inspect(
    world: Arc<World>,
    person: Person,
    before: oneshot::Sender<Stock>,
    mut finish: watch::Receiver<bool>,
) -> Inspection {
    let habits = Habits {
        quirk: Quirk::None,
        polls: false,
        double_clicks: false,
        enters_by_call: false,
        stays: false,
    };
    let mut visitor = Visitor::new(Arc::clone(&world), person, habits, Part::Inspector);
    tokio::select! {
        () = visitor.keep_watch(before) => {}
        _ = finish.wait_for(|finish| *finish) => {}
    }
    let after = tokio::select! {
        after = visitor.last_reading() => after,
        () = world.stop.reached(Phase::Over) => None,
    };
    Inspection { after, story: visitor.actor.story }
}

impl Visitor {
    async fn keep_watch(&mut self, before: oneshot::Sender<Stock>) {
        if self.get_in().await.is_ok()
            && let Ok(event) = self.event().await
        {
            if let Some(stock) = self.stock(&event).await {
                // Nobody listens any more when the crowd did not wait for us.
                let _ = before.send(stock);
            }
            loop {
                sleep(KEEP_UP).await;
                self.stock(&event).await;
            }
        }
        // Not in: whoever waits for `before` hears that it is gone, and the last reading tries again.
        drop(before);
        std::future::pending::<()>().await;
    }

    async fn last_reading(&mut self) -> Option<Stock> {
        for _ in 0..LAST_READINGS {
            let event = self.actor.world.event.get().cloned();
            if let Some(event) = event
                && let Some(stock) = self.stock(&event).await
            {
                self.leave().await;
                return Some(stock);
            }
            sleep(Duration::from_millis(500)).await;
        }
        None
    }

    async fn stock(&mut self, event: &str) -> Option<Stock> {
        let call = Call::json(Method::GET, format!("{}/availability", event_path(event)));
        let answer = self.actor.ask(&call).await.ok()?;
        answer.json().filter(|_| answer.status.is_success())
    }
}
