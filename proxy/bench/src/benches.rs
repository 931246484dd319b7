//! Every bench by its name.
//!
//! To add one: write `benches/NAME.rs` (or `benches/NAME/mod.rs`'s modern form, `benches/NAME.rs` beside a folder
//! `benches/NAME/`) with
//!
//! ```ignore
//! pub(crate) const BENCH: Bench = Bench { name: "fanout", about: "pushes to all who wait beside a bare send loop", run };
//!
//! fn run(context: &Context) -> Result<Report, BenchError> { … }
//! ```
//!
//! then two words here: `mod fanout;` and `fanout::BENCH` in [`ALL`]. The order of `ALL` is that of a run of all.

mod crowded;
mod fanout;
mod flow;
mod gate;
mod growth;
mod join;
mod lag;
mod memory;
mod positions;
mod shed;
mod sockets;
mod startup;

use edge_bench::bench::Bench;

use crate::profile::Scene;

pub(crate) const ALL: &[Bench] = &[
    gate::BENCH,
    shed::BENCH,
    join::BENCH,
    positions::BENCH,
    growth::BENCH,
    fanout::BENCH,
    memory::BENCH,
    sockets::BENCH,
    lag::BENCH,
    flow::BENCH,
    startup::BENCH,
];

/// What can be profiled, under the load of its bench.
pub(crate) const SCENES: &[Scene] = &[gate::SCENE, memory::HUB, shed::SCENE, memory::STORE];
