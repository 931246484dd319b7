//! One binary for all tests over real files, sockets and processes.

mod config;
mod rig;
mod transport;
