//! The whole fleet in virtual time.
//!
//! A seed makes a [`plan`]: a room, two to four edges, a few dozen people, and what goes wrong. The [`world`] plays
//! it: the store is the queue behind a network that delays, loses and reorders; the edges decide as the program
//! does. The [`judge`] looks on and stops at the first promise that is broken.
//!
//! `SIM_SEED=7 cargo test -p room --test simulation in_every -- --nocapture` plays one seed aloud,
//! `SIM_SEEDS=100000` plays so many, `SIM_ALL=1` does not stop at the first breach.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests: a failure here is the failure of the test"
)]

mod bite;
mod dice;
mod edge;
mod fault;
mod journal;
mod judge;
mod person;
mod plan;
mod recovery;
mod seeds;
mod store;
mod time;
mod world;

use crate::plan::Plan;

#[test]
fn in_every_world_every_promise_holds() {
    seeds::play("in_every_world", 10_000, Plan::of);
}

#[test]
fn in_worlds_whose_store_has_a_clock_that_leaps_every_promise_holds() {
    seeds::play("clock_that_leaps", 1_000, Plan::with_leaps);
}
