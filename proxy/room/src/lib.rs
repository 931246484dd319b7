//! The pure core of Vestibule.
//!
//! Everything here is a decision: time, randomness and facts come in as arguments, values go out. Nothing
//! opens a socket, reads a clock or waits, so every rule can be tested over millions of steps of virtual time.
//!
//! | module | decides |
//! |---|---|
//! | [`ids`], [`time`] | the names of things, and instants in microseconds of the store's clock |
//! | [`rules`] | what one room's operator asked for, valid by construction |
//! | [`queue`] | the queue: arrive, admit, claim, leave, renew, restore, tune (the reference for the Redis scripts) |
//! | [`node`] | what one edge knows of a room, and remembers for a store that forgets |
//! | [`budget`] | how many may enter (GCRA: a rate is one timestamp) |
//! | [`meter`] | whether the limit was kept, seen from outside of the queue |
//! | [`ruler`] | the position of everybody from a few hundred points |
//! | [`draw`] | who stands where: by arrival or by lot |
//! | [`estimate`] | how long the wait will be |
//! | [`token`] | tickets and passes: sign, verify, rotate |
//! | [`gate`] | what to do with one request |
//! | [`wire`] | the messages that browsers and apps see |

pub mod budget;
pub mod draw;
pub mod estimate;
pub mod gate;
pub mod ids;
pub mod meter;
pub mod node;
pub mod queue;
pub mod ruler;
pub mod rules;
mod sorted;
pub mod time;
pub mod token;
pub mod wire;
