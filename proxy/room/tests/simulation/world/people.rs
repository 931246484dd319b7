//! What people do.

use room::token::{Pass, Ticket};

use super::desk::Request;
use super::{Deed, World};
use crate::edge::Screen;
use crate::journal::{Note, Who};
use crate::judge::Verdict;
use crate::person::{Reply, Wants};
use crate::time::{At, MS, SECOND};

/// A browser that hears nothing for so long tries another edge.
const IMPATIENCE: At = 6 * SECOND;
/// A socket that a browser closes is seen to close after so long.
pub(super) const NOTICED: At = 20 * MS;
/// How often a replayer shows the old ticket.
const REPLAY: At = 7 * SECOND;

impl World {
    /// Loads a page or opens a socket. Another page makes the tab's former one deaf.
    pub(super) fn go(&mut self, screen: Screen, wants: Wants) -> Verdict {
        let Screen { who, tab, page } = screen;
        let person = &self.people[who];
        if !person.online || person.done || person.tabs[tab].page != page {
            return Ok(());
        }
        if !self.judge.line.came(who) {
            self.arrive_at_all(who)?;
        }
        let edge = self.edge_for(who, tab);
        let boot = self.edges[edge].boot;
        self.hang_up(screen);
        let tab_state = &mut self.people[who].tabs[tab];
        tab_state.edge = Some(edge);
        tab_state.page += 1;
        let screen = Screen { who, tab, page: tab_state.page };
        let (ticket, pass) = (self.people[who].ticket.clone(), self.people[who].pass.clone());
        self.journal.mutter(self.now, || format!("{who} from tab {tab} to edge {edge}: {wants:?}"));
        let request = Request { edge, boot, screen, wants, ticket, pass };
        let delay = self.dice.between(MS, 60 * MS);
        self.plan(self.now + delay, Deed::Request(request));
        self.plan(self.now + IMPATIENCE, Deed::Impatient(screen));
        Ok(())
    }

    /// First contact.
    fn arrive_at_all(&mut self, who: Who) -> Verdict {
        let temper = self.people[who].temper;
        if let Some((after, _)) = temper.absent {
            self.plan(self.now + after, Deed::GoOffline(who));
        }
        if let Some(after) = temper.leaves_after {
            self.plan(self.now + after, Deed::Leave(who));
        }
        self.note(Note::Came { who })
    }

    /// The tab's edge if it lives, else another.
    fn edge_for(&mut self, who: Who, tab: usize) -> usize {
        let usable = |edge: &usize| self.edges[*edge].up && !self.edges[*edge].leaving;
        if let Some(edge) = self.people[who].tabs[tab].edge.filter(usable) {
            return edge;
        }
        let others: Vec<usize> = (0..self.edges.len()).filter(usable).collect();
        if others.is_empty() { 0 } else { self.dice.pick(&others) }
    }

    pub(super) fn impatient(&mut self, screen: Screen) -> Verdict {
        let Screen { who, tab, page } = screen;
        let person = &mut self.people[who];
        if person.tabs[tab].page != page || person.tabs[tab].open || person.done {
            return Ok(());
        }
        self.hang_up(screen);
        self.people[who].tabs[tab].edge = None;
        let wants = if self.people[who].pass.is_some() { Wants::Page } else { self.waits_by(who) };
        self.go(screen, wants)
    }

    fn waits_by(&self, who: Who) -> Wants {
        if self.people[who].ticket.is_some() { Wants::Socket } else { Wants::Page }
    }

    fn again(&mut self, screen: Screen, wants: Wants, least: At, most: At) {
        let at = self.now + self.dice.between(least, most);
        self.plan(at, Deed::Go { screen, wants });
    }

