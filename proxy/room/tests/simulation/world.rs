//! The world: true time, and an agenda of everything that is going to happen.

mod calls;
mod desk;
mod faults;
mod hearing;
mod people;
mod ticker;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use room::ids::{Incarnation, NodeId, RoomName, TicketId, VisitorId};
use room::queue::{Caller, Change, Event};
use room::rules::{Draft, Rules};
use room::time::Micros;

use self::calls::Trip;
use self::desk::{Request, Visit};
use crate::bite::Flaw;
use crate::dice::Dice;
use crate::edge::{Clock, Edge, Screen};
use crate::fault::Fault;
use crate::journal::{Journal, Note, Who};
use crate::judge::{Breach, Habits, Judge, Verdict};
use crate::person::{Person, Reply, Temper, Wants};
use crate::plan::Plan;
use crate::store::{Ask, Said, Store};
use crate::time::{At, MS, SECOND};

/// When the operator makes sure that the room is not held.
const LAST_LOOK: At = 75 * SECOND;

/// Something that is going to happen.
pub(crate) enum Deed {
    /// A call reaches the store.
    CarryOut(u64, Errand),
    /// Its answer reaches the edge; `told` is when it was carried out.
    Answer {
        trip: u64,
        said: Said,
        told: At,
    },
    /// It is given up.
    Fail(u64),
    /// An event reaches an edge.
    Hear {
        edge: usize,
        boot: u32,
        event: Rc<Event>,
    },
    Timer {
        edge: usize,
        timer: u64,
    },
    Sweep {
        edge: usize,
        boot: u32,
    },
    /// A browser's request reaches an edge.
    Request(Request),
    /// A claim that had to wait for an entry.
    ClaimAgain {
        edge: usize,
        boot: u32,
        visit: Visit,
        until: Micros,
    },
    /// A socket was closed by the browser's side.
    Detach {
        edge: usize,
        boot: u32,
        visitor: VisitorId,
        screen: Screen,
    },
    /// What an edge says reaches the browser.
    Reply {
        screen: Screen,
        reply: Reply,
    },
    /// A browser loads a page, or opens a socket.
    Go {
        screen: Screen,
        wants: Wants,
    },
    /// No reply came.
    Impatient(Screen),
    Use(Who),
    Leave(Who),
    GoOffline(Who),
    ComeBack(Who),
    /// The operator asks once more.
    Operate(Box<Change>),
    Fault(Fault),
    /// A fault is over.
    Heal(Fault),
    /// A copy of the store is taken, for a replica that will take over.
    Copy,
    /// An edge that is leaving, or was killed, is gone or starts anew.
    Exit(usize),
    Boot(usize),
}

/// A call on its way.
#[derive(Clone)]
pub(crate) struct Errand {
    pub(crate) edge: usize,
    pub(crate) caller: Caller,
    pub(crate) at_most: std::time::Duration,
    pub(crate) ask: Rc<Ask>,
}

/// The network between edges and store.
pub(crate) struct Net {
    pub(crate) delay: (At, At),
    /// So many of a thousand get lost.
    pub(crate) loss: u64,
    pub(crate) late: At,
    pub(crate) cut_until: At,
    /// The store is stopped: calls wait in its buffers.
    pub(crate) paused: bool,
    pub(crate) backlog: Vec<(u64, Errand)>,
}

pub(crate) struct World {
    pub(crate) rules: Rules,
    /// The rules as the store follows them.
    store_rules: Rules,
    pub(crate) room: RoomName,
    pub(crate) now: At,
    pub(crate) dice: Dice,
    pub(crate) store: Store,
    /// The replica that is going to take over.
    pub(crate) replica: Option<Store>,
    pub(crate) net: Net,
    pub(crate) edges: Vec<Edge>,
    pub(crate) people: Vec<Person>,
    pub(crate) journal: Journal,
    pub(crate) judge: Judge,
    /// What is put wrong on purpose.
    pub(crate) flaw: Option<Flaw>,
    /// When the wall clock of the store last leapt.
    leapt: At,
    /// When another server last took the place of the store.
    replaced: At,
    agenda: BTreeMap<(At, u64), Deed>,
    planned: u64,
    trips: HashMap<u64, Trip>,
    life: Option<Incarnation>,
    /// When the store last carried out a call.
    called: At,
    /// Sessions that the store made, by their caps.
    sold: HashSet<(Who, u64)>,
    /// The operator's changes that were carried out, by their messages, numbered.
    changes: HashMap<String, u64>,
    ids: u32,
    serial: u64,
    pub(crate) limits: (u32, u32, u64),
}

