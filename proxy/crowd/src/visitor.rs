//! A visitor's life: arrive, join, wait, enter, buy, pay, go.

mod inspector;
mod line;
mod shop;
mod stay;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::{Method, StatusCode};
use room::time::Micros;
use room::wire::{Standing, State};

use crate::actor::Actor;
use crate::cadence::Beat;
use crate::client::{Answer, Call, CallError, Client};
use crate::meter::Present;
use crate::plan::{Habits, Person, Quirk};
use crate::stop::Phase;
use crate::story::{End, Loss, Part, Story};
use crate::token;
use crate::world::World;

pub use inspector::{Inspection, Stock, inspect};
pub(crate) use shop::event_path;

/// Attempts at one step before the visitor gives up.
const MAX_TRIES: u32 = 20;

/// Lives one visitor's life to its end, or to the end of the run.
pub async fn live(world: Arc<World>, person: Person, habits: Habits) -> Story {
    world.meter.arrived.fetch_add(1, Relaxed);
    let mut visitor = Visitor::new(Arc::clone(&world), person, habits, Part::Visitor);
    let end = tokio::select! {
        end = visitor.life() => end,
        () = world.stop.reached(Phase::Over) => End::Cut,
    };
    visitor.actor.story.end = end;
    visitor.actor.log("end", serde_json::json!({ "end": format!("{end:?}") }));
    visitor.actor.story
}

/// Goes through the waiting room; comes back with the client that holds the pass.
pub(crate) async fn get_in(world: Arc<World>, person: Person, habits: Habits) -> Result<Client, End> {
    let mut visitor = Visitor::new(world, person, habits, Part::Visitor);
    visitor.get_in().await?;
    Ok(visitor.actor.client)
}

struct Visitor {
    actor: Actor,
    habits: Habits,
    /// Since when the socket is gone against the visitor's will.
    broken_since: Option<Micros>,
    /// What is due on the socket.
    beat: Beat,
}

/// Where the first contact led.
enum Met {
    /// Let in at once.
    Shop,
    WaitingPage,
}

impl Visitor {
    fn new(world: Arc<World>, person: Person, habits: Habits, part: Part) -> Self {
        Self { actor: Actor::new(world, person, part), habits, broken_since: None, beat: Beat::default() }
    }

    async fn life(&mut self) -> End {
        let end = self.journey().await.unwrap_or_else(|end| end);
        if end == End::WentHome {
            self.leave().await;
        }
        end
    }

    async fn journey(&mut self) -> Result<End, End> {
        self.get_in().await?;
        let world = Arc::clone(&self.actor.world);
        let _present = Present::on(&world.meter.shopping);
        let outcome = if self.habits.stays { self.stay().await } else { self.shop().await };
        self.leave().await;
        outcome
    }

    async fn get_in(&mut self) -> Result<(), End> {
        if let Met::WaitingPage = self.arrive().await? {
            self.queue().await?;
            self.claim().await?;
        }
        Ok(())
    }

    /// The first contact: opens the site like a browser.
    async fn arrive(&mut self) -> Result<Met, End> {
        for attempt in 0..MAX_TRIES {
            let answer = self.ask_patiently(&Call::page("/")).await?;
            if self.actor.client.jar.pass.is_some() {
                self.actor.story.arrival = Some(answer.span);
                return Ok(Met::Shop);
            }
            if let Some(ticket) = self.actor.client.jar.ticket.clone() {
                // A refusal may come with a ticket too: the place counts from it.
                if answer.gained.ticket && self.actor.story.arrival.is_none() {
                    self.actor.story.arrival = Some(answer.span);
                    self.actor.story.first_stamp = token::ticket(&ticket).map(|view| view.stamp);
                }
                if answer.status != StatusCode::TOO_MANY_REQUESTS {
                    return Ok(Met::WaitingPage);
                }
            }
            self.actor.pause(answer.retry_after() + backoff(attempt) / 4).await?;
        }
        Err(End::Failed)
    }

    async fn queue(&mut self) -> Result<(), End> {
        let world = Arc::clone(&self.actor.world);
        let _present = Present::on(&world.meter.waiting);
        if self.join().await? == State::Turn {
            return Ok(());
        }
        self.wait().await
    }

