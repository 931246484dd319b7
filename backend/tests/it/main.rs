//! The box office as its visitors and operators meet it: the real program over real sockets, on a private
//! PostgreSQL. Each test has its own database; those that break PostgreSQL have their own server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bad_input;
mod buying;
mod contention;
mod counter;
mod ending;
mod expiry;
mod failover;
mod live;
mod migrations;
mod openapi;
mod operation;
mod orders;
mod outage;
mod passes;
mod paying;
mod payments;
mod practice;
mod reservations;
mod seats;
mod sockets;
mod support;
mod tls;
mod traces;
mod whole_trace;
