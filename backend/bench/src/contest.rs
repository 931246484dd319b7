//! One turn of a contest: so many clients sell as fast as they can for so long.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::BenchError;
use crate::cpu::Cpu;

/// One way to sell.
pub(crate) trait Seller: Send + Sync {
    type Client: Client;

    /// A client with all it keeps between sales: its connection, its prepared statements.
    fn client(&self, event_id: &str) -> impl Future<Output = Result<Self::Client, BenchError>> + Send;
}

pub(crate) trait Client: Send + 'static {
    /// Sells one ticket to a user under a key that nobody used before.
    fn sell(&mut self, user: &str, key: &str) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// What turns came to.
#[derive(Debug, Default)]
pub(crate) struct Score {
    sales: u64,
    seconds: f64,
    /// Of PostgreSQL and of this process.
    cpu: Cpu,
    latencies: Vec<Duration>,
}

/// Clients that sell for the length of a turn. The first sales, which prepare statements, do not count.
pub(crate) async fn turn<S: Seller>(
    seller: &S,
    event_id: &str,
    clients: usize,
    length: Duration,
    cpu: impl Fn() -> Cpu,
) -> Result<Score, BenchError> {
    let mut ready = Vec::new();
    for number in 0..clients {
        let mut client = seller.client(event_id).await?;
        client.sell(&format!("user-{number}"), "first").await?;
        ready.push(client);
    }
    let (started, cpu_before) = (Instant::now(), cpu());
    let mut selling = JoinSet::new();
    for (number, client) in ready.into_iter().enumerate() {
        selling.spawn(sell_until(client, number, started + length));
    }
    let mut score = Score::default();
    while let Some(latencies) = selling.join_next().await {
        score.latencies.extend(latencies.map_err(|error| BenchError::Start(error.to_string()))??);
    }
    score.cpu = cpu() - cpu_before;
    score.seconds = started.elapsed().as_secs_f64();
    score.sales = score.latencies.len() as u64;
    Ok(score)
}

async fn sell_until(
    mut client: impl Client,
    number: usize,
    end: Instant,
) -> Result<Vec<Duration>, BenchError> {
    let mut latencies = Vec::new();
    let user = format!("user-{number}");
    while Instant::now() < end {
        let key = format!("key-{}", latencies.len());
        let asked = Instant::now();
        client.sell(&user, &key).await?;
        latencies.push(asked.elapsed());
    }
    Ok(latencies)
}

impl Score {
    pub(crate) fn add(&mut self, other: Self) {
        self.sales += other.sales;
        self.seconds += other.seconds;
        self.cpu = self.cpu + other.cpu;
        self.latencies.extend(other.latencies);
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.sales as f64 / self.seconds
    }

    pub(crate) fn p95_ms(&mut self) -> f64 {
        let rank = self.latencies.len() * 95 / 100;
        if rank >= self.latencies.len() {
            return 0.0;
        }
        let (_, latency, _) = self.latencies.select_nth_unstable(rank);
        latency.as_secs_f64() * 1e3
    }

    /// `(PostgreSQL, this process)`, in microseconds a sale.
    pub(crate) fn cpu_us(&self) -> (f64, f64) {
        let each = |seconds: f64| seconds * 1e6 / self.sales as f64;
        (each(self.cpu.postgres), each(self.cpu.own))
    }
}
