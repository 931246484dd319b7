//! A crowd of simulated visitors that proves the waiting room's promises from outside.
//!
//! | module | does |
//! |---|---|
//! | [`args`], [`plan`] | what was asked for; who comes, with which habits |
//! | [`run`] | sends the crowd, ends it, gathers the stories |
//! | [`visitor`], [`bot`] | one life each, over real sockets |
//! | [`rivals`] | bots of a set skill, for those who practise |
//! | [`actor`] | makes requests and writes down what they show |
//! | [`client`], [`socket`], [`jar`], [`token`] | HTTP, WebSocket, cookies, a look into tokens |
//! | [`gatekeeper`] | tells an answer of the origin from one of the waiting room |
//! | [`story`], [`journal`], [`meter`] | the evidence, the log file, the counters |
//! | [`proof`] | pure: what the stories prove |
//! | [`summary`], [`progress`] | what people and machines read |
//!
//! Only the visitor's side of the contract is used: of ours, the crate knows names, instants and wire messages.

pub mod actor;
pub mod args;
pub mod bot;
pub mod client;
pub mod clock;
pub mod gatekeeper;
pub mod jar;
pub mod journal;
pub mod meter;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod rates;
pub mod rivals;
pub mod run;
pub mod socket;
pub mod stop;
pub mod story;
pub mod summary;
pub mod token;
pub mod visitor;
pub mod world;
