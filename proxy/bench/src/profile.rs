//! `profile NAME`: a flame graph of a program under the load of that bench.

use std::path::Path;
use std::time::Duration;

use edge_bench::bench::{BenchError, Context};
use edge_bench::flame::{self, Stacks};

use crate::benches::SCENES;

/// How many of the largest costs are printed, of which a page names the first three.
const COSTS: usize = 8;

/// A program under load.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// What is drawn, for the title.
    pub(crate) about: &'static str,
    pub(crate) record: fn(&Context) -> Result<Stacks, BenchError>,
}

/// How long samples are taken.
pub(crate) const RECORDED: Duration = Duration::from_secs(4);

/// Takes samples of a process while `drive` gives it work for a little longer, on a thread of its own.
pub(crate) fn while_driven(
    context: &Context,
    pid: u32,
    drive: impl FnOnce(Duration) -> Result<(), BenchError> + Send,
) -> Result<Stacks, BenchError> {
    let log = context.log("perf")?;
    std::thread::scope(|scope| {
        let driving = scope.spawn(|| drive(RECORDED + Duration::from_millis(1500)));
        std::thread::sleep(Duration::from_millis(500));
        let stacks = flame::record(pid, RECORDED, &log);
        driving.join().unwrap_or_else(|_| Err(BenchError::Broken("the load panicked".into())))?;
        stacks
    })
}

pub(crate) fn profile(context: &Context, names: &[String], images: &Path) -> Result<(), BenchError> {
    for name in names {
        let known = || SCENES.iter().map(|scene| scene.name).collect::<Vec<_>>().join(", ");
        let scene = SCENES.iter().find(|scene| scene.name == name);
        let scene = scene.ok_or_else(|| BenchError::Broken(format!("profiles are: {}", known())))?;
        let stacks = (scene.record)(context)?;
        let path = images.join(format!("flame-{name}.svg"));
        flame::draw(&stacks, &format!("{name}: {}", scene.about), &path)?;
        println!("{name}: {} samples, {}", stacks.samples(), path.display());
        for (cost, share) in stacks.costs().into_iter().take(COSTS) {
            println!("  {:>5.1} %  {cost}", share * 100.0);
        }
    }
    Ok(())
}