impl World {
    pub(crate) fn new(plan: &Plan, flaw: Option<Flaw>) -> Self {
        let mut dice = Dice::new(plan.seed);
        let edges = (0..plan.edges).map(|edge| begin(&mut dice, edge, 0)).collect();
        let mut judge = Judge::new(plan.edges);
        judge.limits.rules = plan.rules.clone();
        let mut world = Self {
            store_rules: if flaw == Some(Flaw::BurstTooLarge) {
                lavish(&plan.rules)
            } else {
                plan.rules.clone()
            },
            rules: plan.rules.clone(),
            room: "e1".parse().unwrap(),
            now: 0,
            dice,
            store: Store::default(),
            replica: None,
            net: Net {
                delay: plan.delay,
                loss: 0,
                late: 0,
                cut_until: 0,
                paused: false,
                backlog: Vec::new(),
            },
            edges,
            people: Vec::new(),
            journal: Journal::default(),
            judge,
            flaw,
            leapt: 0,
            replaced: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            trips: HashMap::new(),
            life: None,
            called: 0,
            sold: HashSet::new(),
            changes: HashMap::new(),
            ids: 0,
            serial: 0,
            limits: (plan.rules.new_users_per_minute, plan.rules.total_active_users, 0),
        };
        let (rate, active, serial) = world.limits;
        world.judge.see(&Note::Limits { rate, active, serial }).unwrap();
        for edge in 0..plan.edges {
            world.start(edge);
        }
        for &(at, temper) in &plan.people {
            world.add(at, temper);
        }
        for &(at, fault) in &plan.faults {
            world.announce(at, fault);
        }
        // Operators whose changes overtook one another look again.
        world.plan(LAST_LOOK, Deed::Heal(Fault::Hold(0)));
        world
    }

    pub(crate) fn add(&mut self, at: At, temper: Temper) -> Who {
        let who = self.people.len();
        self.people.push(Person::new(temper));
        self.judge.habits.push(Habits { honest: temper.is_honest(), steady: temper.is_steady() });
        self.plan(at, Deed::Go { screen: Screen { who, tab: 0, page: 0 }, wants: Wants::Page });
        who
    }

    pub(crate) fn plan(&mut self, at: At, deed: Deed) {
        self.planned += 1;
        self.agenda.insert((at.max(self.now), self.planned), deed);
    }

    /// Goes on until everybody is done, or `until`; everybody honest must be in by then.
    pub(crate) fn run(&mut self, until: At) -> Verdict {
        self.run_for(until)?;
        self.judge.finish()
    }

