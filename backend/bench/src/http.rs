//! Ours as buyers reach it: the program behind HTTP, each client on a connection that is kept alive.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::BenchError;
use crate::contest::{Client, Seller};

const START: Duration = Duration::from_secs(20);

/// The running program; it ends with this value.
pub(crate) struct Served {
    _program: Child,
    address: String,
}

impl Served {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(program: &Path, db_url: &str, report: &Path) -> Result<Self, BenchError> {
        let _none_yet = std::fs::remove_file(report);
        let failed = |error| BenchError::File(program.into(), error);
        let child = Command::new(program)
            .args(["--open", "--listen", "127.0.0.1:0", "--log-level", "error", "--hold-ttl-sec", "3600"])
            .arg("--report")
            .arg(report)
            .env("DB_URL", db_url)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let deadline = Instant::now() + START;
        loop {
            if let Some(address) = address(report) {
                return Ok(Self { _program: child, address });
            }
            if Instant::now() > deadline {
                return Err(BenchError::Http("the program does not listen".into()));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn address(report: &Path) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report).ok()?).ok()?;
    Some(report.get("http")?.as_str()?.strip_prefix("http://")?.to_owned())
}

pub(crate) struct Browser {
    stream: BufReader<TcpStream>,
    event_id: String,
    line: String,
    body: Vec<u8>,
}

impl Seller for Served {
    type Client = Browser;

    async fn client(&self, event_id: &str) -> Result<Browser, BenchError> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Browser {
            stream: BufReader::new(stream),
            event_id: event_id.into(),
            line: String::new(),
            body: Vec::new(),
        })
    }
}

impl Client for Browser {
    async fn sell(&mut self, user: &str, key: &str) -> Result<(), BenchError> {
        let body = format!(r#"{{"eventId":"{}","qty":1}}"#, self.event_id);
        let request = format!(
            "POST /purchase HTTP/1.1\r\nhost: bench\r\nx-user-id: {user}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        self.answer().await?;
        // {"status":"HOLD", …}
        if self.body.windows(6).any(|part| part == b"\"HOLD\"") {
            Ok(())
        } else {
            Err(BenchError::NotSold(String::from_utf8_lossy(&self.body).into_owned()))
        }
    }
}

impl Browser {
    /// Reads one answer of known length into `body`.
    async fn answer(&mut self) -> Result<(), BenchError> {
        let mut length = 0;
        loop {
            self.line.clear();
            let read = self.stream.read_line(&mut self.line).await?;
            let line = self.line.trim_end();
            if read == 0 {
                return Err(BenchError::Http("the connection was closed".into()));
            }
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().map_err(|_| BenchError::Http(format!("`{line}`")))?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await?;
        Ok(())
    }
}
