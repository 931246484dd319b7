//! Edges as processes, stopped, killed and replaced while people wait and shop.

mod balancer;
mod crash;
mod fleet;
mod process;
mod readiness;
mod shopper;
mod stop;
mod waiter;

pub(crate) use self::process::{Edge, Setup, enter};
