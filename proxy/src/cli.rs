//! The command line: what can be asked, and what the answer's exit code is.

mod check;
mod demo;
mod rooms;
mod tokens;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vestibule::config::{ConfigError, SettingsSource};
use vestibule::serve::{self, Addresses, HandoverError, Order, RunOptions, ServeError};

/// A fair waiting room and an exact gate in front of a site.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, about, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
    /// Check the settings in FILE, like `check FILE`.
    #[arg(short = 't', value_name = "FILE", conflicts_with_all = ["config", "report"])]
    test: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 64 usage, 78 bad settings, 69 a needed service can't be reached, \
                          70 internal.\nSettings are also read from VESTIBULE__SECTION__KEY variables.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the edge (what happens without a command).
    Run(RunArgs),
    /// Check settings: prints a summary, or every mistake with its line.
    Check(CheckArgs),
    /// Try it: one process with an origin of its own, a queue in memory and fresh keys.
    Demo(DemoArgs),
    /// List the rooms of a running edge.
    Rooms {
        #[command(flatten)]
        operator: OperatorArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a room of a running edge.
    #[command(subcommand)]
    Room(RoomCommand),
    /// Secrets for `[[keys]]`.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look into tickets and passes.
    #[command(subcommand)]
    Ticket(TicketCommand),
    /// Print completions for a shell.
    Completions { shell: Shell },
    /// Print the manual page.
    Man,
}

#[derive(Debug, Clone, Args)]
struct RunArgs {
    /// The settings, in TOML.
    #[arg(long, value_name = "FILE", env = "VESTIBULE_CONFIG")]
    config: Option<PathBuf>,
    /// Once listening, write the addresses to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    ending: EndingArgs,
}

/// How the process ends. SIGTERM and SIGINT stop it, a second one cuts what is left; SIGQUIT hands its listeners over
/// to a successor first.
#[derive(Debug, Clone, Args)]
struct EndingArgs {
    /// After SIGTERM: how long connections are still accepted, until nobody sends them here any more.
    #[arg(long, value_name = "SPAN", env = "VESTIBULE_LINGER", default_value = "2s", value_parser = span)]
    linger: Duration,
    /// After that: how long requests, downloads and tunnels may go on before they are cut.
    #[arg(long, value_name = "SPAN", env = "VESTIBULE_DRAIN", default_value = "30s", value_parser = span)]
    drain: Duration,
    /// Take the listeners of a running edge, which gives them on SIGQUIT, instead of opening new ones.
    #[arg(long)]
    upgrade: bool,
    /// Where a running edge and its successor meet.
    #[arg(long, value_name = "PATH", env = "VESTIBULE_UPGRADE_SOCKET", default_value = RunOptions::UPGRADE_SOCKET)]
    upgrade_socket: PathBuf,
}

/// Nobody waits longer for the end of a process.
const LONGEST_END: Duration = Duration::from_secs(3600);

fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span <= LONGEST_END => Ok(span),
        Ok(_) => Err("more than an hour".into()),
        Err(error) => Err(format!("{error}; like 500ms, 30s or 2m")),
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The settings, in TOML.
    file: PathBuf,
    /// Also try to reach the store and the origins.
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Port of the site; the operator's is the next one. 0: free ones.
    #[arg(long, value_name = "N", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(..=65534))]
    port: u16,
    /// Visitors let in a minute.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Once listening, write the addresses to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// How to reach the operator's listener of a running edge.
