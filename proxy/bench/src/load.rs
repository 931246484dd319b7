//! Who asks: connections that are kept alive, driven by one thread on a core of its own.

mod answer;
mod line;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use self::line::{Heard, Line};
use crate::bench::BenchError;
use crate::latency::Latencies;
use crate::usage::pin_thread;

const EVENTS: usize = 256;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The next as soon as the one before is answered: how much goes through.
    Closed,
    /// So many a second, whatever the answers do. Latencies count from when a request was due, so that a pause of the
    /// server shows in all that it delayed.
    Open { per_second: f64 },
}

/// What is asked of whom.
#[derive(Debug, Clone)]
pub struct Load {
    pub to: SocketAddr,
    /// One a connection: the whole request, sent again and again.
    pub requests: Vec<Vec<u8>>,
    /// How every answer must begin, such as `HTTP/1.1 200`.
    pub expected: String,
    /// How a few may begin instead.
    pub tolerated: Option<String>,
    pub pace: Pace,
    /// `None`: any.
    pub core: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Score {
    pub answers: u64,
    pub seconds: f64,
    pub latencies: Latencies,
    /// Connections that the server closed; what was not answered was asked again on another.
    pub closed: u64,
    /// Answers that were tolerated, not expected.
    pub others: u64,
    /// Bytes of the last answer, head and body.
    pub answer_bytes: usize,
}

impl Score {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.seconds += other.seconds;
        self.latencies.add(&other.latencies);
        self.closed += other.closed;
        self.others += other.others;
        self.answer_bytes = other.answer_bytes;
    }
}

impl Load {
    /// `connections` that all send the same.
    pub fn alike(to: SocketAddr, request: &str, connections: usize, core: usize) -> Self {
        Self {
            to,
            requests: vec![request.as_bytes().to_vec(); connections],
            expected: "HTTP/1.1 200".into(),
            tolerated: None,
            pace: Pace::Closed,
            core: Some(core),
        }
    }

    /// On any core, without connections: the rest of a load whose requests differ.
    pub fn nobody(to: SocketAddr) -> Self {
        Self { core: None, ..Self::alike(to, "", 0, 0) }
    }

    #[must_use]
    pub fn expecting(mut self, beginning: &str) -> Self {
        self.expected = beginning.into();
        self
    }

    #[must_use]
    pub fn tolerating(mut self, beginning: &str) -> Self {
        self.tolerated = Some(beginning.into());
        self
    }

    #[must_use]
    pub fn at(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Connects, warms up, and measures for so long: `clock` is read at the beginning and at the end of what counts,
    /// such as the CPU time of the server.
    pub fn run<T: Send>(
        &self,
        warm_up: Duration,
        length: Duration,
        clock: impl Fn() -> T + Sync,
    ) -> Result<(Score, T, T), BenchError> {
        let driven = std::thread::scope(|scope| {
            let driver = scope.spawn(|| {
                self.core.map_or(Ok(()), pin_thread)?;
                let mut driver = Driver::connect(self)?;
                driver.drive(warm_up)?;
                let before = clock();
                let score = driver.drive(length)?;
                Ok((score, before, clock()))
            });
            driver.join()
        });
        driven.unwrap_or_else(|_| Err(BenchError::Broken("the load's thread panicked".into())))
    }
}

struct Driver<'a> {
    load: &'a Load,
    epoll: rustix::fd::OwnedFd,
    lines: Vec<Line>,
    /// Those that wait for nothing.
    idle: VecDeque<usize>,
}

impl<'a> Driver<'a> {
    fn connect(load: &'a Load) -> Result<Self, BenchError> {
        let failed = |cause| BenchError::Connection { to: load.to.to_string(), cause };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut lines = Vec::with_capacity(load.requests.len());
        for _ in &load.requests {
            let line = Line::connect(load.to).map_err(failed)?;
            watch(&epoll, &line, lines.len())?;
            lines.push(line);
        }
        let idle = (0..lines.len()).collect();
        Ok(Self { load, epoll, lines, idle })
    }

