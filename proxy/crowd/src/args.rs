//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use room::ids::RoomName;
use serde::{Deserialize, Serialize};

use crate::rivals::RivalArgs;
use crate::tls::TlsArgs;

/// A crowd of simulated visitors that proves the waiting room's promises from outside.
#[derive(Debug, Parser)]
#[command(name = "crowd", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 every invariant holds, 1 one is broken, 64 usage, 69 a target can't be reached, 70 a part was lost.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a crowd through the waiting room and the shop, then prove what happened.
    Run(Box<RunArgs>),
    /// Buy in the windows of a practised event with bots of a set skill, then print how fast they were.
    Rivals(RivalArgs),
    /// One process of a run with several: started by `crowd run --processes`, which tells it what to do.
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct RunArgs {
    /// Edges to visit; several are separated by commas and visitors are spread over them.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    pub target: Vec<Target>,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// How many come; with --until-stopped: how many may be there at the same time.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub visitors: u32,
    /// How fast they come: "200/s", "90/m" or a number a second.
    #[arg(long, value_name = "RATE", default_value = "50/s")]
    pub arrive: Pace,
    /// How arrivals are spread over time.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Spread::Constant)]
    pub spread: Spread,
    #[command(flatten)]
    pub herd: HerdArgs,
    /// Send the crowd from so many processes; each has its own limit of open files.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,
    /// Stop after this many seconds; those in the shop may still finish what they do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Keep sending new visitors until Ctrl-C.
    #[arg(long)]
    pub until_stopped: bool,
    /// The room to queue for.
    #[arg(long, value_name = "NAME", default_value = "e1")]
    pub room: RoomName,
    /// The event to buy from; default: the first that GET /api/events lists.
    #[arg(long, value_name = "ID")]
    pub event: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub mix: Mix,
    /// Every visitor sends an X-Forwarded-For of its own from 10.0.0.0/8.
    #[arg(long)]
    pub forwarded_for: bool,
    /// The same seed makes the same people.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write every instant there, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// The limits to prove. What is left out is taken from the room's public state, or not proved.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct LimitArgs {
    /// Entries a minute; default: what GET /_queue/rooms/NAME says, followed through the run.
    #[arg(long, value_name = "R")]
    pub rate_per_minute: Option<u64>,
    /// Entries that may come at once; default: one second's worth, as in the room's settings.
    #[arg(long, value_name = "B")]
    pub burst: Option<u64>,
    /// Turns and sessions together; not proved when left out.
    #[arg(long, value_name = "A")]
    pub active_limit: Option<u64>,
    /// How long a turn stays open; default: inferred from the turns seen.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub claim_window: Option<Duration>,
    /// By how much a place on a socket may come later than the one before announced; default: 2s with a herd, else not
    /// proved.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub cadence: Option<Duration>,
}

/// Visitors who take a place, hold a socket and wait; thousands in one thread.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct HerdArgs {
    /// How many wait; several numbers are waves, each some time after the one before has come.
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', requires = "seconds", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub herd: Vec<u32>,
    /// How fast the herd comes.
    #[arg(long, value_name = "RATE", default_value = "1000/s")]
    pub herd_arrive: Pace,
    /// From the end of a wave to the next.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub herd_pause: Duration,
    /// So many of the herd share a source address, when the edges are on this machine.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_address: u32,
}

/// Shares of the crowd.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Mix {
    /// Machines that attack instead of queueing.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub bots: Share,
    /// Visitors who give their place back.
    #[arg(long, value_name = "SHARE", default_value = "3%")]
    pub leave: Share,
    /// Visitors who lose the connection and come back.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    pub dropoff: Share,
    /// Visitors who reload the page while they wait.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    pub refresh: Share,
    /// Visitors who never use their turn.
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub no_show: Share,
    /// Visitors who press "buy" twice.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    pub double_click: Share,
    /// Visitors without a WebSocket.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    pub polling: Share,
    /// Visitors who look around inside to the end of the run instead of buying.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub stay: Share,
}

/// A value that the command line can't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    #[error("a share is \"10%\" or a number from 0 to 1")]
    Share,
    #[error("a pace is \"200/s\", \"90/m\" or a number a second, more than 0")]
    Pace,
    #[error("a target is http://HOST[:PORT] or https://HOST[:PORT], without a path")]
    Target,
}

