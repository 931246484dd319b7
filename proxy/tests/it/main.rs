//! One binary for all tests over real files, sockets and processes.

// A test that cannot go on says where and stops; clippy knows tests only by their attribute, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod config;
mod documented;
mod operator;
mod reload;
mod gate;
mod rig;
mod transport;