    /// Takes the place.
    async fn join(&mut self) -> Result<State, End> {
        let call = Call::json(Method::POST, self.actor.screen_path("join"));
        for attempt in 0..MAX_TRIES {
            let answer = self.ask_patiently(&call).await?;
            if let (true, Some(standing)) = (answer.status.is_success(), answer.json::<Standing>()) {
                return self.joined(&answer, &standing);
            }
            self.actor.pause(answer.retry_after() + backoff(attempt) / 4).await?;
        }
        Err(End::Failed)
    }

    fn joined(&mut self, answer: &Answer, standing: &Standing) -> Result<State, End> {
        self.actor.story.joined = Some(answer.span);
        self.hold(standing.ticket.as_deref());
        self.stand(standing)
    }

    /// Judges the ticket held now: the one in the body, else the cookie.
    fn hold(&mut self, shown: Option<&str>) {
        let held = shown.or(self.actor.client.jar.ticket.as_deref());
        if let Some(view) = held.and_then(token::ticket) {
            self.actor.story.hold(&view);
        }
    }

    /// Takes a standing in; an end that the server declares ends the journey.
    fn stand(&mut self, standing: &Standing) -> Result<State, End> {
        match self.actor.saw(standing) {
            State::Expired | State::Closed => Err(End::LostPlace),
            State::Admitted => Ok(State::Turn),
            state => Ok(state),
        }
    }

    /// Uses the turn: by loading the page again or by the call.
    async fn claim(&mut self) -> Result<(), End> {
        if self.habits.quirk == Quirk::NeverClaims {
            return Err(End::NoShow);
        }
        if self.actor.client.jar.pass.is_some() {
            return Ok(());
        }
        if self.actor.world.stop.is(Phase::Emptying) {
            return Err(End::Served);
        }
        self.actor.pause_briefly(50..600).await?;
        for attempt in 0..MAX_TRIES {
            let answer = self.ask_patiently(&self.claim_call()).await?;
            if self.actor.client.jar.pass.is_some() {
                return Ok(());
            }
            if answer.status == StatusCode::GONE {
                return Err(self.turned_away());
            }
            self.actor.pause(answer.retry_after() + backoff(attempt) / 4).await?;
        }
        Err(self.turned_away())
    }

    fn claim_call(&self) -> Call {
        if self.habits.enters_by_call {
            Call::json(Method::POST, self.actor.world.queue_path("enter"))
        } else {
            Call::page("/")
        }
    }

    /// A turn that is over before its time is a lost place.
    fn turned_away(&mut self) -> End {
        let now = self.actor.now();
        let in_time = |expires| now + CLAIM_MARGIN < expires;
        if self.actor.story.turn.and_then(|turn| turn.expires).is_some_and(in_time) {
            self.actor.story.lose(Loss::TurnRefused);
        }
        End::LostPlace
    }

    /// Gives place or session back. The run does not depend on the answer.
    async fn leave(&mut self) {
        let now = self.actor.now();
        self.actor.story.left_line.get_or_insert(now);
        self.actor.story.may_have_ended(now);
        let call = Call::json(Method::DELETE, self.actor.world.queue_path("leave"));
        if self.actor.ask(&call).await.is_err() {
            // Once more on a new connection; after that the server's own time limits free the slot.
            drop(self.actor.ask(&call).await);
        }
    }

    /// Asks again on a new connection when the answer is lost, a bounded number of times.
    async fn ask_patiently(&mut self, call: &Call) -> Result<Answer, End> {
        for attempt in 0..MAX_LOST {
            match self.actor.ask(call).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Malformed(_)) => return Err(End::Failed),
                Err(_) if attempt >= 1 => self.actor.pause(backoff(attempt)).await?,
                Err(_) => {}
            }
        }
        Err(End::Failed)
    }
}

/// Lost answers in a row before the visitor gives up: with the pauses between, about 20 seconds without an edge.
const MAX_LOST: u32 = 12;

/// Clocks of visitor and store may differ by this much before a refusal close to the deadline counts.
const CLAIM_MARGIN: Duration = Duration::from_secs(2);

/// 0.2 s, doubling up to 2 s.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.min(4)).min(Duration::from_secs(2))
}
