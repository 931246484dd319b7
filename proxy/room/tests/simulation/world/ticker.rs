//! The ticker of an edge (`proxy/src/ticker.rs`): when to call the store, and what is heard.

use room::node::Heard;
use room::queue::{Arrived, Change, FileValues, Leave, Report, Survey};

use super::calls::Then;
use super::{Deed, World};
use crate::edge::{Job, Known, Owes, RETRY_LEAST, RETRY_MOST, Stands};
use crate::journal::Note;
use crate::judge::Verdict;
use crate::store::{Ask, Said};
use crate::time::{At, MS, SECOND};

const TICK: At = 100 * MS;
const JITTER: At = 12 * MS;
const SURVEY_EVERY: At = 2 * SECOND;
const SPEAK_EVERY: At = 3 * SECOND;
const SWEEP_EVERY: At = SECOND;
/// Items of one call.
const MOST: usize = 500;

impl World {
    pub(super) fn set_due(&mut self, edge: usize, at: At) {
        self.planned += 1;
        let timer = self.planned;
        let ticker = &mut self.edges[edge].ticker;
        (ticker.due, ticker.timer) = (at, timer);
        self.plan(at, Deed::Timer { edge, timer });
    }

    /// Somebody came to wait.
    pub(super) fn wake(&mut self, edge: usize) {
        let soon = self.now + TICK;
        let ticker = &self.edges[edge].ticker;
        if ticker.due > soon && ticker.current.is_none() {
            self.set_due(edge, soon);
        }
    }

    pub(super) fn timer(&mut self, edge: usize) -> Verdict {
        let from = &mut self.edges[edge];
        if !from.up || from.ticker.current.is_some() || !from.ticker.jobs.is_empty() {
            // What is under way goes first.
            return Ok(());
        }
        from.ticker.spoke = self.now;
        let busy = from.is_busy() || from.has_sessions();
        let jobs = &mut from.ticker.jobs;
        if !from.ticker.offered {
            jobs.extend([Job::Survey, Job::Offer]);
        } else if busy {
            jobs.push_back(Job::Tick);
        } else {
            jobs.push_back(Job::Survey);
        }
        self.go_on(edge)
    }

    /// The next call, or the next event that waits to be heard.
    pub(super) fn go_on(&mut self, edge: usize) -> Verdict {
        loop {
            let ticker = &mut self.edges[edge].ticker;
            if ticker.current.is_some() {
                return Ok(());
            }
            if let Some(job) = ticker.jobs.pop_front() {
                self.begin_job(edge, job);
            } else if let Some(event) = ticker.inbox.pop_front() {
                self.take_in(edge, &event)?;
            } else {
                self.rest(edge);
                return Ok(());
            }
        }
    }

    /// Nothing is to be done before the next call; one that fell due meanwhile comes at once.
    fn rest(&mut self, edge: usize) {
        if self.edges[edge].ticker.due <= self.now {
            let next = self.now + MS;
            self.set_due(edge, next);
        }
    }

    fn begin_job(&mut self, edge: usize, job: Job) {
        let from = &mut self.edges[edge];
        let job = match job {
            Job::PresentAll | Job::Complete(_) if from.leaving => return,
            Job::PresentAll => Job::Present(from.hub.arrivals()),
            job => job,
        };
        let ask = match &job {
            Job::Tick => Ask::Admit,
            Job::Survey => Ask::Survey { whole: false },
            Job::SurveyAnew => Ask::Survey { whole: true },
            Job::Offer => Ask::Tune(Change {
                file: Some(FileValues {
                    new_users_per_minute: self.rules.new_users_per_minute,
                    total_active_users: self.rules.total_active_users,
                }),
                ..Change::default()
            }),
            Job::ReadBack { after, .. } => Ask::Missed { after: *after },
            Job::Report(items) => Ask::Restore(Report { items: items.clone(), complete: None }),
            Job::Complete(life) => Ask::Restore(Report { items: Vec::new(), complete: *life }),
            Job::Present(arrivals) if arrivals.is_empty() => return,
            Job::Present(arrivals) => Ask::Arrive(arrivals.clone()),
            Job::PresentAll => return,
            Job::Told => {
                (from.owes, from.lent) = (Owes::Nothing, Vec::new());
                return;
            }
        };
        self.journal.mutter(self.now, || format!("edge {edge}: {job:?}"));
        self.edges[edge].ticker.current = Some(job);
        self.call(edge, ask, Then::Job);
    }