#[derive(Debug, Clone, Args)]
struct OperatorArgs {
    /// Address of the operator's listener.
    #[arg(long, value_name = "URL", env = "VESTIBULE_OPERATOR", default_value = "http://127.0.0.1:8081")]
    operator: String,
    /// File with the operator's token; else the variable `VESTIBULE_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum RoomCommand {
    /// Change settings, on every edge within a second: `room set sale new_users_per_minute=1800`.
    Set {
        name: String,
        /// `new_users_per_minute`, `total_active_users`, `paused` (true or false), `message` (empty: none).
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
        #[command(flatten)]
        about: About,
    },
    /// Give no turns until resumed.
    Pause {
        name: String,
        /// Shown to those who wait.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Go on after a pause.
    Resume(Named),
    /// Take visitors again after `close` or `drain`.
    Open(Named),
    /// Take nobody.
    Close(Named),
    /// Give no turns and let sessions end.
    Drain(Named),
}

#[derive(Debug, Args)]
struct Named {
    name: String,
    #[command(flatten)]
    about: About,
}

#[derive(Debug, Args)]
struct About {
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    operator: OperatorArgs,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Print a new secret: 32 random bytes in base64url.
    New,
}

#[derive(Debug, Subcommand)]
enum TicketCommand {
    /// Print what a ticket or pass says. Nothing is verified.
    Inspect { token: String },
}

/// Why a command did not do what was asked; its text is for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Already explained by the argument parser.
    #[error("{}", .0.to_string().trim_end())]
    Arguments(clap::Error),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Serve(ServeError),
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Arguments(_) | Self::Usage(_) => 64,
            Self::Unreachable(_)
            | Self::Serve(
                ServeError::Unreachable(_) | ServeError::Handover(HandoverError::NobodyCame { .. }),
            ) => 69,
            Self::Serve(ServeError::Handover(HandoverError::OtherAddress { .. })) | Self::Settings(_) => 78,
            Self::Internal(_) | Self::Serve(_) => 70,
        })
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Settings(error) => Self::Settings(error),
            other => Self::Serve(other),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Does what the process's arguments ask for.
pub(crate) fn main() -> Result<(), Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) if matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return asked.print().map_err(Failure::from);
        }
        Err(error) => return Err(Failure::Arguments(error)),
    };
    match cli.command {
        None => match cli.test {
            Some(file) => check::check(&CheckArgs { file, live: false }),
            None => run(cli.run),
        },
        Some(Command::Run(args)) => run(args),
        Some(Command::Check(args)) => check::check(&args),
        Some(Command::Demo(args)) => demo::demo(&args),
        Some(Command::Rooms { operator, json }) => rooms::list(&operator, json),
        Some(Command::Room(command)) => rooms::change(command),
        Some(Command::Keys(KeysCommand::New)) => tokens::new_key(),
        Some(Command::Ticket(TicketCommand::Inspect { token })) => tokens::inspect(&token),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man) => Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?),
    }
}

fn run(args: RunArgs) -> Result<(), Failure> {
    let Some(config) = args.config else {
        return Err(Failure::Usage(
            "which settings? --config FILE; to try it without any: vestibule demo".into(),
        ));
    };
    let ready =
        move |addresses: &Addresses| args.report.as_deref().map_or(Ok(()), |file| addresses.write(file));
    let EndingArgs { linger, drain, upgrade, upgrade_socket } = args.ending;
    let options = RunOptions { linger, drain, upgrade, upgrade_socket };
    let runtime = runtime()?;
    traces::install("vestibule", env!("CARGO_PKG_VERSION"))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let ended = runtime.block_on(async {
        let orders = orders(Some(SignalKind::quit()), None)?;
        serve::serve(SettingsSource::file(config), options, ready, orders).await.map_err(Failure::from)
    });
    // Nothing that still runs in the background holds up the end.
    runtime.shutdown_background();
    traces::uninstall();
    ended
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vestibule", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// What SIGINT, SIGTERM and the signal for a hand-over mean to a running edge; it also stops after `limit`.
fn orders(hand_over: Option<SignalKind>, limit: Option<Duration>) -> io::Result<mpsc::Receiver<Order>> {
    let (sender, orders) = mpsc::channel(8);
    let stops = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| (kind, Order::Stop));
    let hand_over = hand_over.map(|kind| (kind, Order::HandOver));
    for (kind, order) in stops.into_iter().chain(hand_over) {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(
            async move { while signals.recv().await.is_some() && sender.send(order).await.is_ok() {} },
        );
    }
    if let Some(limit) = limit {
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            // Whoever was told before is ending already.
            let _ = sender.send(Order::Stop).await;
        });
    }
    Ok(orders)
}

/// Reads a short file that holds one secret.
fn read_token(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

/// For commands that ask a running edge or an origin: nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(10);
