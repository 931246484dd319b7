//! Many worlds, or one aloud.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::bite::Flaw;
use crate::judge::Breach;
use crate::plan::Plan;
use crate::time::SECOND;
use crate::world::World;

/// No world lasts longer.
const END: u64 = 400 * SECOND;

/// Plays the worlds of so many seeds on all processors; tells of the lowest seed that breaks a promise,
/// with the command that plays it aloud.
pub(crate) fn play(test: &str, count: u64, plan: impl Fn(u64) -> Plan + Sync) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        println!("{:#?}", plan(seed));
        if let Err((breach, story)) = world(&plan(seed), None, true) {
            println!("{}", story.lines().last().unwrap_or_default());
            panic!("seed {seed}: {breach:?}");
        }
        return;
    }
    let (next, count) = (AtomicU64::new(0), number("SIM_SEEDS").unwrap_or(count));
    let broken = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let all = std::env::var_os("SIM_ALL").is_some();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count || !all && !broken.lock().unwrap().is_empty() {
                        return;
                    }
                    if let Err((breach, story)) = world(&plan(seed), None, false) {
                        broken.lock().unwrap().push((seed, breach, story));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort_by_key(|(seed, ..)| *seed);
    if all {
        for (seed, breach, _) in &broken {
            println!("{seed}: {breach:?}");
        }
    }
    if let Some((seed, breach, story)) = broken.first() {
        panic!(
            "the world of seed {seed} breaks a promise\n{story}\n{breach:?}\nplay it aloud: SIM_SEED={seed} cargo test -p room --test simulation {test} -- --nocapture"
        );
    }
}

/// Plays one world.
pub(crate) fn world(plan: &Plan, flaw: Option<Flaw>, aloud: bool) -> Result<(), (Breach, String)> {
    let mut world = World::new(plan, flaw);
    world.journal.aloud = aloud;
    world.run(END).map_err(|breach| {
        let story = world.explain(&breach);
        (breach, story)
    })
}