    pub(super) fn job_done(&mut self, edge: usize, said: Said, told: At) -> Verdict {
        let Some(job) = self.edges[edge].ticker.current.take() else { return Ok(()) };
        match (job, said) {
            (Job::Tick, Said::Event(event)) => {
                self.take_in(edge, &event)?;
                self.succeeded(edge);
            }
            (Job::Survey | Job::SurveyAnew, Said::Survey(survey)) => {
                self.surveyed(edge, &survey)?;
                self.succeeded(edge);
            }
            (Job::Offer, Said::Tuned) => self.edges[edge].ticker.offered = true,
            (Job::ReadBack { after, before }, Said::Missed(Some(events))) => {
                self.edges[edge].missed = None;
                for event in events.iter().filter(|event| (after..before).contains(&event.head.seq)) {
                    self.hear_named(edge, event)?;
                }
            }
            (Job::ReadBack { .. }, Said::Missed(None)) => {
                self.edges[edge].missed = None;
                self.owe(edge, Owes::Lent);
                self.edges[edge].ticker.jobs.push_front(Job::SurveyAnew);
            }
            (Job::Present(arrivals), Said::Arrived(arrived, head)) => {
                for (arrival, arrived) in arrivals.iter().zip(&arrived) {
                    self.restate(edge, arrival, *arrived, head.seq, told)?;
                }
            }
            (Job::Report(_) | Job::Complete(_), Said::Done(_)) => {}
            // Memory is full: the room goes on without.
            _ => {
                let later = self.now + RETRY_MOST;
                let from = &mut self.edges[edge];
                from.full_until = later;
                from.owes = from.owes.max(Owes::Lent);
                from.ticker.jobs.clear();
            }
        }
        self.go_on(edge)
    }

    fn surveyed(&mut self, edge: usize, survey: &Survey) -> Verdict {
        let from = &mut self.edges[edge];
        let heard = from.node.surveyed(survey);
        from.known = Some(Known {
            counts: survey.counts,
            control: survey.control.clone(),
            settling_until: survey.settling_until,
        });
        self.heard_control(edge)?;
        match heard {
            Heard::Anew => self.owe(edge, Owes::All),
            Heard::Gap { after, before } => {
                self.read_back(edge, after, before);
            }
            Heard::Old | Heard::Next => {}
        }
        Ok(())
    }

    pub(super) fn read_back(&mut self, edge: usize, after: u64, before: u64) {
        let from = &mut self.edges[edge];
        from.missed = Some(from.missed.map_or(after, |missed| missed.min(after)));
        from.ticker.jobs.push_front(Job::ReadBack { after, before });
    }

    pub(super) fn heard_control(&mut self, edge: usize) -> Verdict {
        let Some(known) = &self.edges[edge].known else { return Ok(()) };
        let serial = self.number_of_change(&known.control);
        if self.judge.edges[edge].serial < serial {
            self.note(Note::HeardControl { edge, serial })?;
        }
        Ok(())
    }

    fn succeeded(&mut self, edge: usize) {
        let from = &mut self.edges[edge];
        from.ticker.retry = RETRY_LEAST;
        if std::mem::replace(&mut from.lost, false) {
            from.owes = from.owes.max(Owes::Lent);
        }
        if let Some(after) = self.edges[edge].missed {
            self.read_back(edge, after, u64::MAX);
        }
        self.learn_again(edge);
        self.bring_back(edge);
        let from = &self.edges[edge];
        let next =
            if from.is_busy() || from.forgot { TICK + self.dice.between(0, JITTER) } else { SURVEY_EVERY };
        let due = self.edges[edge].ticker.spoke + next;
        self.set_due(edge, due);
    }

