//! What every bench shares: rows of results, turns, clocks of CPU and memory, servers that are started and stopped.
//!
//! | module | gives |
//! |---|---|
//! | [`bench`](mod@bench) | what a bench is, what it is given, what it returns |
//! | [`row`] | one figure beside its yardstick; tables and JSON of them |
//! | [`turns`] | how long a turn takes, and contestants that take turns |
//! | [`usage`] | CPU time and memory of a process, pinning to a core |
//! | [`latency`] | percentiles |
//! | [`process`] | a program that runs until it is dropped, in a folder of its own |
//! | [`edge`], [`redis`], [`peers`] | the programs that are measured |
//! | [`contest`] | servers that answer the same load in turns |
//! | [`load`], [`origin`] | who asks, and who answers behind the proxy |
//! | [`ticket`], [`waiters`] | those who wait, on sockets |
//! | [`store_trips`] | what answers cost the store |
//! | [`waiting`] | a hub full of people, without a store |
//! | [`flame`] | where a process spends its time |
//! | [`plot`], [`render`] | figures for `docs/PERFORMANCE.md` |

pub mod bench;
pub mod contest;
pub mod edge;
pub mod flame;
pub mod latency;
pub mod load;
pub mod origin;
pub mod peers;
pub mod plot;
pub mod process;
pub mod redis;
pub mod render;
pub mod row;
pub mod store_trips;
pub mod ticket;
pub mod turns;
pub mod usage;
pub mod waiters;
pub mod waiting;
