//! One binary for all tests over real files, sockets and processes.

// A test that cannot go on says where and stops; clippy knows tests only by their attribute, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod both_ways;
mod cli;
mod config;
mod documented;
mod dressing;
mod fleet;
mod flow;
mod gate;
mod handover;
mod operator;
mod origins;
mod reload;
mod rig;
mod rolling;
mod site;
mod sockets;
mod stopping;
mod traces;
mod transport;
