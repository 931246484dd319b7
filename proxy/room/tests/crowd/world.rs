//! People, edges and a queue, moved by an agenda of deeds in true time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use room::ids::{Incarnation, NodeId, TicketId, VisitorId};
use room::node::Node as Knows;
use room::queue::{Caller, Change, Event, Now, Queue};
use room::rules::{Draft, Rules};
use room::time::Micros;

use crate::journal::{At, Journal, Note, Who};
use crate::person::{Person, State, Temper};
use crate::seeds::Seeded;

mod deeds;

/// Where the wall clock of the store stands when the world begins.
const START: u64 = 1_767_225_600_000_000;
pub(crate) const MS: u64 = 1000;
pub(crate) const SECOND: u64 = 1_000_000;
const TICK: u64 = 100 * MS;
const HEARTBEAT: u64 = 5 * SECOND;

#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Tick,
    /// An edge tells that it lives.
    Heartbeat(usize),
    /// Shows the ticket at the own edge.
    Present(Who),
    Claim(Who),
    /// Makes a request with the pass.
    Use(Who),
    /// Ends place, turn or session.
    Leave(Who),
    GoOffline(Who),
    /// The edge gives up on somebody who is offline.
    NoticeAbsence(Who, usize),
    ComeBack(Who),
    Tune(Change),
    /// The wall clock of the store leaps by so many microseconds.
    Leap(i64),
    /// An edge dies; its people find another one.
    Die(usize),
    /// The store cannot be reached for so long.
    Outage(u64),
    /// The store starts empty.
    Lose,
}

pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) queue: Queue,
    pub(crate) journal: Journal,
    pub(crate) people: Vec<Person>,
    pub(crate) now: At,
    pub(crate) dice: Seeded,
    /// Whether positions are written down: they are many.
    pub(crate) shows_positions: bool,
    agenda: BTreeMap<(At, u64), Deed>,
    planned: u64,
    by_visitor: HashMap<VisitorId, Who>,
    nodes: Vec<Node>,
    wall: u64,
    away_until: At,
    last_stamp: u64,
    called_at: At,
    life: u8,
    /// What the edges have heard, all alike.
    knows: Knows,
}

struct Node {
    alive: bool,
    called_at: Option<At>,
}

impl World {
    pub(crate) fn new(seed: u64, draft: Draft, nodes: usize) -> Self {
        let rules = Rules::new(draft).unwrap();
        let opener = Caller { node: node_id(0), fresh: life(1), witness: None, hold: false, alone: true };
        let queue = Queue::open(&rules, Now::at(Micros(START)), &opener);
        let mut world = Self {
            queue,
            journal: Journal::default(),
            people: Vec::new(),
            now: 0,
            dice: Seeded::new(seed),
            shows_positions: false,
            agenda: BTreeMap::new(),
            planned: 0,
            by_visitor: HashMap::new(),
            nodes: (0..nodes).map(|_| Node { alive: true, called_at: None }).collect(),
            wall: START,
            away_until: 0,
            last_stamp: 0,
            called_at: 0,
            life: 1,
            knows: Knows::default(),
            rules,
        };
        world.note_limits();
        world.plan(TICK, Deed::Tick);
        for node in 0..nodes {
            world.plan(0, Deed::Heartbeat(node));
        }
        world
    }

