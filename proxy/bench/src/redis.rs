//! A private Redis on a Unix socket, and what it says of itself.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::bench::{BenchError, Context};
use crate::process::{Launch, Process, folder};

/// Data gone when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    folder: TempDir,
}

impl Redis {
    pub fn start(context: &Context, core: Option<usize>) -> Result<Self, BenchError> {
        let folder = folder()?;
        let launch =
            core.map_or_else(|| Launch::new("redis-server"), |core| Launch::on_core(core, "redis-server"));
        let launch = launch.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        let launch = launch.args([socket(&folder).as_os_str(), "--dir".as_ref(), folder.path().as_os_str()]);
        let mut process = launch.log(context.log("redis")?).start()?;
        process.await_ready(|| UnixStream::connect(socket(&folder)).ok())?;
        Ok(Self { process, folder })
    }

    /// For the setting `store.url`.
    pub fn url(&self) -> String {
        format!("unix://{}", socket(&self.folder).display())
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the server counted so far.
    pub fn figures(&self) -> Result<Figures, BenchError> {
        self.ask("INFO all").map(|text| Figures::parse(&text))
    }

    /// How many keys there are.
    pub fn keys(&self) -> Result<u64, BenchError> {
        let answer = self.ask("DBSIZE")?;
        answer.parse().map_err(|_| BenchError::Broken(format!("DBSIZE answered {answer}")))
    }

    /// One command without binary arguments; answers the text of a number, a line or a string.
    pub fn ask(&self, command: &str) -> Result<String, BenchError> {
        let failed = |cause| BenchError::Connection { to: "Redis".into(), cause };
        ask(&socket(&self.folder), command).map_err(failed)
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

/// Answers are not waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn ask(socket: &std::path::Path, command: &str) -> io::Result<String> {
    let mut stream = BufReader::new(UnixStream::connect(socket)?);
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("$", bytes)) => {
            let bytes: usize = bytes.parse().map_err(io::Error::other)?;
            let mut text = vec![0; bytes];
            stream.read_exact(&mut text)?;
            String::from_utf8(text).map_err(io::Error::other)
        }
        Some((":" | "+", text)) => Ok(text.to_owned()),
        _ => Err(io::Error::other(format!("{command} was answered {line}"))),
    }
}

/// A reading of `INFO`.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// User and system.
    pub cpu: Duration,
    /// Calls by command, in lower case, such as `evalsha`; those made by scripts count too.
    pub calls: BTreeMap<String, u64>,
}

/// Commands that change nothing a room knows: sent by bench and client libraries for themselves.
const ASIDE: [&str; 5] = ["info", "dbsize", "client|setinfo", "hello", "ping"];

impl Figures {
    fn parse(info: &str) -> Self {
        let mut figures = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "used_cpu_sys" | "used_cpu_user" => {
                    figures.cpu += Duration::from_secs_f64(value.parse().unwrap_or(0.0));
                }
                _ => {
                    if let (Some(command), Some(calls)) = (name.strip_prefix("cmdstat_"), calls(value)) {
                        figures.calls.insert(command.to_owned(), calls);
                    }
                }
            }
        }
        figures
    }

    /// All calls but those that clients make for themselves.
    pub fn commands(&self) -> u64 {
        let counted = self.calls.iter().filter(|(command, _)| !ASIDE.contains(&command.as_str()));
        counted.map(|(_, calls)| calls).sum()
    }

    pub fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }

    pub fn commands_since(&self, before: &Self) -> u64 {
        self.commands().saturating_sub(before.commands())
    }
}

/// Of `calls=12,usec=3,…`.
fn calls(value: &str) -> Option<u64> {
    value.split(',').find_map(|field| field.strip_prefix("calls="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\nused_cpu_sys_children:9.0\r\n\
        # Commandstats\r\ncmdstat_evalsha:calls=7,usec=1,usec_per_call=0.1\r\ncmdstat_info:calls=4,usec=2\r\n";

    #[test]
    fn figures_are_read_from_info_and_the_asking_itself_is_left_out() {
        let figures = Figures::parse(INFO);
        assert_eq!(figures.cpu, Duration::from_millis(3750));
        assert_eq!(figures.commands(), 7);
        assert_eq!(figures.commands_since(&Figures::default()), 7);
    }
}
