//! CPU time of PostgreSQL's processes and of this one, from `/proc`.

use std::fs;
use std::ops::{Add, Sub};

/// Ticks a second in `/proc`: fixed for user space on Linux.
const TICKS: f64 = 100.0;

/// Seconds, user and system together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub postgres: f64,
    pub own: f64,
}

impl Cpu {
    /// Until now. A server process that ended is counted with the postmaster, whose child it was.
    pub(crate) fn until_now(postmaster: u32) -> Self {
        let listed = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = listed.unwrap_or_default();
        let running: f64 = children.split_whitespace().map(|pid| Stat::of(pid).own).sum();
        let postmaster = Stat::of(&postmaster.to_string());
        Self { postgres: postmaster.own + postmaster.of_children + running, own: Stat::of("self").own }
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { postgres: self.postgres + other.postgres, own: self.own + other.own }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { postgres: self.postgres - other.postgres, own: self.own - other.own }
    }
}

/// The process that started this one.
pub(crate) fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    after_name(&stat).nth(1)?.parse().ok()
}

#[derive(Default)]
struct Stat {
    own: f64,
    /// Those that have ended.
    of_children: f64,
}

impl Stat {
    /// Zero for a process that is gone.
    fn of(pid: &str) -> Self {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return Self::default();
        };
        // utime, stime, cutime, cstime: fields 14 to 17, the name being the second.
        let ticks: Vec<f64> =
            after_name(&stat).skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
        let sum = |from: usize| ticks.iter().skip(from).take(2).sum::<f64>() / TICKS;
        Self { own: sum(0), of_children: sum(2) }
    }
}

/// The fields from the third on: the name may hold spaces.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}
