//! One waiter of a herd: what it does next, and what it saw. No IO, no clock: `now` is brought.

#[cfg(test)]
mod tests;
mod trips;

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use room::time::Micros;
use room::wire::State;

use super::glance::{Dates, Glance};
use super::reply::Reply;
use super::script::{Ask, Shown};
use super::tally::Tally;
use crate::cadence::Beat;
use crate::clock::Span;
use crate::meter::Meter;
use crate::plan::{Dice, Habits, Quirk};
use crate::story::{End, Entry, Loss, Story, Turn};
use crate::token;

#[derive(Debug)]
pub struct Guest {
    pub story: Story,
    /// When it was to come, whenever it did.
    due: Micros,
    /// Where it goes, counted around.
    pub edge: usize,
    stage: Stage,
    /// When to call [`Guest::wake`] at the latest.
    wake_at: Micros,
    quirk: Option<(Quirk, Micros)>,
    no_show: bool,
    dice: Dice,
    ticket: Option<Box<str>>,
    pass: Option<Box<str>>,
    forwarded_for: Option<Ipv4Addr>,
    /// Refusals and lost answers in a row.
    tries: u32,
    /// First request that may have entered without our knowing.
    entering_since: Option<Micros>,
    /// What the screen showed last.
    screen: Option<u64>,
    beat: Beat,
    /// Without a socket since then, by intent or not.
    away: Option<Away>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asks this at `wake_at`.
    Resting(Ask),
    Asking {
        ask: Ask,
        since: Micros,
    },
    Watching,
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Away {
    since: Micros,
    intended: bool,
}

/// What is to be done with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make this request.
    Ask(Ask),
    /// Read on.
    Stay,
    /// Close it; there will be another.
    Rest,
    /// Close it; that was all.
    End,
}

/// What the whole herd shares while one of it acts.
#[derive(Debug)]
pub struct Ground<'a> {
    pub tally: &'a mut Tally,
    pub meter: &'a Meter,
    pub dates: &'a mut Dates,
    /// When the run began.
    pub began: Micros,
    /// The line is emptied: a turn is all that is wanted.
    pub emptying: bool,
}

/// A socket that is silent for this much longer than announced is given up.
const SILENCE_SLACK: Duration = Duration::from_secs(30);
/// Positions kept of those that one waiter was shown.
const MOST_SIGHTINGS: usize = 16;
/// Clocks may differ by this much before a refusal close to the deadline counts.
const CLAIM_MARGIN: Duration = Duration::from_secs(2);
/// When, after the socket opened, somebody leaves, drops off or reloads.
const QUIRK_MILLIS: std::ops::Range<u64> = 1_000..30_000;

impl Guest {
    pub fn new(
        id: u64,
        due: Micros,
        edge: usize,
        habits: Habits,
        dice: Dice,
        forwarded_for: Option<Ipv4Addr>,
    ) -> Self {
        let quirk = matches!(habits.quirk, Quirk::Leaves | Quirk::DropsOff | Quirk::Refreshes);
        Self {
            story: Story { id, edge, ..Story::default() },
            due,
            edge,
            stage: Stage::Resting(Ask::Page),
            wake_at: due,
            quirk: quirk.then_some((habits.quirk, Micros(u64::MAX))),
            no_show: habits.quirk == Quirk::NeverClaims,
            dice,
            ticket: None,
            pass: None,
            forwarded_for,
            tries: 0,
            entering_since: None,
            screen: None,
            beat: Beat::default(),
            away: None,
        }
    }

    pub fn wake_at(&self) -> Micros {
        self.wake_at
    }

    /// Whether frames are expected, not an answer.
    pub fn is_watching(&self) -> bool {
        self.stage == Stage::Watching
    }