/// How arrivals are spread over time. Either way nobody waits for an answer to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Spread {
    /// Evenly.
    Constant,
    /// By chance, as people come who don't know of each other.
    Poisson,
}

/// From 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        let (digits, whole) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
        let share = digits.trim().parse::<f64>().map_err(|_| ArgError::Share)? / whole;
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(ArgError::Share) }
    }
}

/// Arrivals a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pace(pub f64);

impl FromStr for Pace {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        let (digits, seconds) = match text.split_once('/') {
            None | Some((_, "s")) => (text.split('/').next().unwrap_or(text), 1.0),
            Some((digits, "m")) => (digits, 60.0),
            Some(_) => return Err(ArgError::Pace),
        };
        let pace = digits.trim().parse::<f64>().map_err(|_| ArgError::Pace)? / seconds;
        if pace > 0.0 && pace.is_finite() { Ok(Self(pace)) } else { Err(ArgError::Pace) }
    }
}

/// One edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `HOST[:PORT]` as browsers write it, in the `Host` header too: without the port that goes without saying.
    pub authority: String,
    /// Spoken to by TLS.
    pub secure: bool,
}

impl Target {
    /// The `Origin` a browser would send from there.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }

    /// Where to connect: `HOST:PORT`.
    pub fn address(&self) -> String {
        match self.parts().and_then(|parts| parts.port_u16()) {
            Some(_) => self.authority.clone(),
            None => format!("{}:{}", self.authority, usual_port(self.secure)),
        }
    }

    /// Without the port.
    pub fn host(&self) -> String {
        self.parts().map_or_else(|| self.authority.clone(), |parts| parts.host().to_owned())
    }

    fn parts(&self) -> Option<hyper::http::uri::Authority> {
        self.authority.parse().ok()
    }
}

const fn usual_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { authority: address.to_string(), secure: false }
    }
}

impl FromStr for Target {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        let text = text.trim();
        let secure = text.starts_with("https://");
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let rest = rest.ok_or(ArgError::Target)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let parsed: hyper::http::uri::Authority = authority.parse().map_err(|_| ArgError::Target)?;
        if parsed.host().is_empty() || authority.contains('@') {
            return Err(ArgError::Target);
        }
        let authority = match parsed.port_u16() {
            Some(port) if port != usual_port(secure) => format!("{}:{port}", parsed.host()),
            Some(_) => parsed.host().to_owned(),
            None if authority.ends_with(':') => return Err(ArgError::Target),
            None => authority.to_owned(),
        };
        Ok(Self { authority, secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_or_fractions() {
        assert_eq!("10%".parse(), Ok(Share(0.1)));
        assert_eq!("0.25".parse(), Ok(Share(0.25)));
        for bad in ["110%", "-1", "ten", "", "NaN"] {
            assert_eq!(bad.parse::<Share>(), Err(ArgError::Share), "{bad}");
        }
    }

    #[test]
    fn paces_are_by_second_or_minute() {
        assert_eq!("200/s".parse(), Ok(Pace(200.0)));
        assert_eq!("90/m".parse(), Ok(Pace(1.5)));
        assert_eq!("7".parse(), Ok(Pace(7.0)));
        for bad in ["0/s", "5/h", "x", "inf"] {
            assert_eq!(bad.parse::<Pace>(), Err(ArgError::Pace), "{bad}");
        }
    }

    #[test]
    fn a_target_is_an_origin_as_browsers_write_it() {
        for (text, origin, address) in [
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost", "http://localhost", "localhost:80"),
            ("http://a:443", "http://a:443", "a:443"),
            ("https://a.example:443", "https://a.example", "a.example:443"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
            ("https://[::1]", "https://[::1]", "[::1]:443"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.origin().as_str(), target.address().as_str()), (origin, address), "{text}");
        }
        for bad in ["ftp://a", "http://a:", "a:80", "http://a/path", "http://", "http://u@a"] {
            assert_eq!(bad.parse::<Target>(), Err(ArgError::Target), "{bad}");
        }
    }

    #[test]
    fn several_targets_come_in_one_argument() {
        let cli = Cli::try_parse_from(["crowd", "run", "--target", "http://a:1,http://b:2"]).unwrap();
        let Command::Run(args) = cli.command else { panic!("another command") };
        assert_eq!(args.target.len(), 2);
    }
}
