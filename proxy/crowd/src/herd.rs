//! The waiting herd: visitors that take a place, hold a socket and wait, thousands of them in one thread.
//!
//! No task and no buffer of their own: one loop reads what is ready into one buffer, where answers and frames are
//! parsed as they lie. A waiter costs its [`Guest`] and an open socket.
//!
//! | module | is |
//! |---|---|
//! | [`guest`] | one waiter: what it does next, what it saw; no IO |
//! | [`script`], [`reply`] | requests and answers over HTTP |
//! | [`frames`], [`glance`] | the socket's frames, and what the proofs need of them |
//! | [`source`] | addresses and ports that connections come from |
//! | [`tally`] | what is counted |

pub mod frames;
pub mod glance;
pub mod guest;
pub mod reply;
pub mod script;
pub mod source;
pub mod tally;

mod hands;
mod seat;

use std::io;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::{Events, Poll};
use room::time::Micros;
use rustix::time::{ClockId, clock_gettime};

use self::glance::Dates;
use self::guest::Guest;
use self::script::Script;
use self::seat::Seat;
use self::source::Sources;
use self::tally::{Steady, Tally};
use crate::args::RunArgs;
use crate::plan::{Dice, Habits};
use crate::schedule::{Arrival, Plan, Schedule, Shard};
use crate::stop::Phase;
use crate::story::Story;
use crate::world::World;

/// Numbers of a herd's visitors begin here: others are below.
pub const FIRST_ID: u64 = 1_000_000_000;

/// What a herd brings home.
#[derive(Debug, Default)]
pub struct Gathered {
    pub stories: Vec<Story>,
    pub tally: Tally,
}

/// Sends this shard of the herd; comes back when the run is over. Takes the thread for itself.
pub fn run(world: &Arc<World>, args: &RunArgs, shard: Shard, began: Micros) -> io::Result<Gathered> {
    let mut herd = Herd::new(Arc::clone(world), args, shard, began)?;
    herd.wait()?;
    let stories = herd.seats.into_iter().map(|seat| seat.guest.story).collect();
    Ok(Gathered { stories, tally: herd.tally })
}

/// The herd's arrivals.
pub fn plan(args: &RunArgs) -> Plan {
    Plan {
        waves: args.herd.herd.iter().map(|people| u64::from(*people)).collect(),
        pace: args.herd.herd_arrive,
        pause: args.herd.herd_pause,
        spread: args.spread,
        seed: args.seed,
    }
}

/// Ready sockets looked at in one turn.
const EVENTS: usize = 1024;
/// Without news the herd looks this often whether somebody is to come, and whether somebody is to be woken.
const TURN: Duration = Duration::from_millis(10);
const WAKE_EVERY: Duration = Duration::from_millis(40);
/// Once all are there, news are collected for this long before they are read: to be woken for each costs more than to
/// read it.
const COLLECT: Duration = Duration::from_millis(5);
/// Connections that are read before anything of it is looked at: kernel and crowd share a small cache.
const BATCH: usize = 16;
/// Newcomers in one turn: those who are there are heard between.
const MOST_NEW: usize = 64;
/// Frames of one push are a few hundred bytes; a waiting page is the longest thing read.
const BUFFER_BYTES: usize = 64 << 10;
/// From the last arrival until nothing is left to do but waiting.
const SETTLES: Duration = Duration::from_secs(15);
/// Requests under way when the run closes may take this long.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

struct Herd {
    world: Arc<World>,
    args: RunArgs,
    script: Script,
    sources: Sources,
    arrivals: Peekable<Schedule>,
    began: Micros,
    steady_from: Micros,
    steady: Option<Steady>,
    poll: Poll,
    buffer: Vec<u8>,
    dates: Dates,
    tally: Tally,
    seats: Vec<Seat>,
    /// When each is to be woken; beside the seats, because all are looked through in every turn.
    wakes: Vec<Micros>,
    open: u64,
    emptying: bool,
    /// Processor time of requests, which is not that of reading.
    aside: Duration,
    is_aside: bool,
    /// Nobody is to be woken before this.
    next_wake: Micros,
    /// Those who have something to read, until a batch is full.
    called: Vec<usize>,
    /// Of those who were read the ones who may have more.
    more: Vec<usize>,
    /// When the batch that is being heard was read.
    read_at: Option<Micros>,
    /// What is ready now became so after this.
    looked: Micros,
}

