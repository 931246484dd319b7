//! The stores over real servers: one conformance suite for all, and what goes wrong between processes.

mod conformance;
mod events;
mod faults;
mod fleets;
mod healing;
mod support;
