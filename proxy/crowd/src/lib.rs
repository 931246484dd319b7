//! A crowd of simulated visitors that proves the waiting room's promises from outside.
//!
//! | module | does |
//! |---|---|
//! | [`args`], [`plan`] | what was asked for; who comes, with which habits |
//! | [`schedule`] | when everybody comes |
//! | [`run`], [`worker`] | sends the crowd, ends it, gathers the stories |
//! | [`crew`], [`record`] | the same from several processes |
//! | [`visitor`], [`bot`] | one life each, over real sockets |
//! | [`herd`] | thousands who only wait, in one thread |
//! | [`rivals`] | bots of a set skill, for those who practise |
//! | [`actor`] | makes requests and writes down what they show |
//! | [`client`], [`socket`], [`tls`], [`jar`], [`token`] | HTTP, WebSocket, TLS, cookies, a look into tokens |
//! | [`gatekeeper`] | tells an answer of the origin from one of the waiting room |
//! | [`story`], [`cadence`], [`journal`] | the evidence, the log file |
//! | [`meter`], [`histogram`] | the counters |
//! | [`proof`] | pure: what the stories prove |
//! | [`summary`], [`progress`] | what people and machines read |
//!
//! Only the visitor's side of the contract is used: of ours, the crate knows names, instants and wire messages.

pub mod actor;
pub mod args;
pub mod bot;
pub mod cadence;
pub mod client;
pub mod clock;
pub mod crew;
pub mod gatekeeper;
pub mod herd;
pub mod histogram;
pub mod jar;
pub mod journal;
pub mod meter;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod rates;
pub mod record;
pub mod rivals;
pub mod run;
pub mod schedule;
pub mod socket;
pub mod stop;
pub mod story;
pub mod summary;
pub mod tls;
pub mod token;
pub mod visitor;
pub mod worker;
pub mod world;
