//! Positions as they are usually asked for.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixStream;

use edge_bench::bench::BenchError;
use edge_bench::redis::Redis;

use crate::benches::crowded::person;

/// Commands that follow one another without waiting for answers.
const PIPELINE: u64 = 500;

pub(super) struct Ranks {
    connection: BufReader<UnixStream>,
    key: String,
}

impl Ranks {
    pub(super) fn connect(redis: &Redis, key: &str) -> Result<Self, BenchError> {
        let url = redis.url();
        let connection = UnixStream::connect(url.trim_start_matches("unix://")).map_err(lost)?;
        Ok(Self { connection: BufReader::new(connection), key: key.into() })
    }

    /// Zero-based ranks of people, a `ZRANK` each.
    pub(super) fn of(&mut self, mut people: Range<u64>) -> Result<Vec<u64>, BenchError> {
        let mut ranks = Vec::new();
        while !people.is_empty() {
            let chunk = people.start..people.end.min(people.start + PIPELINE);
            people.start = chunk.end;
            self.ask(chunk, &mut ranks).map_err(lost)?;
        }
        Ok(ranks)
    }

    fn ask(&mut self, people: Range<u64>, ranks: &mut Vec<u64>) -> io::Result<()> {
        let key = format!("*3\r\n$5\r\nZRANK\r\n${}\r\n{}\r\n$24\r\n", self.key.len(), self.key);
        let commands: Vec<u8> = people
            .clone()
            .flat_map(|number| format!("{key}{}\r\n", person(number).visitor).into_bytes())
            .collect();
        self.connection.get_mut().write_all(&commands)?;
        for _ in people {
            let mut line = String::new();
            self.connection.read_line(&mut line)?;
            let rank = line.trim_end().strip_prefix(':').and_then(|rank| rank.parse().ok());
            ranks.push(rank.ok_or_else(|| io::Error::other(format!("ZRANK answered {line}")))?);
        }
        Ok(())
    }
}

fn lost(cause: io::Error) -> BenchError {
    BenchError::Connection { to: "Redis".into(), cause }
}