    /// What other edges told a store that forgot: sessions that ended, and turns of visitors who wait here by now.
    fn learn_again(&mut self, edge: usize) {
        let (at, from) = (self.now, &mut self.edges[edge]);
        let now = from.now(at);
        let settles = |known: &Known| known.settling_until.is_some_and(|until| until > now);
        if from.forgot && from.known.as_ref().is_some_and(|known| !settles(known)) {
            from.forgot = false;
            from.owes = from.owes.max(Owes::Lent);
            from.ticker.jobs.push_back(Job::SurveyAnew);
        }
    }

    /// Somebody else has just called.
    pub(super) fn put_off(&mut self, edge: usize) {
        let from = &self.edges[edge];
        let next = if from.is_busy() { TICK + self.dice.between(0, JITTER) } else { SURVEY_EVERY };
        let due = (self.now + next).min(self.edges[edge].ticker.spoke + SPEAK_EVERY);
        self.set_due(edge, due);
    }

    pub(super) fn job_failed(&mut self, edge: usize) {
        let ticker = &mut self.edges[edge].ticker;
        ticker.current = None;
        ticker.jobs.clear();
        self.edges[edge].lost = true;
        let retry = self.edges[edge].ticker.retry.max(RETRY_LEAST);
        self.edges[edge].ticker.retry = (retry * 2).min(RETRY_MOST);
        let due = self.now + retry + self.dice.between(0, retry);
        self.set_due(edge, due);
    }

    pub(super) fn owe(&mut self, edge: usize, owes: Owes) {
        let from = &mut self.edges[edge];
        from.owes = from.owes.max(owes);
        if owes == Owes::All {
            from.forgot = true;
            // What was about to be told was meant for a former life.
            from.ticker.jobs.clear();
        }
        self.bring_back(edge);
    }

    /// Tells the store what this edge remembers, and presents everybody who waits here.
    fn bring_back(&mut self, edge: usize) {
        let (at, from) = (self.now, &mut self.edges[edge]);
        let under_way = from.ticker.jobs.iter().any(|job| matches!(job, Job::Told));
        if from.owes == Owes::Nothing || under_way || from.full_until > at {
            return;
        }
        let life = from.node.incarnation();
        let items = if from.owes == Owes::All { from.report(at) } else { from.lent(at) };
        for items in items.chunks(MOST) {
            from.ticker.jobs.push_back(Job::Report(items.to_vec()));
        }
        from.ticker.jobs.push_back(Job::PresentAll);
        if from.owes == Owes::All {
            from.ticker.jobs.push_back(Job::Complete(life));
        }
        from.ticker.jobs.push_back(Job::Told);
    }

    pub(super) fn sweep(&mut self, edge: usize) {
        let (at, from) = (self.now, &mut self.edges[edge]);
        let boot = from.boot;
        let next = if from.is_busy() { SWEEP_EVERY } else { 3 * SWEEP_EVERY };
        self.plan(at + next, Deed::Sweep { edge, boot });
        let from = &mut self.edges[edge];
        if from.lost {
            return;
        }
        let now = from.now(at);
        let away = from.hub.absent(at, now);
        if !away.is_empty() {
            let leaves = away.into_iter().map(Leave::Absent).collect();
            self.call(edge, Ask::Leave(leaves), Then::Nothing);
        }
    }
}

pub(super) fn stands(arrived: Arrived) -> Option<Stands> {
    match arrived {
        Arrived::Waiting(place) => Some(Stands::InLine { score: place.score, returning: place.returning }),
        Arrived::Turn(turn) => Some(Stands::Turn { deadline: turn.deadline }),
        _ => None,
    }
}
