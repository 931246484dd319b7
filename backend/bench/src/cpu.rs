//! CPU time of PostgreSQL's processes and of this one.

use std::ops::{Add, Sub};

use edge_bench::usage::{cpu_time, cpu_time_of_family};

/// Seconds, user and system together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub postgres: f64,
    pub own: f64,
}

impl Cpu {
    /// Until now. A server process that ended is counted with the postmaster, whose child it was.
    pub(crate) fn until_now(postmaster: u32) -> Self {
        let seconds = |time: std::time::Duration| time.as_secs_f64();
        Self { postgres: seconds(cpu_time_of_family(postmaster)), own: seconds(cpu_time(std::process::id())) }
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