impl Herd {
    fn new(world: Arc<World>, args: &RunArgs, shard: Shard, began: Micros) -> io::Result<Self> {
        let plan = plan(args);
        let people: u64 = plan.waves.iter().sum();
        let steady_from = began + Schedule::lasts(&plan) + SETTLES;
        Ok(Self {
            script: Script::new(&world),
            sources: Sources::new(people, u64::from(args.herd.per_address), shard),
            arrivals: Schedule::new(plan, shard).peekable(),
            began,
            steady_from,
            steady: None,
            poll: Poll::new()?,
            buffer: vec![0; BUFFER_BYTES],
            dates: Dates::default(),
            tally: Tally::default(),
            seats: Vec::new(),
            wakes: Vec::new(),
            open: 0,
            emptying: false,
            looked: world.clock.now(),
            next_wake: Micros(u64::MAX),
            called: Vec::with_capacity(BATCH),
            more: Vec::new(),
            read_at: None,
            aside: Duration::ZERO,
            is_aside: false,
            args: args.clone(),
            world,
        })
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.world.stop.is(Phase::Closing) {
            self.welcome();
            self.turn(&mut events)?;
            self.measure();
        }
        self.finish_measuring();
        let deadline = self.now() + LAST_ANSWERS;
        while self.seats.iter().any(|seat| seat.guest.is_asking())
            && self.now() < deadline
            && !self.world.stop.is(Phase::Over)
        {
            self.turn(&mut events)?;
        }
        let now = self.now();
        self.seats.iter_mut().filter(|seat| !seat.guest.is_gone()).for_each(|seat| seat.guest.go_home(now));
        for gauge in [&self.world.meter.sockets, &self.world.meter.waiting] {
            gauge.fetch_sub(self.open.cast_signed(), Relaxed);
        }
        Ok(())
    }

    fn now(&self) -> Micros {
        self.world.clock.now()
    }

    /// Hears what is ready, then wakes who is due.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = if self.arrivals.peek().is_some() {
            TURN
        } else {
            std::thread::sleep(COLLECT);
            WAKE_EVERY
        };
        match self.poll.poll(events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = self.now();
        self.emptying = self.world.stop.is(Phase::Emptying);
        let mut ready = 0;
        for event in events.iter() {
            ready += 1;
            self.ready(event.token().0, event.is_read_closed());
        }
        self.hear_called();
        self.tally.worst_stall = self.tally.worst_stall.max(now.since(self.looked));
        // Of a full basket the rest comes next time: it may have been ready all along.
        if ready < EVENTS {
            self.looked = now;
        }
        if now >= self.next_wake {
            self.wake(now);
        }
        Ok(())
    }

    /// Wakes those whose time has come. Who hears something moves on meanwhile, so the next is due later than is said.
    fn wake(&mut self, now: Micros) {
        self.next_wake = Micros(u64::MAX);
        for index in 0..self.wakes.len() {
            if self.wakes.get(index).is_some_and(|at| *at <= now) {
                self.wake_one(index);
            }
        }
        let next = self.wakes.iter().copied().min().unwrap_or(Micros(u64::MAX));
        // Of those who come close together all are woken at once.
        self.next_wake = next.max(now + WAKE_EVERY);
    }

    fn wake_one(&mut self, index: usize) {
        let step = self.on_guest(index, |guest, ground, now| guest.wake(now, ground.meter));
        self.carry_out(index, step, false);
    }

    /// Lets those in who are due by now.
    fn welcome(&mut self) {
        let (now, began) = (self.now(), self.began);
        for _ in 0..MOST_NEW {
            let Some(arrival) = self.arrivals.next_if(|arrival| began + arrival.due <= now) else { return };
            let guest = self.newcomer(arrival);
            self.world.meter.arrived.fetch_add(1, Relaxed);
            self.wakes.push(guest.wake_at());
            self.next_wake = self.next_wake.min(guest.wake_at());
            self.seats.push(Seat::new(guest, arrival.number));
            self.wake_one(self.seats.len() - 1);
        }
    }

    fn newcomer(&self, arrival: Arrival) -> Guest {
        let id = FIRST_ID + arrival.number;
        let mut dice = Dice::new(self.args.seed, id);
        let habits = Habits::roll(&mut dice, &self.args.mix);
        let forwarded_for = self.args.forwarded_for.then(|| dice.private_address());
        let edge = dice.below(self.world.edges.len());
        Guest::new(id, self.began + arrival.due, edge, habits, dice, forwarded_for)
    }

    fn measure(&mut self) {
        if self.steady.is_none() && self.now() >= self.steady_from {
            self.steady =
                Some(Steady { messages: self.tally.messages, cpu: thread_time().saturating_sub(self.aside) });
        }
    }

    fn finish_measuring(&mut self) {
        if let Some(from) = self.steady {
            let messages = self.tally.messages - from.messages;
            self.tally.steady = Steady { messages, cpu: thread_time().saturating_sub(self.aside + from.cpu) };
        }
    }

    /// Something else than reading what those who wait are told.
    fn aside(&mut self, act: impl FnOnce(&mut Self)) {
        if self.is_aside {
            return act(self);
        }
        let from = thread_time();
        self.is_aside = true;
        act(self);
        self.is_aside = false;
        self.aside += thread_time().saturating_sub(from);
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
