//! The visitor's side as a whole, sentence by sentence (contract §2): one edge on a memory store, real sockets, a clock
//! that the tests set forward.

mod apps;
mod arrival;
mod calls;
mod commands;
mod limits;
mod line;
mod moving;
mod operator;
mod reload;
mod rules;
mod session;
mod sockets;
mod tokens;
mod turn;
mod ungated;
