//! Waiting: on a socket or by asking now and then, with the things people do meanwhile.

use std::time::Duration;

use hyper::{Method, StatusCode};
use room::wire::{ServerMessage, Standing, State, close};
use tokio::time::{Instant, interval, sleep_until};

use super::{Visitor, backoff};
use crate::cadence::Beat;
use crate::client::Call;
use crate::clock::Span;
use crate::meter::Present;
use crate::plan::Quirk;
use crate::socket::{Heard, OpenError, Socket};
use crate::stop::Phase;
use crate::story::{End, Loss};

/// What ended a stretch of waiting.
enum Waited {
    Turn,
    /// Connect again after this long.
    Again(Duration),
    /// No socket for this visitor: ask instead.
    PollInstead,
    /// The moment for the visitor's quirk has come.
    Interrupted,
}

/// A visitor without any sign for this long may have lost the spot in the line, until the ticket is shown again.
const ABSENCE: Duration = Duration::from_secs(5);
/// Signs of life on an open socket.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A socket that is silent for this much longer than announced is given up.
const SILENCE_SLACK: Duration = Duration::from_secs(15);

impl Visitor {
    /// Until it is this visitor's turn.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        let mut quirk_at = self.quirk_moment();
        let mut failures = 0;
        loop {
            let waited =
                if self.habits.polls { self.poll(quirk_at).await? } else { self.watch(quirk_at).await? };
            match waited {
                Waited::Turn => return Ok(()),
                Waited::PollInstead => self.habits.polls = true,
                Waited::Again(delay) => {
                    failures += 1;
                    self.actor.pause(delay.max(backoff(failures) / 8)).await?;
                }
                Waited::Interrupted => {
                    if self.interrupt().await? == State::Turn {
                        return Ok(());
                    }
                    quirk_at = None;
                }
            }
        }
    }

    fn quirk_moment(&mut self) -> Option<Instant> {
        let has_one = matches!(self.habits.quirk, Quirk::Leaves | Quirk::DropsOff | Quirk::Refreshes);
        has_one.then(|| Instant::now() + self.actor.dice.millis(300..4000))
    }

    async fn interrupt(&mut self) -> Result<State, End> {
        match self.habits.quirk {
            Quirk::Leaves => {
                self.leave().await;
                Err(End::Left)
            }
            Quirk::DropsOff => self.drop_off().await,
            Quirk::Refreshes => self.reload().await,
            Quirk::None | Quirk::NeverClaims => Ok(State::Waiting),
        }
    }

    /// Gone for some seconds, then back with the ticket, perhaps at another edge.
    async fn drop_off(&mut self) -> Result<State, End> {
        let from = self.actor.now();
        let away = self.actor.pause_briefly(2000..6000).await;
        self.actor.story.absences.push(Span::new(from, self.actor.now()));
        away?;
        self.actor.client.move_on();
        self.reload().await
    }

    /// Loads the page again, which joins again: the place must be the same.
    async fn reload(&mut self) -> Result<State, End> {
        self.actor.new_screen();
        self.ask_patiently(&Call::page("/")).await?;
        if self.actor.client.jar.pass.is_some() {
            return Ok(State::Turn);
        }
        self.rejoin().await
    }

    /// Holds a socket until something happens.
    async fn watch(&mut self, quirk_at: Option<Instant>) -> Result<Waited, End> {
        self.actor.story.tries(self.actor.world.clock.now());
        let mut socket = match Socket::open(&self.actor.client, &self.actor.screen_path("ws")).await {
            Ok((socket, headers)) => {
                self.actor.client.jar.absorb(&headers);
                self.hold(None);
                self.back();
                self.actor.story.resumed(self.actor.world.clock.now());
                socket
            }
            Err(error) => return self.not_opened(&error),
        };
        self.beat = Beat::open(self.actor.now());
        let waited = self.listen(&mut socket, quirk_at).await;
        if !matches!(waited, Ok(Waited::Turn)) {
            self.beat.over(self.actor.now(), &mut self.actor.story.cadence);
        }
        waited
    }

    async fn listen(&mut self, socket: &mut Socket, quirk_at: Option<Instant>) -> Result<Waited, End> {
        let world = std::sync::Arc::clone(&self.actor.world);
        let _open = Present::on(&world.meter.sockets);
        let mut ping = interval(PING_EVERY);
        let mut silent_at = Instant::now() + SILENCE_SLACK;
        loop {
            tokio::select! {
                heard = socket.hear() => if let Some(waited) = self.heard(heard, &mut silent_at)? {
                    return Ok(waited);
                },
                () = moment(quirk_at) => return Ok(Waited::Interrupted),
                () = sleep_until(silent_at) => return Ok(self.broke("socket-silent")),
                () = self.actor.world.stop.reached(Phase::Closing) => return Err(End::WentHome),
                _ = ping.tick() => socket.ping().await,
            }
        }
    }

    fn heard(&mut self, heard: Heard, silent_at: &mut Instant) -> Result<Option<Waited>, End> {
        let waited = match heard {
            Heard::Message(ServerMessage::Update(standing) | ServerMessage::Turn(standing)) => {
                let announced = Duration::from_secs(u64::from(standing.next_update_seconds.min(3600)));
                *silent_at = Instant::now() + announced * 2 + SILENCE_SLACK;
                let arrived = Span::at(self.actor.now());
                self.beat.placed(arrived, announced, &mut self.actor.story.cadence);
                (self.stand(&standing)? == State::Turn).then_some(Waited::Turn)
            }
            Heard::Message(ServerMessage::Ticket { ticket }) => {
                self.hold(Some(&ticket));
                self.actor.client.jar.ticket = Some(ticket);
                None
            }
            Heard::Message(ServerMessage::Bye { reconnect_in_ms }) => {
                self.lost_socket();
                Some(Waited::Again(Duration::from_millis(reconnect_in_ms.min(60_000))))
            }
            Heard::Message(ServerMessage::Paused { .. } | ServerMessage::Message { .. }) => None,
            Heard::Unknown => {
                self.actor.world.meter.error("unknown-frame");
                None
            }
            Heard::Closed(code) => Some(self.closed(code)?),
            Heard::Broken => Some(self.broke("socket-broken")),
        };
        Ok(waited)
    }

    fn closed(&mut self, code: Option<u16>) -> Result<Waited, End> {
        match code {
            Some(close::NO_TICKET) => Err(self.refused()),
            Some(close::FULL | close::REPLACED) => Ok(Waited::PollInstead),
            Some(close::RESTART) => Ok(self.broke("socket-restart")),
            _ => Ok(self.broke("socket-closed")),
        }
    }

    fn not_opened(&mut self, error: &OpenError) -> Result<Waited, End> {
        match error {
            OpenError::Refused { status: StatusCode::TOO_MANY_REQUESTS, retry_after } => {
                self.actor.world.meter.limited.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(Waited::Again(*retry_after))
            }
            OpenError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::GONE, .. } => {
                Err(self.refused())
            }
            OpenError::Refused { retry_after, .. } => {
                self.broke("socket-refused");
                Ok(Waited::Again(*retry_after))
            }
            OpenError::Call(error) => Ok(self.broke(error.label())),
            OpenError::Handshake(_) => Ok(self.broke("socket-handshake")),
        }
    }

    /// The connection is gone; a visitor behind a load balancer comes back somewhere else.
    fn broke(&mut self, kind: &'static str) -> Waited {
        self.actor.world.meter.error(kind);
        self.lost_socket();
        self.actor.client.move_on();
        Waited::Again(self.actor.dice.millis(100..600))
    }

    fn lost_socket(&mut self) {
        let now = self.actor.now();
        self.broken_since.get_or_insert(now);
        self.actor.story.broke(now);
    }

    fn back(&mut self) {
        let now = self.actor.now();
        if let Some(since) = self.broken_since.take().filter(|since| now.since(*since) >= ABSENCE) {
            self.actor.story.absences.push(Span::new(since, now));
        }
    }

    /// Asks for the standing whenever the last answer said to.
    async fn poll(&mut self, quirk_at: Option<Instant>) -> Result<Waited, End> {
        loop {
            let call = Call::json(Method::GET, self.actor.screen_path("status"));
            let answer = self.ask_patiently(&call).await?;
            let mut pause = answer.retry_after();
            match (answer.status, answer.json::<Standing>()) {
                (StatusCode::OK, Some(standing)) => {
                    self.hold(None);
                    self.back();
                    if self.stand(&standing)? == State::Turn {
                        return Ok(Waited::Turn);
                    }
                    pause = Duration::from_secs(u64::from(standing.next_update_seconds.clamp(1, 120)));
                }
                (StatusCode::UNAUTHORIZED | StatusCode::GONE, _) => return Err(self.refused()),
                _ => {}
            }
            tokio::select! {
                () = moment(quirk_at) => return Ok(Waited::Interrupted),
                waited = self.actor.pause(pause) => waited?,
            }
        }
    }

    /// The server does not accept the ticket: a lost place if it had confirmed it.
    fn refused(&mut self) -> End {
        if self.actor.story.place.is_some() {
            self.actor.story.lose(Loss::TicketRefused);
        }
        End::LostPlace
    }

    async fn rejoin(&mut self) -> Result<State, End> {
        let first = self.actor.story.joined;
        let state = self.join().await;
        self.actor.story.joined = first.or(self.actor.story.joined);
        state
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
