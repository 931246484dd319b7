//! Thousands of visitors who wait on sockets, driven by one thread.

mod frames;
mod waiter;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use self::waiter::Waiter;
use crate::bench::BenchError;

/// Handshakes under way at the same time.
const UNDER_WAY: usize = 256;
const EVENTS: usize = 512;
/// Nobody waits longer for a handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came on a socket: whose, and the text of one frame.
pub type Heard<'a> = &'a mut dyn FnMut(usize, &[u8]);

/// Open sockets; closed when dropped.
#[derive(Debug)]
pub struct Waiters {
    edge: SocketAddr,
    epoll: rustix::fd::OwnedFd,
    all: Vec<Waiter>,
    /// How many were opened, closed ones among them.
    opened: usize,
}

impl Waiters {
    pub fn new(edge: SocketAddr) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { edge, epoll, all: Vec::new(), opened: 0 })
    }

    /// How many sockets are open at this moment.
    pub fn open(&self) -> usize {
        self.all.iter().filter(|waiter| waiter.stream().is_some()).count()
    }

    /// Opens a socket for each ticket, and waits until all are open. Their numbers go on from those before.
    pub fn come(&mut self, tickets: &[String], heard: Heard<'_>) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        let mut coming = tickets.iter().peekable();
        while self.opened < self.all.len() || coming.peek().is_some() {
            if Instant::now() > deadline {
                return Err(BenchError::Broken(format!("only {} sockets were opened in time", self.opened)));
            }
            while self.all.len() - self.opened < UNDER_WAY {
                let Some(ticket) = coming.next() else { break };
                self.knock(ticket)?;
            }
            self.attend(Duration::from_millis(50), heard)?;
        }
        Ok(())
    }

    /// Hears what comes, for so long.
    pub fn listen(&mut self, length: Duration, heard: Heard<'_>) -> Result<(), BenchError> {
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.attend(left, heard)?;
        }
        Ok(())
    }

    fn knock(&mut self, ticket: &str) -> Result<(), BenchError> {
        let failed = |cause| BenchError::Connection { to: "the edge".into(), cause };
        let waiter = Waiter::knock(self.edge, ticket).map_err(failed)?;
        let number = EventData::new_u64(self.all.len() as u64);
        if let Some(stream) = waiter.stream() {
            epoll::add(&self.epoll, stream, number, EventFlags::IN).map_err(io::Error::from)?;
        }
        self.all.push(waiter);
        Ok(())
    }

    /// Waits once for whatever comes.
    fn attend(&mut self, most: Duration, heard: Heard<'_>) -> Result<(), BenchError> {
        let mut events = Vec::with_capacity(EVENTS);
        let wait = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: most.subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in &events {
            let number = { event.data }.u64() as usize;
            if let Some(waiter) = self.all.get_mut(number)
                && waiter.hear(&mut |text| heard(number, text))?
            {
                self.opened += 1;
            }
        }
        Ok(())
    }
}
