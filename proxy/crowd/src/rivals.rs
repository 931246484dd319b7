//! Rivals for those who practise: bots of a set skill that buy in the windows of a practised event, through the same
//! API as everybody.

mod rival;
mod skill;
mod table;

use std::sync::{Arc, OnceLock};

use clap::Args;
use room::ids::RoomName;
use tokio::task::JoinSet;

use crate::args::Target;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::run::{RunError, reach};
use crate::stop::Stop;
use crate::tls::TlsArgs;
use crate::world::World;

pub use skill::{Skill, SkillError};
pub use table::{Record, Run, table};

#[derive(Debug, Clone, Args)]
pub struct RivalArgs {
    /// A box office that was started with --open, or an edge before one.
    #[arg(long, value_name = "URL")]
    pub target: Target,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// The event that is practised.
    #[arg(long, value_name = "ID", default_value = "e1")]
    pub event: String,
    /// How many rivals there are.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub count: u32,
    /// From 0 (a reaction takes 4 s) to 100 (0.25 s).
    #[arg(long, value_name = "0..100", default_value = "50")]
    pub skill: Skill,
    /// In how many windows they buy before they stop.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub windows: u32,
    /// The room to queue for, behind an edge.
    #[arg(long, value_name = "NAME", default_value = "e1")]
    pub room: RoomName,
    /// The same seed makes the same reactions.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Sends the rivals and waits for the end of their last window. They stop early when the run is closed.
pub async fn run(args: &RivalArgs, stop: Stop) -> Result<Vec<Record>, RunError> {
    let world = Arc::new(World {
        edges: vec![reach(&args.target, &args.tls).await?],
        room: args.room.clone(),
        clock: Clock::start(),
        stop,
        meter: Meter::default(),
        journal: Journal::default(),
        event: OnceLock::from(args.event.clone()),
    });
    let mut rivals = JoinSet::new();
    for number in 0..args.count {
        rivals.spawn(rival::compete(Arc::clone(&world), args.clone(), number));
    }
    Ok(rivals.join_all().await)
}
