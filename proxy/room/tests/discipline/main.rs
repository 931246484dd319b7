//! The queue's rules, one sentence each, and its invariants under any order of calls.

mod bench;
mod flaws;
mod invariants;
