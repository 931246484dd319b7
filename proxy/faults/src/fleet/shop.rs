//! The box office on a PostgreSQL of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crowd::visitor::Stock;
use rustix::process::{Pid, Signal, kill_process};

use crate::http::is_ok;
use crate::process::{Process, Program};
use crate::trouble::Trouble;
use crate::wait::until;

/// One PostgreSQL and one box office that sells the event `e1`.
#[derive(Debug)]
pub(crate) struct Shop {
    pub port: u16,
    folder: PathBuf,
    bin: PathBuf,
    database: Process,
    office: Process,
}

/// Everybody in a run can buy.
const STOCK: &str = "1000000";
const START: Duration = Duration::from_secs(30);
/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// What the shop says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub before: Stock,
    pub after: Stock,
    /// By how much the counters differ from the sums they stand for: sold and held.
    pub sums: String,
}

impl Books {
    pub(crate) const RIGHT_SUMS: &str = "0|0";
}

impl Shop {
    /// `keys_from` is the edge that publishes the keys of passes, by which the box office knows its visitors.
    pub(crate) async fn start(
        programs: &Path,
        folder: &Path,
        port: u16,
        keys_from: u16,
    ) -> Result<Self, Trouble> {
        let bin = postgres_bin()?;
        let home = folder.join("postgres");
        make_home(&home).await?;
        let data = home.join("data");
        let init =
            ["--auth=trust", "--username=box_office", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"];
        let mut init = Program { folder: Some(home.clone()), ..Program::new(bin.join("initdb"), &init) };
        init.args.push(format!("--pgdata={}", data.display()));
        init.user = Some(USER);
        init.output().await?;
        let database = Process::start("postgres", &server(&bin, &home), folder)?;
        wait_ready(&bin, &home).await?;
        let office = Process::start("box-office", &office(programs, &home, port, keys_from), folder)?;
        let mut shop = Self { port, folder: home, bin, database, office };
        let healthy = until("the box office answers", START, async || is_ok(port, "/healthz").await).await;
        shop.office.check()?;
        healthy?;
        Ok(shop)
    }

    pub(crate) async fn stock(&self) -> Result<Stock, Trouble> {
        let row = self.ask("SELECT total_qty, held_qty, sold_qty FROM events WHERE id = 'e1'").await?;
        let mut numbers = row.split('|').map(|number| number.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Stock { total: next(), held: next(), sold: next() })
    }

    /// By how much the counters of the event differ from the orders paid and from the holds.
    pub(crate) async fn sums(&self) -> Result<String, Trouble> {
        self.ask(
            "SELECT sold_qty - (SELECT coalesce(sum(qty), 0) FROM orders WHERE event_id = 'e1' AND status = 'PAID'),
                    held_qty - (SELECT coalesce(sum(qty), 0) FROM holds WHERE event_id = 'e1')
             FROM events WHERE id = 'e1'",
        )
        .await
    }

    /// One row from the database.
    async fn ask(&self, sql: &str) -> Result<String, Trouble> {
        let host = self.folder.display().to_string();
        let args = ["-h", &host, "-U", "box_office", "-d", "postgres", "-AtXc", sql];
        Program::new(self.bin.join("psql"), &args).output().await
    }

    /// All processes of PostgreSQL stand still.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// As a crash of the database's machine would, but its disk stays.
    pub(crate) async fn kill_database(&mut self) {
        let children = self.database.children();
        self.database.kill().await;
        signal_each(&children, Signal::KILL);
    }

    /// Recovers what was committed; back when it answers.
    pub(crate) async fn restart_database(&mut self, logs: &Path) -> Result<(), Trouble> {
        let program = server(&self.bin, &self.folder);
        let up = async || {
            // The shared memory of the old one may take a moment to go.
            if self.database.check().is_err() {
                match Process::start("postgres", &program, logs) {
                    Ok(process) => self.database = process,
                    Err(_) => return false,
                }
            }
            wait_ready_once(&self.bin, &self.folder).await
        };
        until("PostgreSQL is back", START, up).await?;
        Ok(())
    }

    fn signal_all(&self, signal: Signal) {
        let mut all = self.database.children();
        all.extend(self.database.pid());
        signal_each(&all, signal);
    }

    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        self.office.check()
    }
}

fn signal_each(processes: &[Pid], signal: Signal) {
    for process in processes {
        // It may be gone already.
        let _ = kill_process(*process, signal);
    }
}

/// Commits reach the disk's cache before they are told: the process may be killed, the machine stays.
fn server(bin: &Path, home: &Path) -> Program {
    let (data, socket) = (home.join("data").display().to_string(), home.display().to_string());
    let args = [
        "-D",
        &data,
        "-k",
        &socket,
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "max_connections=60",
    ];
    Program { user: Some(USER), folder: Some(home.to_owned()), ..Program::new(bin.join("postgres"), &args) }
}

fn office(programs: &Path, home: &Path, port: u16, keys_from: u16) -> Program {
    let listen = format!("127.0.0.1:{port}");
    let seed = ["--listen", &listen, "--seed-name", "First night", "--seed-total", STOCK];
    let mut program = Program::new(programs.join("box-office"), &seed);
    program.env = [
        ("DB_URL", format!("host={} user=box_office dbname=postgres", home.display())),
        ("EVENT_ID", "e1".into()),
        ("PASS_ROOM", "e1".into()),
        ("PASS_JWKS_URL", format!("http://127.0.0.1:{keys_from}/_queue/jwks.json")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    program
}

async fn wait_ready(bin: &Path, home: &Path) -> Result<Duration, Trouble> {
    until("PostgreSQL answers", START, async || wait_ready_once(bin, home).await).await
}

async fn wait_ready_once(bin: &Path, home: &Path) -> bool {
    let host = format!("--host={}", home.display());
    Program::new(bin.join("pg_isready"), &["--quiet", &host]).output().await.is_ok()
}

/// A folder of the database's user.
async fn make_home(home: &Path) -> Result<(), Trouble> {
    let path = home.display().to_string();
    let mut args = vec!["-d", "-m", "755"];
    if rustix::process::geteuid().is_root() {
        args.extend(["-o", USER, "-g", USER]);
    }
    args.push(&path);
    Program::new("install", &args).output().await.map(drop)
}

/// Debian keeps the server programs in a versioned folder that is not on the PATH: the newest one.
fn postgres_bin() -> Result<PathBuf, Trouble> {
    let folder = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .max();
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).find(|folder| folder.join("postgres").exists()));
    newest.map(|(_, bin)| bin).or(on_path).ok_or_else(|| Trouble::Start {
        program: "postgres".into(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}
