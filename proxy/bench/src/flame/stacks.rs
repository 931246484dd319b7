//! Samples as a tree of calls, and who is to blame for each.

use std::collections::BTreeMap;

/// All samples of a run, merged from the outermost call inwards.
#[derive(Debug, Default)]
pub struct Stacks {
    root: Call,
    blamed: BTreeMap<String, u64>,
}

/// One function with what it called.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) samples: u64,
    pub(super) calls: BTreeMap<String, Self>,
}

impl Stacks {
    /// Of `perf script -F ip,sym`: an address and a symbol a line, the innermost call first; an empty line behind each
    /// sample.
    pub fn read(script: &str) -> Self {
        let mut stacks = Self::default();
        for sample in script.split("\n\n") {
            let frames: Vec<&str> = sample.lines().filter_map(symbol).collect();
            if !frames.is_empty() {
                stacks.add(&frames);
            }
        }
        stacks
    }

    pub fn samples(&self) -> u64 {
        self.root.samples
    }

    pub(super) fn root(&self) -> &Call {
        &self.root
    }

    /// The largest costs as shares of one, the largest first.
    pub fn costs(&self) -> Vec<(String, f64)> {
        let share = |samples: u64| samples as f64 / self.samples().max(1) as f64;
        let mut costs: Vec<_> =
            self.blamed.iter().map(|(name, samples)| (name.clone(), share(*samples))).collect();
        costs.sort_by(|one, other| other.1.total_cmp(&one.1));
        costs
    }

    /// The innermost frame first.
    fn add(&mut self, frames: &[&str]) {
        let mut call = &mut self.root;
        call.samples += 1;
        for frame in frames.iter().rev() {
            call = call.calls.entry(short(frame)).or_default();
            call.samples += 1;
        }
        *self.blamed.entry(blamed(frames)).or_default() += 1;
    }
}

fn symbol(line: &str) -> Option<&str> {
    let (_address, symbol) = line.trim().split_once(' ')?;
    Some(symbol.trim())
}

/// Without the hash that makes a Rust symbol unique, and not endless.
fn short(symbol: &str) -> String {
    const MOST: usize = 120;
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = symbol.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(symbol, |(name, _)| name);
    name.chars().take(MOST).collect()
}

/// The innermost frame that says what is done rather than how: a system call, the allocator, a function outside of
/// the standard library.
fn blamed(frames: &[&str]) -> String {
    for frame in frames {
        if let Some(call) = system_call(frame) {
            return format!("kernel: {call}");
        }
        if frame.contains("rjem") || matches!(*frame, "malloc" | "free" | "realloc" | "calloc") {
            return "allocator".into();
        }
        if let Some(name) = of_a_crate(frame) {
            return name;
        }
    }
    // A program in C: what was on the core.
    let known = frames.iter().find(|frame| !frame.starts_with('['));
    known.map_or_else(|| String::from("unknown"), |frame| short(frame))
}

/// The entries of the kernel, and what some of them end in by a jump, which leaves no frame of the entry.
fn system_call(frame: &str) -> Option<&str> {
    let entry =
        ["__x64_sys_", "__arm64_sys_", "ksys_"].into_iter().find_map(|prefix| frame.strip_prefix(prefix));
    entry.or_else(|| {
        matches!(frame, "do_writev" | "do_readv" | "do_epoll_wait").then(|| frame.trim_start_matches("do_"))
    })
}

/// The crate and modules of a Rust function that is not of the standard library: `http::header::map`.
fn of_a_crate(frame: &str) -> Option<String> {
    const DEEP: usize = 3;
    let path = frame.trim_start_matches(['<', '&']);
    let end = path.find([' ', '>', '<', '(']).unwrap_or(path.len());
    let parts: Vec<&str> = path.get(..end)?.split("::").filter(|part| !part.is_empty()).take(DEEP).collect();
    let is_ours =
        |root: &str| !matches!(root, "core" | "std" | "alloc" | "hashbrown" | "compiler_builtins" | "Q");
    (parts.len() > 1 && parts.first().is_some_and(|root| is_ours(root))).then(|| parts.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\n\
        \t ffff1 tcp_sendmsg\n\t ffff2 __x64_sys_sendto\n\t 5501 tokio::net::write::h0123456789abcdef\n\t 5502 main\n\n\
        \t 5503 core::ptr::drop\n\t 5504 http::header::map::insert\n\t 5502 main\n\n\
        \t 5505 _rjem_malloc\n\t 5504 http::header::map::insert\n\t 5502 main\n";

    #[test]
    fn samples_become_a_tree_with_the_outermost_call_at_its_root() {
        let stacks = Stacks::read(SCRIPT);
        assert_eq!(stacks.samples(), 3);
        let main = &stacks.root().calls["main"];
        assert_eq!((main.samples, main.calls["http::header::map::insert"].samples), (3, 2));
        assert!(main.calls.contains_key("tokio::net::write"), "the hash of a symbol is dropped");
    }

    #[test]
    fn a_sample_is_blamed_on_the_innermost_frame_that_says_what_is_done() {
        let costs = Stacks::read(SCRIPT).costs();
        let names: Vec<_> = costs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["allocator", "http::header::map", "kernel: sendto"]);
    }
}
