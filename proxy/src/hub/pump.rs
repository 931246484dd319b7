//! Tells those who are due, beside the ticks: one task for each part of the hub, so that all cores push.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval};

use crate::hall::Hall;
use crate::socket::now_secs;

/// A part is locked for as many pushes at a time: some hundred microseconds.
const PUSHES_AT_ONCE: usize = 64;

/// Pushes for one room until it is dropped.
pub async fn run(hall: Arc<Hall>) {
    let mut pumps = JoinSet::new();
    for part in 0..hall.hub.parts() {
        pumps.spawn(pump(Arc::clone(&hall), part));
    }
    pumps.join_all().await;
}

async fn pump(hall: Arc<Hall>, part: usize) {
    let mut beat = interval(Duration::from_secs(1));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = hall.hub.news(part) => tell(&hall, part).await,
            _ = beat.tick() => hall.hub.beat(part, now_secs()),
        }
    }
}

async fn tell(hall: &Hall, part: usize) {
    loop {
        let are_more = {
            let (settings, known) = (hall.settings(), hall.known());
            hall.hub.tell_some(part, PUSHES_AT_ONCE, hall.view(&settings, known.as_deref()))
        };
        if !are_more {
            return;
        }
        yield_now().await;
    }
}
