//! `check`: are the settings good, and is what they name there?

use std::collections::BTreeSet;

use tokio::net::TcpStream;
use tokio::time::timeout;
use vestibule::config::settings::{RoomSettings, Settings, StoreSettings, Topology};
use vestibule::config::{Loaded, SettingsSource};

use super::{CheckArgs, Failure, PATIENCE, runtime};

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let Loaded { settings, warnings, .. } = SettingsSource::file(&args.file).load()?;
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    println!("{} is good", args.file.display());
    print!("{}", summary(&settings));
    if args.live { runtime()?.block_on(try_all(&settings)) } else { Ok(()) }
}

fn summary(settings: &Settings) -> String {
    let Settings { server, operator, keys, default_upstream, .. } = settings;
    let first = format!(
        "  site {}, operator {}, {} keys, store: {}\n",
        server.listen,
        operator.listen,
        keys.len(),
        store(&settings.store)
    );
    let rooms = settings.rooms.values().map(|room| room_line(room));
    let rest = (!default_upstream.is_empty()).then(|| format!("  the rest -> {}\n", list(default_upstream)));
    std::iter::once(first).chain(rooms).chain(rest).collect()
}

fn room_line(room: &RoomSettings) -> String {
    let matches: Vec<String> = room.matches.iter().map(|one| format!("{}{}", one.host, one.path)).collect();
    format!(
        "  room {}: {} -> {}, {} a minute, {} at once\n",
        room.name,
        matches.join(" "),
        list(&room.upstream),
        room.rules.new_users_per_minute,
        room.rules.total_active_users
    )
}

fn store(store: &StoreSettings) -> String {
    match store {
        StoreSettings::Memory => "memory".to_owned(),
        StoreSettings::Redis(redis) => match &redis.topology {
            Topology::Single { url } => url.to_string(),
            Topology::Sentinel { urls, master } => format!("{master} by {}", list(urls)),
            Topology::Cluster { urls } => format!("cluster {}", list(urls)),
        },
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Connects to everything the settings name, each once.
async fn try_all(settings: &Settings) -> Result<(), Failure> {
    let rooms = settings.rooms.values().flat_map(|room| &room.upstream);
    let upstreams: BTreeSet<(String, u16)> =
        rooms.chain(&settings.default_upstream).map(|url| (url.host.clone(), url.port)).collect();
    let mut failed = Vec::new();
    for (host, port) in upstreams {
        let connected = timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await;
        let reason = match connected {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        tell(&format!("origin {host}:{port}"), reason, &mut failed);
    }
    let store = vestibule::serve::open_store(settings).await;
    tell("store", store.err().map(|error| error.to_string()), &mut failed);
    if failed.is_empty() { Ok(()) } else { Err(Failure::Unreachable(failed.join("\n"))) }
}

fn tell(what: &str, reason: Option<String>, failed: &mut Vec<String>) {
    match reason {
        None => println!("  {what}: reached"),
        Some(reason) => failed.push(format!("{what} cannot be reached: {reason}")),
    }
}