    pub(super) fn reply(&mut self, screen: Screen, reply: Reply) -> Verdict {
        let Screen { who, tab, page } = screen;
        self.journal.mutter(self.now, || format!("{who} at tab {tab}: {reply:?}"));
        let person = &mut self.people[who];
        if !person.online || person.tabs[tab].page != page || person.done {
            return Ok(());
        }
        match reply {
            Reply::In(pass) => self.let_in(screen, pass),
            Reply::Waits(ticket) => {
                person.visitor = Some(ticket.visitor);
                // A place that was confirmed is not given away for another.
                let replaces = |old: &Ticket| old.id == ticket.id || old.confirmed_at.is_none();
                if person.ticket.as_ref().is_none_or(replaces) {
                    person.ticket = Some(ticket);
                }
                self.open_tabs(who);
                self.again(screen, Wants::Socket, 100 * MS, 1500 * MS);
            }
            Reply::Attached(ticket) => {
                let score = ticket.stamp.0;
                person.ticket = Some(ticket);
                person.tabs[tab].open = true;
                return self.note(Note::Confirmed { who, score });
            }
            Reply::Turn => {
                if let Some(within) = person.temper.claims_within {
                    self.again(screen, Wants::Page, 0, within);
                }
            }
            Reply::Soon(wait) => self.again(screen, Wants::Page, wait, wait + 100 * MS),
            Reply::Expired => {
                person.tabs[tab].open = false;
                if person.pass.is_none() && person.temper.comes_back {
                    self.again(screen, Wants::Socket, 0, SECOND);
                } else if person.pass.is_none() {
                    person.done = true;
                }
            }
            Reply::Refused => self.refused(screen),
            Reply::Bye(after) => {
                person.tabs[tab].open = false;
                person.tabs[tab].edge = None;
                self.again(screen, Wants::Socket, after, after);
            }
            Reply::Broken => {
                person.tabs[tab].open = false;
                person.tabs[tab].edge = None;
                let wants = if person.pass.is_some() { Wants::Page } else { self.waits_by(who) };
                self.again(screen, wants, 200 * MS, 3 * SECOND);
            }
        }
        Ok(())
    }

    /// The other windows, once there is a ticket to show.
    fn open_tabs(&mut self, who: Who) {
        for tab in 1..self.people[who].tabs.len() {
            if self.people[who].tabs[tab].page == 0 {
                self.again(Screen { who, tab, page: 0 }, Wants::Socket, SECOND, 5 * SECOND);
            }
        }
    }

    fn let_in(&mut self, screen: Screen, pass: Pass) {
        let (who, at) = (screen.who, self.now);
        let person = &mut self.people[who];
        person.visitor = Some(pass.visitor);
        person.pass = Some(pass);
        person.tabs[screen.tab].open = true;
        if person.stay_ends.is_some() {
            return;
        }
        let stay = person.temper.stays;
        person.stay_ends = Some(at + stay.unwrap_or(0));
        if stay.is_some() {
            let soon = at + self.dice.between(500 * MS, 2 * SECOND);
            self.plan(soon, Deed::Use(who));
        } else if !person.temper.replays {
            person.done = true;
        }
        if self.people[who].temper.replays {
            self.plan(at + REPLAY, Deed::Use(who));
        }
    }

    /// A request with the pass; at the end of the stay the session is given back, or left to end.
    pub(super) fn use_pass(&mut self, who: Who) -> Verdict {
        let (at, person) = (self.now, &self.people[who]);
        if !person.online || person.done {
            return Ok(());
        }
        if person.stay_ends.is_some_and(|ends| at >= ends) {
            if person.temper.releases && person.pass.is_some() {
                self.leave(who)?;
            }
            let person = &mut self.people[who];
            let over = at > person.stay_ends.unwrap_or(0) + 60 * SECOND;
            if !person.temper.replays || over {
                person.done = true;
                return Ok(());
            }
            person.pass = None;
            self.plan(at + REPLAY, Deed::Use(who));
        } else {
            let next = at + self.dice.between(500 * MS, 2 * SECOND);
            self.plan(next, Deed::Use(who));
        }
        let tab = self.dice.between(0, self.people[who].tabs.len() as u64 - 1) as usize;
        let page = self.people[who].tabs[tab].page;
        self.go(Screen { who, tab, page }, Wants::Page)
    }