    pub fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. })
    }

    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    pub fn shown(&self) -> Shown<'_> {
        let (ticket, pass) = (self.ticket.as_deref(), self.pass.as_deref());
        Shown { ticket, pass, place: self.screen, forwarded_for: self.forwarded_for }
    }

    /// The request is on its way.
    pub fn asked(&mut self, now: Micros) {
        if let Stage::Asking { since, .. } = &mut self.stage {
            *since = now;
        }
    }

    pub fn answered(&mut self, reply: &Reply<'_>, now: Micros, ground: &mut Ground<'_>) -> Step {
        let Stage::Asking { ask, since } = self.stage else { return Step::Stay };
        let span = Span::new(since, now);
        self.keep(reply);
        if reply.status == 429 {
            ground.meter.limited.fetch_add(1, Relaxed);
        }
        match ask {
            Ask::Page => self.met(reply, span, ground),
            Ask::Join => self.joined(reply, span, ground),
            Ask::Socket => self.opened(reply, now, ground),
            Ask::Enter => self.claimed(reply, span, ground),
            Ask::Leave => self.end(self.story.end),
        }
    }

    fn keep(&mut self, reply: &Reply<'_>) {
        if let Some(ticket) = reply.ticket {
            self.ticket = Some(ticket.into());
        }
        if let Some(pass) = reply.pass {
            self.pass = Some(pass.into());
        }
    }

    fn met(&mut self, reply: &Reply<'_>, span: Span, ground: &mut Ground<'_>) -> Step {
        if reply.pass.is_some() {
            self.story.arrival = Some(span);
            return self.entered(span, ground);
        }
        // A refusal may come with a ticket too: the place counts from it.
        if let (Some(ticket), None) = (reply.ticket, self.story.arrival) {
            self.story.arrival = Some(span);
            self.story.first_stamp = token::ticket(ticket).map(|view| view.stamp);
        }
        if self.ticket.is_some() && reply.status != 429 {
            return self.ask(Ask::Join, span.to);
        }
        self.again(Ask::Page, reply.retry_after, span.to)
    }

    fn joined(&mut self, reply: &Reply<'_>, span: Span, ground: &mut Ground<'_>) -> Step {
        let glance = Glance::at(reply.body).filter(|_| (200..300).contains(&reply.status));
        let Some(glance) = glance else {
            return self.again(Ask::Join, reply.retry_after, span.to);
        };
        if self.story.joined.is_none() {
            ground.tally.joined.record(span.to.since(self.due));
        }
        self.story.joined.get_or_insert(span);
        self.hold();
        match self.stands(&glance, span.to, ground) {
            Step::Stay => self.ask(Ask::Socket, span.to),
            other => other,
        }
    }

    /// Judges the ticket held now.
    fn hold(&mut self) {
        if let Some(view) = self.ticket.as_deref().and_then(token::ticket) {
            self.story.hold(&view);
        }
    }

    fn opened(&mut self, reply: &Reply<'_>, now: Micros, ground: &mut Ground<'_>) -> Step {
        match reply.status {
            101 => {
                self.hold();
                self.back(now);
                self.story.resumed(now);
                if self.story.cadence.updates == 0 {
                    ground.tally.opened.record(now.since(self.due));
                }
                ground.tally.opened_at(now.since(ground.began));
                self.watch(now);
                Step::Stay
            }
            401 | 410 => self.refused(),
            429 => self.again(Ask::Socket, reply.retry_after, now),
            _ => {
                self.broke("socket-refused", now, ground.meter);
                self.again(Ask::Socket, reply.retry_after, now)
            }
        }
    }

    fn watch(&mut self, now: Micros) {
        self.stage = Stage::Watching;
        self.tries = 0;
        self.beat = Beat::open(now);
        if let Some((_, at)) = self.quirk.as_mut().filter(|(_, at)| *at == Micros(u64::MAX)) {
            *at = now + self.dice.millis(QUIRK_MILLIS);
        }
        self.expect(Duration::ZERO, now);
    }

    /// The next word is due within this time.
    fn expect(&mut self, within: Duration, now: Micros) {
        let silent_at = now + within * 2 + SILENCE_SLACK;
        self.wake_at = self.quirk.map_or(silent_at, |(_, at)| at.min(silent_at));
    }

    /// A message on the socket, which came within `arrived`.
    pub fn heard(&mut self, text: &[u8], arrived: Span, ground: &mut Ground<'_>) -> Step {
        let Some(glance) = Glance::at(text) else {
            ground.meter.error("unknown-frame");
            return Step::Stay;
        };
        match glance.kind {
            "queue.update" | "queue.turn" => {
                self.placed(&glance, arrived, ground);
                self.stands(&glance, arrived.to, ground)
            }
            "server.bye" => {
                self.lost_socket(arrived.to);
                let pause = Duration::from_millis(glance.reconnect_in_ms.unwrap_or_default().min(60_000));
                self.edge += 1;
                self.rest(Ask::Socket, pause, arrived.to)
            }
            _ => Step::Stay,
        }
    }

    fn placed(&mut self, glance: &Glance<'_>, arrived: Span, ground: &mut Ground<'_>) {
        let next = Duration::from_secs(glance.next_update_seconds.min(3600).into());
        let was_pushed = self.beat.is_running() && glance.kind == "queue.update";
        let late = self.beat.placed(arrived, next, &mut self.story.cadence);
        if was_pushed {
            ground.tally.late.record(late);
            if let Some(as_of) = glance.as_of(ground.dates) {
                ground.tally.lag.record(arrived.to.since(as_of));
            }
        }
        self.expect(next, arrived.to);
    }

    /// Takes a standing in; `Stay` while it is to be waited for.
    fn stands(&mut self, glance: &Glance<'_>, now: Micros, ground: &mut Ground<'_>) -> Step {
        match glance.state {
            Some(State::Waiting | State::Securing | State::Prequeue) | None => {
                let as_of = glance.as_of(ground.dates);
                self.story.last_waiting = self.story.last_waiting.max(as_of);
                if let (Some(as_of), Some(position)) = (as_of, glance.position) {
                    self.story.show(&mut self.screen, as_of, position, MOST_SIGHTINGS);
                }
                Step::Stay
            }
            Some(State::Turn) => self.has_turn(glance, now, ground),
            Some(State::Admitted) => self.claim(now, ground),
            Some(State::Expired) => self.lose(Loss::ToldExpired),
            Some(State::Closed) => self.lose(Loss::ToldClosed),
        }
    }

    fn has_turn(&mut self, glance: &Glance<'_>, now: Micros, ground: &mut Ground<'_>) -> Step {
        if self.story.turn.is_none() {
            self.story.turn = Some(Turn { seen: now, expires: glance.claim_expires_at() });
            ground.meter.turns.fetch_add(1, Relaxed);
        }
        if self.no_show { self.end(End::NoShow) } else { self.claim(now, ground) }
    }

    fn claim(&mut self, now: Micros, ground: &Ground<'_>) -> Step {
        if ground.emptying { self.end(End::Served) } else { self.ask(Ask::Enter, now) }
    }

    fn claimed(&mut self, reply: &Reply<'_>, span: Span, ground: &mut Ground<'_>) -> Step {
        if reply.pass.is_some() {
            return self.entered(span, ground);
        }
        // An attempt that brought no pass may have entered all the same.
        self.entering_since.get_or_insert(span.from);
        if reply.status != 410 {
            return self.again(Ask::Enter, reply.retry_after, span.to);
        }
        let in_time = |expires| span.to + CLAIM_MARGIN < expires;
        if self.story.turn.and_then(|turn| turn.expires).is_some_and(in_time) {
            self.story.lose(Loss::TurnRefused);
        }
        self.end(End::LostPlace)
    }

    /// Inside; which is all that somebody of a herd wants.
    fn entered(&mut self, span: Span, ground: &Ground<'_>) -> Step {
        let pass = self.pass.as_deref().and_then(token::pass);
        let from = self.entering_since.map_or(span.from, |since| since.min(span.from));
        let new = self.story.enter(Entry {
            span: Span::new(from, span.to),
            at_once: self.story.joined.is_none(),
            ticket: pass.map(|pass| pass.ticket),
            expires: pass.map(|pass| pass.expires_at()),
            ended: None,
        });
        ground.meter.entries.fetch_add(u64::from(new), Relaxed);
        self.leave(End::Served, span.to)
    }

    fn leave(&mut self, end: End, now: Micros) -> Step {
        self.story.end = end;
        self.story.left_line.get_or_insert(now);
        self.story.may_have_ended(now);
        self.ask(Ask::Leave, now)
    }

    fn refused(&mut self) -> Step {
        if self.story.place.is_some() {
            return self.lose(Loss::TicketRefused);
        }
        self.end(End::LostPlace)
    }

    fn lose(&mut self, loss: Loss) -> Step {
        self.story.lose(loss);
        self.end(End::LostPlace)
    }
}
