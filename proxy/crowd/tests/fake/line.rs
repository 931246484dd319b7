//! The fake's queue: in order of stamps, a turn for every token of the rate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{Request, Response};
use room::time::Micros;
use serde_json::{Value, json};
use tokio::time::interval;

use super::{Fault, House, Settings, Stamp, now, status};

pub(crate) const CLAIM_WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Line {
    last_stamp: Stamp,
    waiting: BTreeSet<Stamp>,
    /// Until when each may be claimed.
    turns: BTreeMap<Stamp, Micros>,
    sessions: BTreeSet<Stamp>,
    /// The least position that each was shown.
    shown: BTreeMap<Stamp, u64>,
    /// How often each was told a place.
    told: BTreeMap<Stamp, u64>,
    turn_budget: Budget,
    entry_budget: Budget,
}

/// A token bucket.
#[derive(Debug, Default)]
struct Budget {
    spent: f64,
    at: Micros,
}

impl Budget {
    fn spend(&mut self, settings: &Settings) -> bool {
        let now = now();
        let refill = now.since(self.at).as_secs_f64() * settings.per_minute as f64 / 60.0;
        self.spent = (self.spent - refill).max(0.0);
        self.at = now;
        let affords = self.spent + 1.0 <= settings.burst as f64 || settings.fault == Fault::NoLimit;
        self.spent += f64::from(u8::from(affords));
        affords
    }
}

impl Line {
    pub(crate) fn stamp(&mut self) -> Stamp {
        self.last_stamp = now().0.max(self.last_stamp + 1);
        self.last_stamp
    }

    pub(crate) fn stands(&self, stamp: Stamp) -> bool {
        self.waiting.contains(&stamp)
    }

    pub(crate) fn holds_session(&self, stamp: Stamp) -> bool {
        self.sessions.contains(&stamp)
    }

    pub(crate) fn join(&mut self, stamp: Stamp) {
        if !self.turns.contains_key(&stamp) && !self.sessions.contains(&stamp) {
            self.waiting.insert(stamp);
        }
    }

    pub(crate) fn leave(&mut self, stamps: impl Iterator<Item = Stamp>) {
        for stamp in stamps {
            self.waiting.remove(&stamp);
            self.turns.remove(&stamp);
            self.sessions.remove(&stamp);
        }
    }

    /// Claims the turn, or lets a newcomer in when nobody waits.
    pub(crate) fn let_in(&mut self, settings: &Settings, ticket: Option<Stamp>) -> Option<Stamp> {
        let stamp = match ticket {
            Some(stamp) if self.sessions.contains(&stamp) => return Some(stamp),
            Some(stamp) => self.turns.contains_key(&stamp).then_some(stamp)?,
            None => (self.waiting.is_empty() && self.turns.is_empty()).then(|| self.stamp())?,
        };
        if !self.entry_budget.spend(settings) {
            return None;
        }
        self.turns.remove(&stamp);
        self.sessions.insert(stamp);
        Some(stamp)
    }

    pub(crate) fn standing(&mut self, house: &House, stamp: Stamp) -> Value {
        let ahead = self.waiting.range(..stamp).count() as u64;
        let swing = if house.has(Fault::PositionsSwing) { self.swing(stamp) } else { 0 };
        let inflated = if house.has(Fault::InflatedPositions) { ahead / 10 + 1 } else { 0 };
        let (state, position) = match stamp {
            _ if self.sessions.contains(&stamp) => ("admitted", None),
            _ if self.turns.contains_key(&stamp) => ("turn", None),
            _ if self.waiting.contains(&stamp) => {
                // Whoever came before but joins after moves nobody back.
                let least = self.shown.entry(stamp).or_insert(u64::MAX);
                *least = (ahead + 1 + inflated).min(*least);
                ("waiting", Some(*least + swing))
            }
            _ => ("expired", None),
        };
        json!({
            "room": "e1", "state": state, "position": position, "ahead": position.map(|p| p - 1),
            "waiting": self.waiting.len(), "estimate": null, "progress": null,
            "rate_per_minute": house.settings.per_minute, "paused": null, "message": null,
            "claim_expires_at": self.turns.get(&stamp).map(|expires| expires.to_rfc3339()),
            "opens_at": null, "close_reason": null, "next_update_seconds": 1, "as_of": now().to_rfc3339(),
        })
    }

    /// By more than the line moves between two tellings, every other time.
    fn swing(&mut self, stamp: Stamp) -> u64 {
        let told = self.told.entry(stamp).or_default();
        *told += 1;
        if told.is_multiple_of(2) { 20 } else { 0 }
    }

    pub(crate) fn public(&self, settings: &Settings) -> Value {
        json!({ "room": "e1", "status": "queueing", "waiting": self.waiting.len(),
            "rate_per_minute": settings.per_minute, "opens_at": null, "draw": null })
    }

    fn give_turns(&mut self, settings: &Settings) {
        let expires = now() + CLAIM_WINDOW;
        while !self.waiting.is_empty() && self.turn_budget.spend(settings) {
            let last_first = settings.fault == Fault::LastFirst;
            let next = if last_first { self.waiting.pop_last() } else { self.waiting.pop_first() };
            self.turns.extend(next.map(|stamp| (stamp, expires)));
        }
        self.turns.retain(|_, expires| *expires > now());
    }
}

pub(crate) async fn tick(house: Arc<House>) {
    let mut beat = interval(Duration::from_millis(50));
    loop {
        beat.tick().await;
        house.line().give_turns(&house.settings);
    }
}

pub(crate) async fn socket(
    house: Arc<House>,
    ticket: Option<Stamp>,
    request: &mut Request<Body>,
) -> Response<Body> {
    let Some(stamp) = ticket else { return status(401) };
    let (mut parts, _) = std::mem::take(request).into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.unwrap();
    upgrade.protocols(["vestibule.v1"]).on_upgrade(move |socket| push(house, stamp, socket))
}

/// Tells the standing four times a second, unless it falls silent; the turn ends the conversation.
async fn push(house: Arc<House>, stamp: Stamp, mut socket: WebSocket) {
    let every = if house.has(Fault::FallsSilent) { 5000 } else { 250 };
    let mut beat = interval(Duration::from_millis(every));
    house.line().join(stamp);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            heard = socket.recv() => match heard {
                Some(Ok(_)) => continue,
                _ => return,
            },
        }
        let mut standing = house.line().standing(&house, stamp);
        let kind = if standing["state"] == "turn" { "queue.turn" } else { "queue.update" };
        standing["type"] = kind.into();
        if socket.send(Message::text(standing.to_string())).await.is_err() {
            return;
        }
    }
}
