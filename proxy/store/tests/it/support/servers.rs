//! Private Redis servers, each in a folder of its own and gone with the value. Needs only the standard library and
//! `tempfile`, so that other test binaries can take this file in by `#[path]`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);
/// How often a condition is looked at while somebody waits for it.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `condition` holds; panics, with what was waited for, when it does not within `limit`.
pub(crate) fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A port on which nobody listens at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("its address").port()
}

/// One `redis-server` process, without persistence, on a unix socket and perhaps a port.
pub(crate) struct RedisServer {
    child: Child,
    dir: TempDir,
    args: Vec<String>,
    port: u16,
}

impl RedisServer {
    /// On a unix socket only.
    pub(crate) fn start() -> Self {
        Self::start_with(0, &[])
    }

    /// On a port of the loopback too, unless it is 0, with more arguments.
    pub(crate) fn start_with(port: u16, more: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("redis").tempdir().expect("a folder");
        let mut args: Vec<String> = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--unixsocket",
            "redis.sock",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--logfile",
            "redis.log",
            "--maxmemory-policy",
            "noeviction",
        ]
        .map(Into::into)
        .into();
        args.extend(more.iter().map(ToString::to_string));
        let child = spawn(&dir, &args);
        let server = Self { child, dir, args, port };
        server.wait_ready();
        server
    }

    /// A sentinel: the same program with a configuration file of its own.
    pub(crate) fn start_sentinel(port: u16, master: &str, master_port: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("sentinel").tempdir().expect("a folder");
        let config = format!(
            "port {port}\nbind 127.0.0.1\nunixsocket redis.sock\nlogfile redis.log\n\
             sentinel monitor {master} 127.0.0.1 {master_port} 2\n\
             sentinel down-after-milliseconds {master} 1000\n\
             sentinel failover-timeout {master} 4000\n"
        );
        std::fs::write(dir.path().join("sentinel.conf"), config).expect("a configuration");
        let args = ["sentinel.conf", "--sentinel"].map(Into::into).to_vec();
        let child = spawn(&dir, &args);
        let server = Self { child, dir, args, port };
        server.wait_ready();
        server
    }

    /// `unix:///…/redis.sock`.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// `redis://127.0.0.1:PORT`.
    pub(crate) fn tcp_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the process as a crash would. The socket stays.
    pub(crate) fn kill(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the process again, empty, where it was.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.dir, &self.args);
        self.wait_ready();
    }

    /// Stops and continues the process, as an overloaded machine would.
    pub(crate) fn freeze(&self) {
        signal("-STOP", self.child.id());
    }

    pub(crate) fn thaw(&self) {
        signal("-CONT", self.child.id());
    }

    /// What `redis-cli` prints for a command.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.arg("-s").arg(self.socket()).args(args).output();
        String::from_utf8(output.expect("redis-cli").stdout).expect("text").trim().to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + START;
        while self.ping().is_none() {
            assert!(Instant::now() < deadline, "a Redis server did not start:\n{}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// All that it wrote, with its port before it.
    pub(crate) fn log(&self) -> String {
        let written = std::fs::read_to_string(self.dir.path().join("redis.log")).unwrap_or_default();
        format!("· port {}\n{written}", self.port)
    }

    fn ping(&self) -> Option<()> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        // One that asks for a password is ready as well.
        matches!(&answer, b"+PONG\r\n" | b"-NOAUTH").then_some(())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &TempDir, args: &[String]) -> Child {
    Command::new("redis-server")
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server must be installed (package redis-server)")
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}