    /// Somebody comes at `at`.
    pub(crate) fn add(&mut self, at: At, temper: Temper) -> Who {
        let who = self.people.len();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.dice.next().to_be_bytes());
        bytes[8..].copy_from_slice(&(who as u32).to_be_bytes());
        let node = self.dice.between(0, self.nodes.len() as u64 - 1) as usize;
        self.people.push(Person {
            temper,
            visitor: VisitorId::from_random(bytes),
            ticket: TicketId::from_random(bytes),
            stamp: 0,
            confirmed_at: None,
            node,
            online: true,
            state: State::Coming,
            shown: None,
            pass: None,
            stay_ends: 0,
        });
        self.by_visitor.insert(VisitorId::from_random(bytes), who);
        self.plan(at, Deed::Present(who));
        who
    }

    /// `count` people who come at random within a span.
    pub(crate) fn crowd(&mut self, count: usize, from: At, span: u64, temper: Temper) {
        for _ in 0..count {
            let at = from + self.dice.between(0, span);
            self.add(at, temper);
        }
    }

    pub(crate) fn plan(&mut self, at: At, deed: Deed) {
        self.planned += 1;
        self.agenda.insert((at.max(self.now), self.planned), deed);
    }

    pub(crate) fn run_until(&mut self, end: At) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), deed) = entry.remove_entry();
            self.wall += at - self.now;
            self.now = at;
            self.act(deed);
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        let clock = self.queue.head().clock.0;
        self.journal.write(self.now, clock, note);
    }

    pub(crate) fn note_limits(&mut self) {
        let control = self.queue.control();
        let (rate, active) = (control.new_users_per_minute, control.total_active_users);
        let burst = self.rules.burst_at(rate);
        self.note(Note::Limits { rate, burst, active });
    }

    fn act(&mut self, deed: Deed) {
        if self.now < self.away_until && !matches!(deed, Deed::GoOffline(_) | Deed::Leap(_)) {
            // The store is away: everybody tries again when it is back, in any order.
            let later = self.away_until + self.dice.between(0, 500) * MS;
            self.plan(later, deed);
            return;
        }
        match deed {
            Deed::Tick => self.tick(),
            Deed::Heartbeat(node) => self.heartbeat(node),
            Deed::Present(who) => self.present(who),
            Deed::Claim(who) => self.claim(who),
            Deed::Use(who) => self.use_pass(who),
            Deed::Leave(who) => self.leave(who),
            Deed::GoOffline(who) => self.go_offline(who),
            Deed::NoticeAbsence(who, node) => self.notice_absence(who, node),
            Deed::ComeBack(who) => self.come_back(who),
            Deed::Tune(change) => self.tune(&change),
            Deed::Leap(by) => self.wall = self.wall.saturating_add_signed(by),
            Deed::Die(node) => self.die(node),
            Deed::Outage(span) => self.away_until = self.now + span,
            Deed::Lose => self.lose(),
        }
    }

    fn tick(&mut self) {
        self.plan(self.now + TICK, Deed::Tick);
        let (now, caller) = self.any_call();
        let event = self.queue.admit(&self.rules, now, &caller);
        self.hear(&event);
    }

    fn heartbeat(&mut self, node: usize) {
        if !self.nodes[node].alive {
            return;
        }
        self.plan(self.now + HEARTBEAT, Deed::Heartbeat(node));
        let (now, caller) = self.calls(node);
        self.queue.survey(&self.rules, now, &caller, false);
        assert_eq!(self.queue.check(), Ok(()));
    }

    fn tune(&mut self, change: &Change) {
        let (now, caller) = self.any_call();
        self.queue.tune(&self.rules, now, &caller, change).unwrap();
        self.note_limits();
    }

    fn die(&mut self, node: usize) {
        self.nodes[node].alive = false;
        let cut_off = self.people.iter().enumerate();
        let cut_off: Vec<Who> = cut_off
            .filter(|(_, person)| person.node == node && person.online && person.state != State::Done)
            .map(|(who, _)| who)
            .collect();
        for who in cut_off {
            self.people[who].online = false;
            if self.people[who].state != State::Coming {
                self.note(Note::Offline { who });
            }
            let back = self.now + self.dice.between(500, 20_000) * MS;
            self.plan(back, Deed::ComeBack(who));
        }
    }

    /// The store starts anew: hubs bring their waiters back in any order, edges their passes.
    fn lose(&mut self) {
        self.life += 1;
        let (now, caller) = self.any_call();
        self.queue = Queue::open(&self.rules, now, &caller);
        self.note_limits();
        for who in 0..self.people.len() {
            if !self.people[who].online {
                continue;
            }
            let soon = self.now + self.dice.between(0, 2_000) * MS;
            match self.people[who].state {
                State::InLine | State::Returning | State::Turn => self.plan(soon, Deed::Present(who)),
                State::Inside => self.plan(soon, Deed::Use(who)),
                State::Coming | State::Done => {}
            }
        }
    }

    /// What every edge hears of an event.
    fn hear(&mut self, event: &Event) {
        self.knows.heard(event);
        self.knows.answered(event.head);
        for visitor in &event.lapsed {
            self.lapsed(self.by_visitor[visitor]);
        }
        for (visitor, _) in &event.turns {
            self.turn(self.by_visitor[visitor]);
        }
        // Measured after the turns of this event were taken out of the line.
        if self.shows_positions
            && let Some(ruler) = &event.ruler
        {
            self.show(ruler);
        }
    }

    /// A call by an edge.
    fn calls(&mut self, node: usize) -> (Now, Caller) {
        self.called_at = self.now;
        let before = self.nodes[node].called_at.replace(self.now);
        let at_most =
            before.map_or(Duration::MAX, |before| Duration::from_micros(self.now - before + SECOND));
        let now = Now { time: Micros(self.wall), at_most };
        let caller = Caller {
            node: node_id(node),
            fresh: life(self.life),
            witness: self.knows.witness(),
            hold: false,
            alone: true,
        };
        (now, caller)
    }

    fn any_call(&mut self) -> (Now, Caller) {
        let node = self.any_node();
        self.calls(node)
    }

    fn any_node(&mut self) -> usize {
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].alive).collect();
        alive[self.dice.between(0, alive.len() as u64 - 1) as usize]
    }

    /// An edge's idea of the queue's clock.
    fn clock(&self) -> u64 {
        self.queue.head().clock.0 + (self.now - self.called_at)
    }

    fn next_stamp(&mut self) -> u64 {
        self.last_stamp = self.clock().max(self.last_stamp + 1);
        self.last_stamp
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId::from_random([node as u8 + 1; 12])
}

fn life(number: u8) -> Incarnation {
    Incarnation::from_random([number; 12])
}
