//! Programs that run until they are dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bench::BenchError;

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(20);
/// How long a program may take to end before it is killed.
const END: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running program. It ends with this value, and with the thread that started it: start it from one that stays.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

/// A program to be started.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    command: Command,
}

impl Launch {
    /// On any core.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self::of(program.into(), Command::new("setpriv"))
    }

    /// On one core only.
    pub fn on_core(core: usize, program: impl Into<PathBuf>) -> Self {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string(), "setpriv"]);
        Self::of(program.into(), command)
    }

    fn of(program: PathBuf, mut command: Command) -> Self {
        command.args(["--pdeathsig", "TERM", "--"]).arg(&program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { program, command }
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Where what it says goes; nowhere by default.
    #[must_use]
    pub fn log(mut self, log: File) -> Self {
        let both = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        self.command.stdout(both).stderr(log);
        self
    }

    pub fn start(mut self) -> Result<Process, BenchError> {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self.command.spawn() {
            Ok(child) => Ok(Process { name, child }),
            Err(cause) => Err(BenchError::Start { program: name, cause }),
        }
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` gives something; an error once the program has ended or the time is over.
    pub fn await_ready<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> Result<T, BenchError> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(BenchError::NotReady { program: self.name.clone() });
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Waits until the program accepts connections.
    pub fn await_listening(&mut self, address: SocketAddr) -> Result<(), BenchError> {
        self.await_ready(|| TcpStream::connect(address).ok()).map(drop)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait()
    }

    fn ended_by(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(LOOK_EVERY);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already needs no signal.
            let _ended = kill_process(pid, Signal::TERM);
        }
        if !self.ended_by(Instant::now() + END) {
            let _ended = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// A folder for data and sockets, gone when dropped. Its path is short: socket paths end at 108 bytes.
pub fn folder() -> Result<TempDir, BenchError> {
    Ok(tempfile::Builder::new().prefix("bench.").tempdir_in("/tmp")?)
}

/// An address that nobody listens on at this moment.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Writes a file into a folder.
pub fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, BenchError> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|cause| BenchError::file(&path, cause))?;
    Ok(path)
}
