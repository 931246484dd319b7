//! What goes wrong, and heals.

use room::queue::{Change, PauseRequest};

use super::calls::Then;
use super::{Deed, World, begin};
use crate::bite::Flaw;
use crate::fault::Fault;
use crate::journal::Note;
use crate::judge::Verdict;
use crate::person::Reply;
use crate::store::{Ask, Store};
use crate::time::{At, MS, SECOND};

/// A leaving edge lets its requests finish.
const LINGERS: At = 2 * SECOND;

impl World {
    /// Plans a fault, with what has to happen before it.
    pub(super) fn announce(&mut self, at: At, fault: Fault) {
        if let Fault::FailOver { lag, .. } = fault {
            self.plan(at.saturating_sub(lag), Deed::Copy);
        }
        self.plan(at, Deed::Fault(fault));
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Verdict {
        self.note(Note::Fault(fault))?;
        let now = self.now;
        match fault {
            Fault::Pause(span) => {
                self.net.paused = true;
                self.plan(now + span, Deed::Heal(fault));
            }
            Fault::CutAll(span) => self.net.cut_until = self.net.cut_until.max(now + span),
            Fault::Cut(edge, span) => self.edges[edge].cut_until = now + span,
            Fault::Empty(away) => {
                self.store.empty();
                self.judge.forgot(false);
                self.replaced = now;
                self.net.cut_until = self.net.cut_until.max(now + away);
            }
            Fault::FailOver { away, .. } => self.fail_over(away),
            Fault::Full(span) => {
                self.store.full = true;
                self.plan(now + span, Deed::Heal(fault));
            }
            Fault::Leap(by) => {
                self.store.skew += by;
                self.leapt = now;
            }
            Fault::Lossy { share, span } => {
                self.net.loss = share;
                self.plan(now + span, Deed::Heal(fault));
            }
            Fault::Late { by, span } => {
                self.net.late = by;
                self.plan(now + span, Deed::Heal(fault));
            }
            Fault::Kill(edge, away) => self.kill(edge, away),
            Fault::Freeze(edge, span) => {
                if self.edges[edge].up {
                    self.edges[edge].frozen_until = now + span;
                    self.judge.edges[edge].frozen = true;
                    self.plan(now + span, Deed::Heal(fault));
                }
            }
            Fault::Restart(edge) => self.goodbye(edge),
            Fault::Tune { rate, active } => {
                let change = Change {
                    new_users_per_minute: Some(rate),
                    total_active_users: Some(active),
                    ..Change::default()
                };
                self.operate(change);
            }
            Fault::Hold(span) => {
                let reason = Some("held".into());
                self.operate(Change { paused: Some(Some(PauseRequest { reason })), ..Change::default() });
                self.plan(now + span, Deed::Heal(fault));
            }
        }
        Ok(())
    }

    pub(super) fn heal(&mut self, fault: Fault) -> Verdict {
        match fault {
            Fault::Pause(_) => {
                self.net.paused = false;
                for (number, errand) in std::mem::take(&mut self.net.backlog) {
                    self.carry_out(number, errand)?;
                }
            }
            Fault::Full(_) => self.store.full = false,
            Fault::Lossy { .. } => self.net.loss = 0,
            Fault::Late { .. } => self.net.late = 0,
            Fault::Freeze(edge, _) => {
                self.judge.edges[edge].frozen = self.edges[edge].frozen_until > self.now;
            }
            Fault::Hold(_) => self.operate(Change { paused: Some(None), ..Change::default() }),
            _ => {}
        }
        Ok(())
    }

    /// The operator asks an edge, with a number in the message.
    fn operate(&mut self, change: Change) {
        self.serial += 1;
        let message = Some(Some(self.serial.to_string()));
        self.ask_for(Box::new(Change { message, ..change }));
    }

    pub(super) fn ask_for(&mut self, change: Box<Change>) {
        let able = |edge: &usize| self.edges[*edge].up && self.edges[*edge].frozen_until <= self.now;
        let edges: Vec<usize> = (0..self.edges.len()).filter(able).collect();
        if edges.is_empty() {
            self.plan(self.now + SECOND, Deed::Operate(change));
        } else {
            let edge = self.dice.pick(&edges);
            self.call(edge, Ask::Tune(Change::clone(&change)), Then::Operator(change));
        }
    }

    fn fail_over(&mut self, away: At) {
        self.judge.forgot(true);
        self.replaced = self.now;
        let replica = self.replica.take().unwrap_or_default();
        let (skew, full) = (self.store.skew, self.store.full);
        self.store = Store { skew, full, ..replica };
        self.net.cut_until = self.net.cut_until.max(self.now + away);
        self.net.backlog.clear();
        self.net.paused = false;
    }

    fn kill(&mut self, edge: usize, away: At) {
        if !self.edges[edge].up {
            return;
        }
        self.down(edge);
        self.break_sockets(edge);
        self.plan(self.now + away, Deed::Boot(edge));
    }

    fn down(&mut self, edge: usize) {
        self.edges[edge].up = false;
        self.edges[edge].frozen_until = 0;
        self.judge.edges[edge].up = false;
    }

    /// Every screen is told when to come back; requests under way finish.
    fn goodbye(&mut self, edge: usize) {
        if !self.edges[edge].up || self.edges[edge].leaving {
            return;
        }
        self.edges[edge].leaving = true;
        let screens = self.edges[edge].hub.close_all(self.now);
        for screen in screens {
            let after = self.dice.between(0, 2_000) * MS;
            self.say(screen, Reply::Bye(after));
        }
        self.plan(self.now + LINGERS, Deed::Exit(edge));
    }

    pub(super) fn exit(&mut self, edge: usize) {
        if self.edges[edge].up && self.edges[edge].leaving {
            self.down(edge);
            self.break_sockets(edge);
            self.plan(self.now + SECOND, Deed::Boot(edge));
        }
    }

    pub(super) fn boot(&mut self, edge: usize) {
        let boot = self.edges[edge].boot + 1;
        self.edges[edge] = begin(&mut self.dice, edge, boot);
        self.start(edge);
    }

    /// Whether the wall clock leapt of late: the queue's clock may run ahead by what its rules allow.
    pub(super) fn net_leapt(&self) -> bool {
        self.leapt > 0 && self.now - self.leapt < 15 * SECOND
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}
