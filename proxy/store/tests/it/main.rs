//! The stores over real servers: one conformance suite for all, and what goes wrong between processes.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on stops and says where"
)]

mod conformance;
mod cost;
mod edges;
mod events;
mod failover;
mod faults;
mod fleets;
mod healing;
mod hearing;
mod link;
mod outages;
mod refusals;
mod shards;
mod skew;
mod support;
