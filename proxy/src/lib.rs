//! The edge of Vestibule: a waiting room and a gate in front of a site.
//!
//! `edge` moves bytes, `desk` decides, `hall` is one running room: its `link` to the store, its `ticker`, its `hub` of
//! waiting visitors. Decisions themselves live in the crate `room`, queues in the crate `store`.

pub mod clock;
pub mod config;
pub mod desk;
pub mod edge;
pub mod hall;
pub mod healing;
pub mod house;
pub mod hub;
pub mod limits;
pub mod link;
pub mod mailbox;
pub mod metrics;
pub mod operator;
pub mod page;
pub mod passes;
pub mod random;
pub mod request;
pub mod serve;
pub mod socket;
pub mod standing;
pub mod telemetry;
pub mod ticker;
mod trace;
