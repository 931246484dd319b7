//! Somebody who makes requests and writes down what comes of them: the hands of visitors and bots alike.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::StatusCode;
use room::time::Micros;
use room::wire::{Standing, State};
use serde_json::json;

use crate::client::{Answer, Call, CallError, Client, Cookies};
use crate::gatekeeper;
use crate::journal::Line;
use crate::plan::{Dice, Person};
use crate::stop::Phase;
use crate::story::{End, Entry, Loss, Part, Story, Turn};
use crate::token;
use crate::world::World;

/// Positions kept of those that one person was shown.
const MOST_SIGHTINGS: usize = 256;

/// One person at work.
#[derive(Debug)]
pub struct Actor {
    pub world: Arc<World>,
    pub client: Client,
    pub story: Story,
    pub dice: Dice,
    /// First request that may have entered without our knowing.
    entering_since: Option<Micros>,
    /// What the present screen showed last.
    shown: Option<u64>,
}

impl Actor {
    pub fn new(world: Arc<World>, person: Person, part: Part) -> Self {
        let edge = usize::try_from(person.id).unwrap_or_default() % world.edges.len().max(1);
        let client = Client::new(Arc::clone(&world), edge, person.address);
        let story = Story { id: person.id, part, edge, ..Story::default() };
        Self { world, client, story, dice: person.dice, entering_since: None, shown: None }
    }

    pub fn now(&self) -> Micros {
        self.world.clock.now()
    }

    /// Makes the call and writes down what it shows.
    pub async fn ask(&mut self, call: &Call) -> Result<Answer, CallError> {
        let had_pass = self.carries_pass(call);
        let from = self.now();
        match self.client.call(call).await {
            Ok(answer) => {
                self.note(call, had_pass, &answer);
                Ok(answer)
            }
            Err(error) => {
                self.world.meter.error(error.label());
                self.log("error", json!({ "path": call.path, "kind": error.label() }));
                if !had_pass {
                    self.entering_since.get_or_insert(from);
                }
                Err(error)
            }
        }
    }

    /// Whether a pass that the edge gave goes along.
    pub fn carries_pass(&self, call: &Call) -> bool {
        call.cookies == Cookies::Jar && self.client.jar.pass.is_some()
    }

    /// Writes down an answer; for calls made on a second connection.
    pub fn note(&mut self, call: &Call, had_pass: bool, answer: &Answer) {
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            self.world.meter.limited.fetch_add(1, Relaxed);
        } else if answer.status.is_server_error() && answer.status != StatusCode::SERVICE_UNAVAILABLE {
            self.world.meter.error("server-error");
        }
        self.log(
            "answer",
            json!({ "path": call.path, "status": answer.status.as_u16(), "sent": answer.span.from,
                "ticket": answer.gained.ticket, "pass": answer.gained.pass }),
        );
        if gatekeeper::passed_ungated(&call.path, had_pass, answer) {
            self.story.ungated(&call.path);
            self.log("ungated", json!({ "path": call.path }));
        }
        if answer.gained.pass {
            self.entered(answer);
        }
        if !had_pass {
            self.entering_since = self.may_have_entered(call, answer);
        }
    }

    /// While a turn is open, an attempt that brought no pass may have entered all the same: its answer was lost between
    /// edge and store, and the session is found later.
    fn may_have_entered(&self, call: &Call, answer: &Answer) -> Option<Micros> {
        let claims = !call.path.starts_with("/_queue/") || call.path.starts_with("/_queue/enter");
        let since = self.entering_since.or(claims.then_some(answer.span.from));
        since.filter(|_| self.story.turn.is_some() && !answer.gained.pass)
    }

    fn entered(&mut self, answer: &Answer) {
        let pass = answer_pass(answer, &self.world).as_deref().and_then(token::pass);
        let mut span = answer.span;
        span.from = self.entering_since.map_or(span.from, |since| since.min(span.from));
        let entry = Entry {
            span,
            at_once: self.story.joined.is_none(),
            ticket: pass.map(|pass| pass.ticket),
            expires: pass.map(|pass| pass.expires_at()),
            ended: None,
        };
        if self.story.enter(entry) {
            self.world.meter.entries.fetch_add(1, Relaxed);
            self.log("entered", json!({ "sent": span.from, "at_once": entry.at_once }));
        }
    }

    /// Writes down a standing; says what the visitor is now.
    pub fn saw(&mut self, standing: &Standing) -> State {
        let as_of = Micros::from_rfc3339(&standing.as_of);
        match standing.state {
            State::Waiting | State::Securing | State::Prequeue => {
                self.story.last_waiting = self.story.last_waiting.max(as_of);
                if let (Some(as_of), Some(position)) = (as_of, standing.position) {
                    self.story.show(&mut self.shown, as_of, position, MOST_SIGHTINGS);
                }
            }
            State::Turn => self.turn(standing),
            State::Expired => self.story.lose(Loss::ToldExpired),
            State::Closed => self.story.lose(Loss::ToldClosed),
            State::Admitted => {}
        }
        self.log(
            "standing",
            json!({ "state": standing.state, "position": standing.position, "as_of": standing.as_of,
                "claim_expires_at": standing.claim_expires_at, "stamp": self.story.place.map(|place| place.stamp) }),
        );
        standing.state
    }

    fn turn(&mut self, standing: &Standing) {
        if self.story.turn.is_none() {
            let expires = standing.claim_expires_at.as_deref().and_then(Micros::from_rfc3339);
            self.story.turn = Some(Turn { seen: self.now(), expires });
            self.world.meter.turns.fetch_add(1, Relaxed);
        }
    }

    /// A path of the waiting room's API that answers with a place on the present screen.
    pub fn screen_path(&self, call: &str) -> String {
        self.world.screen_path(call, self.shown)
    }

    /// A page was opened anew: what it shows next is not compared with what the last one showed.
    pub fn new_screen(&mut self) {
        self.shown = None;
    }

    /// Waits; the end of the run cuts it short.
    pub async fn pause(&self, time: Duration) -> Result<(), End> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.world.stop.reached(Phase::Closing) => Err(End::WentHome),
        }
    }

    /// A moment of thought, in milliseconds.
    pub async fn pause_briefly(&mut self, millis: std::ops::Range<u64>) -> Result<(), End> {
        let time = self.dice.millis(millis);
        self.pause(time).await
    }

    pub fn log(&self, event: &str, detail: serde_json::Value) {
        self.world.journal.write(&Line { at: self.now(), visitor: self.story.id, event, detail });
    }
}

/// The pass that an answer sets, whoever keeps it.
pub fn answer_pass(answer: &Answer, world: &World) -> Option<String> {
    let mut jar = crate::jar::Jar::new(&world.room);
    jar.absorb(&answer.headers);
    jar.pass
}
