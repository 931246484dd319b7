//! Joins as they are usually written: one script and one call for each.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use edge_bench::bench::BenchError;
use edge_bench::redis::Redis;

use crate::benches::crowded::person;

/// Already there? Else the place and who it belongs to; then the position.
const SCRIPT: &str = "local rank = redis.call('ZRANK', KEYS[1], ARGV[1]) \
    if not rank then \
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) \
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) \
    rank = redis.call('ZRANK', KEYS[1], ARGV[1]) end \
    return {rank, redis.call('ZCARD', KEYS[1])}";

/// How calls reach the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Each of a pool of connections has one call under way.
    Pool,
    /// As many calls follow one another on one connection without waiting for answers.
    Pipeline,
}

/// Calls under way at a time.
const UNDER_WAY: usize = 64;

pub(super) struct Plain {
    way: Way,
    connections: Vec<BufReader<UnixStream>>,
    hash: String,
    rooms: u32,
}

impl Plain {
    pub(super) fn connect(redis: &Redis, way: Way) -> Result<Self, BenchError> {
        let failed = |cause| BenchError::Connection { to: "Redis".into(), cause };
        let url = redis.url();
        let path = url.trim_start_matches("unix://");
        let connect = |_| UnixStream::connect(path).map(BufReader::new);
        let count = match way {
            Way::Pool => UNDER_WAY,
            Way::Pipeline => 1,
        };
        let connections = (0..count).map(connect).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let mut plain = Self { way, connections, hash: String::new(), rooms: 0 };
        plain.hash = plain.load().map_err(failed)?;
        Ok(plain)
    }

    /// So many people join a new room.
    pub(super) fn join(&mut self, people: u64) -> Result<(), BenchError> {
        self.rooms += 1;
        let keys = [
            format!("plain{:?}{}:queue", self.way, self.rooms),
            format!("plain{:?}{}:owner", self.way, self.rooms),
        ];
        let calls: Vec<Vec<u8>> = (0..people).map(|number| self.call(&keys, number)).collect();
        let failed = |cause| BenchError::Connection { to: "Redis".into(), cause };
        for calls in calls.chunks(UNDER_WAY) {
            self.round(calls).map_err(failed)?;
        }
        Ok(())
    }

    fn call(&self, [queue, owner]: &[String; 2], number: u64) -> Vec<u8> {
        let person = person(number);
        let (visitor, score) = (person.visitor.to_string(), person.score.to_string());
        let record = format!("{}:{}:0", "07".repeat(12), person.ticket);
        command(&["EVALSHA", &self.hash, "2", queue, owner, &visitor, &score, &record])
    }

    fn round(&mut self, calls: &[Vec<u8>]) -> io::Result<()> {
        let ways = self.connections.len();
        match self.way {
            Way::Pool => {
                for (connection, call) in self.connections.iter_mut().zip(calls) {
                    connection.get_mut().write_all(call)?;
                }
            }
            Way::Pipeline => {
                for connection in &mut self.connections {
                    connection.get_mut().write_all(&calls.concat())?;
                }
            }
        }
        for number in 0..calls.len() {
            if let Some(connection) = self.connections.get_mut(number % ways) {
                answer(connection)?;
            }
        }
        Ok(())
    }

    fn load(&mut self) -> io::Result<String> {
        let connection = self.connections.first_mut().ok_or(io::ErrorKind::NotConnected)?;
        connection.get_mut().write_all(&command(&["SCRIPT", "LOAD", SCRIPT]))?;
        let _length = line(connection)?;
        let mut hash = vec![0; 42];
        connection.read_exact(&mut hash)?;
        String::from_utf8(hash).map(|hash| hash.trim_end().to_owned()).map_err(io::Error::other)
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    command
}

/// Two numbers.
fn answer(connection: &mut BufReader<UnixStream>) -> io::Result<()> {
    if line(connection)? != "*2" {
        return Err(io::Error::other("a join was not answered with two numbers"));
    }
    line(connection)?;
    line(connection).map(drop)
}

fn line(connection: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