    /// Asks for so long, then waits for what is still to be answered.
    fn drive(&mut self, length: Duration) -> Result<Score, BenchError> {
        let began = Instant::now();
        let end = began + length;
        let mut score = Score::default();
        let mut due = Due::new(self.load.pace, began);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            if now < end {
                self.ask_due(&mut due, now)?;
            } else if self.idle.len() == self.lines.len() {
                score.seconds = began.elapsed().as_secs_f64();
                return Ok(score);
            } else if now > end + line::PATIENCE {
                return Err(BenchError::Broken(format!("{} stopped answering", self.load.to)));
            }
            events.clear();
            let wait = due.wait(now).min(end.saturating_duration_since(now).max(Duration::from_millis(1)));
            let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in &events {
                self.hear({ event.data }.u64() as usize, &mut score)?;
            }
        }
    }

    fn ask_due(&mut self, due: &mut Due, now: Instant) -> Result<(), BenchError> {
        while let Some(index) = self.idle.front().copied() {
            let Some(since) = due.next(now) else { break };
            self.idle.pop_front();
            if let (Some(line), Some(request)) = (self.lines.get_mut(index), self.load.requests.get(index)) {
                line.ask(request, since)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, index: usize, score: &mut Score) -> Result<(), BenchError> {
        let Some(line) = self.lines.get_mut(index) else { return Ok(()) };
        match line.hear(&self.load.expected, self.load.tolerated.as_deref())? {
            Heard::Nothing => Ok(()),
            Heard::Answer { latency, bytes, expected, closing } => {
                score.answers += 1;
                score.latencies.note(latency);
                score.others += u64::from(!expected);
                if expected {
                    score.answer_bytes = bytes;
                }
                self.idle.push_back(index);
                if closing { self.reconnect(index, score) } else { Ok(()) }
            }
            Heard::End { unanswered } => {
                self.reconnect(index, score)?;
                let again = unanswered.zip(self.lines.get_mut(index)).zip(self.load.requests.get(index));
                again.map_or(Ok(()), |((due, line), request)| line.ask(request, due))
            }
        }
    }

    fn reconnect(&mut self, index: usize, score: &mut Score) -> Result<(), BenchError> {
        score.closed += 1;
        let line = Line::connect(self.load.to)?;
        watch(&self.epoll, &line, index)?;
        if let Some(old) = self.lines.get_mut(index) {
            *old = line;
        }
        Ok(())
    }
}

fn watch(epoll: &rustix::fd::OwnedFd, line: &Line, index: usize) -> io::Result<()> {
    Ok(epoll::add(epoll, line.stream(), EventData::new_u64(index as u64), EventFlags::IN)?)
}

/// Which requests are due.
struct Due {
    pace: Pace,
    began: Instant,
    asked: u64,
}

impl Due {
    fn new(pace: Pace, began: Instant) -> Self {
        Self { pace, began, asked: 0 }
    }

    /// Since when the next one is due, if it is.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        let due = self.instant(now);
        (due <= now).then(|| {
            self.asked += 1;
            due
        })
    }

    fn wait(&self, now: Instant) -> Duration {
        match self.pace {
            Pace::Closed => Duration::from_secs(1),
            Pace::Open { .. } => self.instant(now).saturating_duration_since(now),
        }
    }

    fn instant(&self, now: Instant) -> Instant {
        match self.pace {
            Pace::Closed => now,
            Pace::Open { per_second } => self.began + Duration::from_secs_f64(self.asked as f64 / per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_closed_load_is_answered_on_connections_that_stay() {
        let origin = Origin::start(0).unwrap();
        let load = Load::alike(origin.address, REQUEST, 4, 1);
        let length = Duration::from_millis(100);
        let (score, ..) = load.run(Duration::from_millis(10), length, || ()).unwrap();
        assert!(score.answers > 100, "{score:?}");
        assert_eq!((score.closed, score.latencies.len() as u64), (0, score.answers));
    }

    #[test]
    fn an_open_load_asks_as_often_as_it_was_told() {
        let origin = Origin::start(0).unwrap();
        let load = Load::alike(origin.address, REQUEST, 4, 1).at(Pace::Open { per_second: 1000.0 });
        let (score, ..) = load.run(Duration::ZERO, Duration::from_millis(500), || ()).unwrap();
        assert!((450..=501).contains(&score.answers), "{}", score.answers);
    }

    #[test]
    fn a_connection_that_the_server_closes_is_replaced_and_the_request_asked_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let mut bytes = [0; 1024];
            let (mut first, _) = listener.accept().unwrap();
            assert!(first.read(&mut bytes).unwrap() > 0);
            drop(first);
            let (mut second, _) = listener.accept().unwrap();
            while second.read(&mut bytes).is_ok_and(|read| read > 0) {
                second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
        let load = Load::alike(to, REQUEST, 1, 1);
        let (score, ..) = load.run(Duration::ZERO, Duration::from_millis(50), || ()).unwrap();
        server.join().unwrap();
        assert!(score.answers > 0 && score.closed == 1, "{score:?}");
    }

    #[test]
    fn another_answer_than_the_expected_one_ends_the_run() {
        let origin = Origin::start(0).unwrap();
        let load = Load::alike(origin.address, REQUEST, 1, 1).expecting("HTTP/1.1 503");
        let failed = load.run(Duration::ZERO, Duration::from_millis(100), || ()).unwrap_err();
        assert!(failed.to_string().contains("HTTP/1.1 200"), "{failed}");
    }
}
