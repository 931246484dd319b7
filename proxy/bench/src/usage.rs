//! What a process took: CPU time and memory, from `/proc`; and which core a thread may use.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Ticks a second in `/proc`: fixed for user space on Linux.
const TICKS: u64 = 100;

/// CPU time, user and system together, of a process and of its children that ended. Zero for one that is gone.
pub fn cpu_time(pid: u32) -> Duration {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Duration::ZERO;
    };
    // utime, stime, cutime, cstime: fields 14 to 17.
    let fields = after_name(&stat).skip(11).take(4);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// The process that started this one.
pub fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    after_name(&stat).nth(1)?.parse().ok()
}

/// The fields from the third on; the name, which is the second, may hold spaces.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

/// CPU time of a process and of all that it started, such as the workers of a server.
pub fn cpu_time_of_family(pid: u32) -> Duration {
    cpu_time(pid) + children(pid).into_iter().map(cpu_time_of_family).sum::<Duration>()
}

/// Bytes of memory a process has for itself, and its part of what it shares.
pub fn memory_bytes(pid: u32) -> u64 {
    field_kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * 1024
}

/// The same with all that it started.
pub fn memory_bytes_of_family(pid: u32) -> u64 {
    memory_bytes(pid) + children(pid).into_iter().map(memory_bytes_of_family).sum::<u64>()
}

/// Bytes of memory a process has in use, shared or not.
pub fn resident_bytes(pid: u32) -> u64 {
    field_kib(&format!("/proc/{pid}/status"), "VmRSS:") * 1024
}

/// Lets the calling thread, and what it starts from now on, use one core only.
pub fn pin_thread(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// As many descriptors as this process may have; how many that is.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // An unchanged limit is what the caller works with.
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    most
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn field_kib(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_shows_in_the_cpu_time_of_the_process_that_did_it() {
        let (me, started) = (std::process::id(), cpu_time(std::process::id()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while cpu_time(me) < started + Duration::from_millis(50) {
            assert!(Instant::now() < deadline, "CPU time must grow while this loop runs");
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }

    #[test]
    fn a_process_has_memory_and_one_that_is_gone_has_none() {
        assert!(memory_bytes(std::process::id()) > 100_000);
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert_eq!(memory_bytes(u32::MAX), 0);
        assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
    }
}
