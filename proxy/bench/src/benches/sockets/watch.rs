//! Memory, CPU and sockets of the edges while a crowd visits them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use edge_bench::bench::BenchError;
use edge_bench::usage::{cpu_time, memory_bytes};

use super::fleet::Fleet;

const EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);

/// Of all edges together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// Since the crowd began.
    pub(super) at: Duration,
    pub(super) sockets: u64,
    pushes: u64,
    bytes: u64,
    cpu: Duration,
}

impl Reading {
    /// How much more memory `more` has, per socket that it has more.
    pub(super) fn kib_per_socket(&self, more: &Self) -> f64 {
        let sockets = more.sockets.saturating_sub(self.sockets);
        more.bytes.saturating_sub(self.bytes) as f64 / 1024.0 / sockets.max(1) as f64
    }
}

/// Reads them from outside: `/proc` and `/metrics`.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    edges: Vec<(u32, SocketAddr)>,
}

/// In order of time.
#[derive(Debug, Default)]
pub(super) struct Readings(Vec<Reading>);

impl Readings {
    pub(super) fn last_before(&self, at: Duration) -> Option<Reading> {
        self.0.iter().rfind(|reading| reading.at <= at).copied()
    }

    /// From `since` to the last reading with sockets.
    pub(super) fn cpu_us_per_push(&self, since: Duration) -> f64 {
        let from = self.0.iter().find(|reading| reading.at >= since);
        let to = self.0.iter().rfind(|reading| reading.sockets > 0);
        let Some((from, to)) = from.zip(to) else { return f64::INFINITY };
        let pushes = to.pushes.saturating_sub(from.pushes);
        to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6 / pushes.max(1) as f64
    }
}

/// While somebody waits for the crowd.
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Readings>,
}

impl Reader {
    pub(super) fn finish(self) -> Readings {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

impl Watch {
    pub(super) fn new(fleet: &Fleet) -> Self {
        Self { edges: fleet.edges.iter().map(|edge| (edge.pid(), edge.operator)).collect() }
    }

    pub(super) fn start(self) -> Reader {
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut readings = Readings::default();
            let mut due = began;
            while !stopped.load(Ordering::Relaxed) {
                if Instant::now() < due {
                    sleep(LOOK_EVERY);
                    continue;
                }
                due += EVERY;
                // One that failed is left out: the next is soon.
                readings.0.extend(self.read().map(|reading| Reading { at: began.elapsed(), ..reading }));
            }
            readings
        });
        Reader { stop, thread }
    }

    pub(super) fn read(&self) -> Result<Reading, BenchError> {
        let mut all = Reading::default();
        for (pid, operator) in &self.edges {
            let text = metrics(*operator)
                .map_err(|cause| BenchError::Connection { to: "an edge's metrics".into(), cause })?;
            all.sockets += sum(&text, "ws_connections", "") as u64;
            all.pushes += sum(&text, "ws_messages_total", "direction=\"out\"") as u64;
            all.bytes += memory_bytes(*pid);
            all.cpu += cpu_time(*pid);
        }
        Ok(all)
    }
}

fn metrics(operator: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(operator)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Over all series of one name whose labels hold `label`.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(name));
    let whole = series.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    whole.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_summed_by_label() {
        let text = "# HELP ws_connections x\nws_connections 3\nws_connections_more 9\n\
            ws_messages_total{direction=\"out\",type=\"a\"} 5\nws_messages_total{direction=\"in\",type=\"a\"} 7\n\
            ws_messages_total{direction=\"out\",type=\"b\"} 1\n";
        assert_eq!(sum(text, "ws_connections", "") as u64, 3);
        assert_eq!(sum(text, "ws_messages_total", "direction=\"out\"") as u64, 6);
    }

    #[test]
    fn memory_is_per_socket_that_came_and_cpu_per_push_since() {
        let at = |secs, sockets, kib: u64, pushes| Reading {
            at: Duration::from_secs(secs),
            sockets,
            pushes,
            bytes: kib * 1024,
            cpu: Duration::from_millis(secs * 10),
        };
        let readings =
            Readings(vec![at(0, 0, 100, 0), at(10, 100, 400, 50), at(20, 100, 400, 1050), at(30, 0, 0, 0)]);
        assert!((readings.0[0].kib_per_socket(&readings.0[1]) - 3.0).abs() < 1e-9);
        assert_eq!(readings.last_before(Duration::from_secs(19)).unwrap().sockets, 100);
        assert!((readings.cpu_us_per_push(Duration::from_secs(5)) - 100.0).abs() < 1e-9);
    }
}
