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

mod gate;
mod shed;
mod startup;

use edge_bench::bench::Bench;

pub(crate) const ALL: &[Bench] = &[gate::BENCH, shed::BENCH, startup::BENCH];
