//! Edges as processes, stopped, killed and replaced while people wait and shop.

mod process;
mod stop;

pub(crate) use self::process::{Edge, Setup};
