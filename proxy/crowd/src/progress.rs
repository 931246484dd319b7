//! What people see on stderr while the crowd runs.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rates::Rates;
use crate::world::World;

/// One line that is redrawn on a terminal; a line every few seconds anywhere else.
pub async fn show(world: Arc<World>, rates: Arc<Mutex<Rates>>) {
    let terminal = std::io::stderr().is_terminal();
    let every = if terminal { Duration::from_millis(250) } else { Duration::from_secs(5) };
    let mut flow = Flow::default();
    let mut beat = tokio::time::interval(every);
    let _end = EndOfLine(terminal);
    beat.tick().await;
    loop {
        beat.tick().await;
        let limit = rates.lock().unwrap_or_else(PoisonError::into_inner).latest();
        let line = line(&world, flow.per_minute(&world), limit);
        let mut stderr = std::io::stderr().lock();
        // Nobody to tell is no reason to stop.
        let _ = if terminal { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }
}

fn line(world: &World, per_minute: f64, limit: Option<u64>) -> String {
    let meter = &world.meter;
    let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    format!(
        "{:>4.0} s   arrived {:>5}   waiting {:>5}   turns {:>5}   in shop {:>4}   paid {:>5}   entries/min {:>5.0}{limit}",
        world.clock.elapsed().as_secs_f64(),
        meter.arrived.load(Relaxed),
        meter.waiting.load(Relaxed),
        meter.turns.load(Relaxed),
        meter.shopping.load(Relaxed),
        meter.paid.load(Relaxed),
        per_minute,
    )
}

/// Entries over the last ten seconds.
#[derive(Default)]
struct Flow(VecDeque<(Duration, u64)>);

const WINDOW: Duration = Duration::from_secs(10);

impl Flow {
    fn per_minute(&mut self, world: &World) -> f64 {
        let now = world.clock.elapsed();
        let entries = world.meter.entries.load(Relaxed);
        while self.0.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.0.pop_front();
        }
        let (since, before) = self.0.front().copied().unwrap_or_default();
        self.0.push_back((now, entries));
        (entries - before) as f64 * 60.0 / now.saturating_sub(since).as_secs_f64().max(1.0)
    }
}

/// Leaves the cursor on a line of its own.
struct EndOfLine(bool);

impl Drop for EndOfLine {
    fn drop(&mut self) {
        if self.0 {
            eprintln!();
        }
    }
}
