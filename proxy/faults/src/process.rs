//! One program in the background: with a log, gone with its value, and not outliving us even by `kill -9`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub file: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub folder: Option<PathBuf>,
    /// Run as this user instead of root.
    pub user: Option<&'static str>,
}

/// Lines shown of the log of a program that ended.
const TAIL_LINES: usize = 15;

impl Program {
    pub(crate) fn new(file: impl Into<PathBuf>, args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self { file: file.into(), args, ..Self::default() }
    }

    /// Its process id is that of the program: what goes before replaces itself by what follows.
    fn command(&self) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(user) = self.user.filter(|_| rustix::process::geteuid().is_root()) {
            words
                .extend(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"].map(Into::into));
        }
        // A change of user forgets the signal, so it is asked for behind it.
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(Into::into));
        words.push(self.file.display().to_string());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Runs it to its end and gives what it printed.
    pub(crate) async fn output(&self) -> Result<String, Trouble> {
        let mut command = self.command();
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|source| self.not_started(source))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let answer = format!("{} {}", text(&output.stdout), text(&output.stderr));
        Err(Trouble::Refused { command: format!("{} {}", self.file.display(), self.args.join(" ")), answer })
    }

    fn not_started(&self, source: std::io::Error) -> Trouble {
        Trouble::Start { program: self.file.display().to_string(), source }
    }
}

impl Process {
    /// Starts it with its output in `logs/NAME.log`, behind what an earlier one of the name left there.
    pub(crate) fn start(name: &str, program: &Program, logs: &Path) -> Result<Self, Trouble> {
        let log = logs.join(format!("{name}.log"));
        let opened = File::options().create(true).append(true).open(&log);
        let file = opened.map_err(Trouble::io(log.display().to_string()))?;
        let copy = file.try_clone().map_err(Trouble::io(log.display().to_string()))?;
        let mut command = program.command();
        // A group of its own: Ctrl-C in the terminal is for us, who stop everything in order.
        command.stdin(Stdio::null()).stdout(file).stderr(copy).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|source| program.not_started(source))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// `None` once it has ended.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }

    /// To a process that is gone: nothing happens.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may end at any moment by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// As a crash would end it.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// How it ended, if it did within `limit`.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    /// Trouble if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => {
                Err(Trouble::Ended { name: self.name.clone(), log: self.log.clone(), tail: tail(&self.log) })
            }
        }
    }

    /// Processes that it started.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let Some(id) = self.child.id() else { return Vec::new() };
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}
