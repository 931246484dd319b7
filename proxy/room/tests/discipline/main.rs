//! The queue's rules, one sentence each, and its invariants under any order of calls.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests: a failure here is the failure of the test"
)]

mod bench;
mod edges;
mod flaws;
mod invariants;
mod lives;
mod outages;
mod rules;
mod ticks;
