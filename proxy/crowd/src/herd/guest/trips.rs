//! Connections that come and go, by chance and by intent.

use std::time::Duration;

use room::time::Micros;
use room::wire::close;

use super::{Away, Guest, Stage, Step};
use crate::clock::Span;
use crate::herd::script::Ask;
use crate::meter::Meter;
use crate::plan::Quirk;
use crate::story::End;
use crate::world::CALL_DEADLINE;

/// Refusals or lost answers in a row before the visitor gives up.
const MAX_TRIES: u32 = 20;
/// A visitor without any sign for this long may have lost the spot in the line, until the ticket is shown again.
const ABSENCE: Duration = Duration::from_secs(5);
const AWAY_MILLIS: std::ops::Range<u64> = 2_000..6_000;

impl Guest {
    /// The server closed the socket.
    pub fn closed(&mut self, code: Option<u16>, now: Micros, meter: &Meter) -> Step {
        match code {
            Some(close::NO_TICKET) => self.refused(),
            // Another took over: nothing is lost, and nothing is waited for here any more.
            Some(close::REPLACED) => self.end(End::Failed),
            Some(close::FULL) => self.again(Ask::Socket, Duration::from_secs(1), now),
            Some(close::RESTART) => self.reconnect("socket-restart", now, meter),
            _ => self.reconnect("socket-closed", now, meter),
        }
    }

    /// The connection broke, or what came was nonsense.
    pub fn lost(&mut self, kind: &'static str, now: Micros, meter: &Meter) -> Step {
        match self.stage {
            Stage::Watching => self.reconnect(kind, now, meter),
            Stage::Asking { ask, since } => {
                meter.error(kind);
                match ask {
                    // The server's own time limits free the slot.
                    Ask::Leave => return self.end(self.story.end),
                    Ask::Enter => drop(self.entering_since.get_or_insert(since)),
                    Ask::Page | Ask::Join | Ask::Socket => {}
                }
                self.again(ask, Duration::ZERO, now)
            }
            Stage::Resting(_) | Stage::Gone => Step::Stay,
        }
    }

    /// It is `wake_at`, or later.
    pub fn wake(&mut self, now: Micros, meter: &Meter) -> Step {
        match self.stage {
            Stage::Resting(ask) => self.ask(ask, now),
            Stage::Asking { .. } => self.lost("deadline", now, meter),
            Stage::Watching => match self.quirk.take_if(|(_, at)| *at <= now) {
                Some((Quirk::Leaves, _)) => {
                    self.beat.over(now, &mut self.story.cadence);
                    self.leave(End::Left, now)
                }
                Some((quirk, _)) => self.step_out(quirk, now),
                None => self.reconnect("socket-silent", now, meter),
            },
            Stage::Gone => Step::End,
        }
    }

    /// The run closes: whoever waits goes home.
    pub fn go_home(&mut self, now: Micros) {
        if self.is_watching() {
            self.beat.over(now, &mut self.story.cadence);
        }
        self.back(now);
        if self.story.entries.is_empty() && self.story.end == End::Cut {
            self.story.left_line.get_or_insert(now);
            self.story.end = End::WentHome;
        }
        self.stage = Stage::Gone;
    }

    /// Reloads, or is gone for some seconds; then back with the ticket, at another edge.
    fn step_out(&mut self, quirk: Quirk, now: Micros) -> Step {
        self.beat.over(now, &mut self.story.cadence);
        self.screen = None;
        if quirk == Quirk::Refreshes {
            return self.rest(Ask::Socket, Duration::ZERO, now);
        }
        self.away = Some(Away { since: now, intended: true });
        self.edge += 1;
        let pause = self.dice.millis(AWAY_MILLIS);
        self.rest(Ask::Socket, pause, now)
    }

    fn reconnect(&mut self, kind: &'static str, now: Micros, meter: &Meter) -> Step {
        self.broke(kind, now, meter);
        self.edge += 1;
        let pause = self.dice.millis(100..600);
        self.rest(Ask::Socket, pause, now)
    }

    pub(super) fn broke(&mut self, kind: &'static str, now: Micros, meter: &Meter) {
        meter.error(kind);
        self.lost_socket(now);
    }

    pub(super) fn lost_socket(&mut self, now: Micros) {
        if self.is_watching() {
            self.beat.over(now, &mut self.story.cadence);
        }
        self.away.get_or_insert(Away { since: now, intended: false });
        self.story.broke(now);
    }

    pub(super) fn back(&mut self, now: Micros) {
        if let Some(away) = self.away.take().filter(|away| away.intended || now.since(away.since) >= ABSENCE)
        {
            self.story.absences.push(Span::new(away.since, now));
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, now: Micros) -> Step {
        if ask == Ask::Socket {
            self.story.tries(now);
        }
        self.stage = Stage::Asking { ask, since: now };
        self.wake_at = now + CALL_DEADLINE;
        Step::Ask(ask)
    }

    /// Asks the same again, later each time.
    pub(super) fn again(&mut self, ask: Ask, retry_after: Duration, now: Micros) -> Step {
        self.tries += 1;
        if self.tries > MAX_TRIES {
            return self.end(End::Failed);
        }
        let backoff = Duration::from_millis(50 << self.tries.min(6));
        self.rest(ask, retry_after + backoff, now)
    }

    pub(super) fn rest(&mut self, ask: Ask, pause: Duration, now: Micros) -> Step {
        self.stage = Stage::Resting(ask);
        self.wake_at = now + pause;
        Step::Rest
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        self.story.end = end;
        self.stage = Stage::Gone;
        self.wake_at = Micros(u64::MAX);
        Step::End
    }
}
