//! A seeded crowd in virtual time.
//!
//! [`world`] lets people with tempers loose on a queue and writes down what an onlooker sees; [`proofs`] judges that
//! journal alone, never the queue's own counters. Each promise is tried in many small worlds. A failing one prints
//! its seed: `ROOM_SEED=7 cargo test -p room --test crowd NAME` repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests: a failure here is the failure of the test"
)]

mod attacks;
mod bite;
mod journal;
mod limits;
mod person;
mod places;
mod proofs;
mod seeds;
mod time;
mod world;