    fn refused(&mut self, screen: Screen) {
        let person = &mut self.people[screen.who];
        person.tabs[screen.tab].open = false;
        if person.temper.is_honest() && person.stay_ends.is_none() {
            // The page begins another visit.
            person.ticket = None;
            self.again(screen, Wants::Page, 0, SECOND);
        } else if !person.temper.replays {
            person.done = true;
        }
    }

    /// Gives back place, turn or session; nothing is asked any more.
    pub(super) fn leave(&mut self, who: Who) -> Verdict {
        let person = &self.people[who];
        let waits_no_more = person.temper.leaves_after.is_some() && person.pass.is_some();
        let staying = person.stay_ends.is_some_and(|ends| self.now < ends);
        if person.done || person.ticket.is_none() && person.pass.is_none() || waits_no_more && staying {
            return Ok(());
        }
        let edge = self.edge_for(who, 0);
        let boot = self.edges[edge].boot;
        let screen = Screen { who, tab: 0, page: self.people[who].tabs[0].page };
        let person = &mut self.people[who];
        let request = Request {
            edge,
            boot,
            screen,
            wants: Wants::Leave,
            ticket: person.ticket.clone(),
            pass: person.pass.clone(),
        };
        person.done |= !person.temper.replays;
        self.plan(self.now + 5 * MS, Deed::Request(request));
        self.note(Note::Leaves { who })
    }

    pub(super) fn go_offline(&mut self, who: Who) -> Verdict {
        let person = &mut self.people[who];
        let Some((_, span)) = person.temper.absent else { return Ok(()) };
        if !person.online || person.pass.is_some() || person.done {
            return Ok(());
        }
        person.online = false;
        for tab in 0..person.tabs.len() {
            self.close_socket(who, tab);
        }
        self.plan(self.now + span, Deed::ComeBack(who));
        self.note(Note::Offline { who })
    }

    /// The browser leaves a page: the edge sees its socket close.
    pub(super) fn hang_up(&mut self, screen: Screen) {
        let person = &self.people[screen.who];
        if let (Some(visitor), Some(edge)) = (person.visitor, person.tabs[screen.tab].edge) {
            let boot = self.edges[edge].boot;
            self.plan(self.now + NOTICED, Deed::Detach { edge, boot, visitor, screen });
        }
    }

    fn close_socket(&mut self, who: Who, tab: usize) {
        let person = &mut self.people[who];
        let (page, edge) = (person.tabs[tab].page, person.tabs[tab].edge.take());
        person.tabs[tab].open = false;
        person.tabs[tab].page += 1;
        if let (Some(visitor), Some(edge)) = (person.visitor, edge) {
            let boot = self.edges[edge].boot;
            // A connection that is gone without a word is noticed by its silence.
            let most = if self.dice.per_mille(300) { 10_000 } else { 100 };
            let noticed = self.now + self.dice.between(1, most) * MS;
            self.plan(noticed, Deed::Detach { edge, boot, visitor, screen: Screen { who, tab, page } });
        }
    }

    pub(super) fn come_back(&mut self, who: Who) -> Verdict {
        self.people[who].online = true;
        for tab in 0..self.people[who].tabs.len() {
            let page = self.people[who].tabs[tab].page;
            let wants = self.waits_by(who);
            self.again(Screen { who, tab, page }, wants, 0, 200 * MS);
        }
        self.note(Note::Online { who })
    }

    /// The edge of these screens is gone.
    pub(super) fn break_sockets(&mut self, edge: usize) {
        for who in 0..self.people.len() {
            for tab in 0..self.people[who].tabs.len() {
                let state = &self.people[who].tabs[tab];
                if state.edge == Some(edge) {
                    let screen = Screen { who, tab, page: state.page };
                    self.say(screen, Reply::Broken);
                }
            }
        }
    }
}