    pub(crate) fn run_for(&mut self, until: At) -> Verdict {
        while let Some(((at, _), deed)) = self.agenda.pop_first() {
            if at > until {
                break;
            }
            self.now = at;
            self.judge.now.at = at;
            self.happen(deed)?;
            if self.planned.is_multiple_of(64) && self.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Everybody is done: what could still happen is nothing.
    fn is_over(&self) -> bool {
        self.people.iter().all(|person| person.done)
    }

    pub(crate) fn note(&mut self, note: Note) -> Verdict {
        let verdict = self.judge.see(&note);
        self.journal.write(self.now, note);
        verdict
    }

    fn happen(&mut self, deed: Deed) -> Verdict {
        if let Some(edge) = self.edge_of(&deed)
            && self.edges[edge].frozen_until > self.now
        {
            self.plan(self.edges[edge].frozen_until, deed);
            return Ok(());
        }
        match deed {
            Deed::CarryOut(trip, errand) => self.carry_out(trip, errand),
            Deed::Answer { trip, said, told } => self.answer(trip, said, told),
            Deed::Fail(trip) => self.fail(trip),
            Deed::Hear { edge, boot, event } if self.lives(edge, boot) => self.hear(edge, event),
            Deed::Timer { edge, timer } if self.edges[edge].ticker.timer == timer => self.timer(edge),
            Deed::Sweep { edge, boot } if self.lives(edge, boot) => {
                self.sweep(edge);
                Ok(())
            }
            Deed::Request(request) => self.request(request),
            Deed::ClaimAgain { edge, boot, visit, until } if self.lives(edge, boot) => {
                self.claim(edge, visit, until);
                Ok(())
            }
            Deed::Detach { edge, boot, visitor, screen } if self.lives(edge, boot) => {
                let now = self.now;
                self.edges[edge].hub.detach(visitor, screen, now);
                Ok(())
            }
            Deed::Hear { .. }
            | Deed::Timer { .. }
            | Deed::Sweep { .. }
            | Deed::ClaimAgain { .. }
            | Deed::Detach { .. } => Ok(()),
            Deed::Reply { screen, reply } => self.reply(screen, reply),
            Deed::Go { screen, wants } => self.go(screen, wants),
            Deed::Impatient(screen) => self.impatient(screen),
            Deed::Use(who) => self.use_pass(who),
            Deed::Leave(who) => self.leave(who),
            Deed::GoOffline(who) => self.go_offline(who),
            Deed::ComeBack(who) => self.come_back(who),
            Deed::Operate(change) => {
                self.ask_for(change);
                Ok(())
            }
            Deed::Fault(fault) => self.fault(fault),
            Deed::Heal(fault) => self.heal(fault),
            Deed::Copy => {
                self.replica = Some(self.store.clone());
                Ok(())
            }
            Deed::Exit(edge) => {
                self.exit(edge);
                Ok(())
            }
            Deed::Boot(edge) => {
                self.boot(edge);
                Ok(())
            }
        }
    }

    /// The edge that would have to act.
    fn edge_of(&self, deed: &Deed) -> Option<usize> {
        match deed {
            Deed::Answer { trip, .. } | Deed::Fail(trip) => self.trips.get(trip).map(|trip| trip.edge),
            Deed::Hear { edge, .. }
            | Deed::Timer { edge, .. }
            | Deed::Sweep { edge, .. }
            | Deed::ClaimAgain { edge, .. }
            | Deed::Detach { edge, .. } => Some(*edge),
            Deed::Request(request) => Some(request.edge),
            _ => None,
        }
    }

    pub(crate) fn lives(&self, edge: usize, boot: u32) -> bool {
        self.edges[edge].up && self.edges[edge].boot == boot
    }

    pub(crate) fn who(&self, visitor: &VisitorId) -> Who {
        self.judge.who[visitor]
    }

    pub(crate) fn new_visitor(&mut self, who: Who) -> VisitorId {
        self.ids += 1;
        let visitor = VisitorId::from_random(self.dice.id(self.ids));
        self.judge.who.insert(visitor, who);
        visitor
    }

    pub(crate) fn new_ticket(&mut self) -> TicketId {
        self.ids += 1;
        TicketId::from_random(self.dice.id(self.ids))
    }

    fn new_life(&mut self) -> Incarnation {
        self.ids += 1;
        Incarnation::from_random(self.dice.id(self.ids))
    }

    /// A breach, told with what led to it.
    pub(crate) fn explain(&self, breach: &Breach) -> String {
        let Breach { promise, what, people } = breach;
        let counts = self.store.queue.as_ref().map(|queue| (queue.counts(), queue.head().taken));
        format!("{promise}: {what}\n{}\nthe store has {counts:?}", self.journal.last_of(people))
    }

    fn start(&mut self, edge: usize) {
        let boot = self.edges[edge].boot;
        self.judge.edge_began(edge, boot);
        self.set_due(edge, self.now);
        let first = self.now + self.dice.between(0, 1000) * MS;
        self.plan(first, Deed::Sweep { edge, boot });
    }
}

/// The same rules with eight times the burst.
fn lavish(rules: &Rules) -> Rules {
    let burst = Some(8 * rules.burst_at(rules.new_users_per_minute));
    Rules::new(Draft { burst, ..Draft::clone(rules) }).unwrap()
}

/// An edge process that starts: its wall clock is a little off, its monotonic one drifts.
fn begin(dice: &mut Dice, edge: usize, boot: u32) -> Edge {
    let id = NodeId::from_random(dice.id(edge as u32 * 1000 + boot));
    let skew = dice.between(0, SECOND).cast_signed() - 500_000;
    let drift = dice.between(0, 100).cast_signed() - 50;
    Edge::new(id, boot, Clock::new(skew, drift))
}
