//! New settings for a running edge: when the file changes, and on SIGHUP.
//!
//! The only one that changes settings. A bad file changes nothing and says why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use super::{ConfigError, Loaded, SettingsSource};
use crate::metrics;

/// Editors and mounts change a file in several steps; it is read when nothing happened for this long.
const QUIET: Duration = Duration::from_millis(150);
/// In a folder that never falls quiet, it is read after this long.
const AT_MOST: Duration = Duration::from_secs(1);

/// The settings as they are now, and as they change.
#[derive(Debug, Clone)]
pub struct Reload {
    current: Arc<ArcSwap<Settings>>,
    changes: watch::Receiver<Arc<Settings>>,
}

impl Reload {
    /// Watches the source until `stop` says true or its sender is gone. Without a file, or where watching fails,
    /// SIGHUP remains.
    pub fn start(
        source: SettingsSource,
        first: Settings,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        let first = Arc::new(first);
        let current = Arc::new(ArcSwap::new(Arc::clone(&first)));
        let (publish, changes) = watch::channel(first);
        let hangup = signal(SignalKind::hangup())?;
        let watching = source.path().map(Watching::start);
        let seen = source.raw();
        let reloader = Reloader { source, current: Arc::clone(&current), publish, seen };
        tokio::spawn(reloader.run(watching, hangup, stop));
        Ok(Self { current, changes })
    }

    /// Always the newest; a request takes one snapshot.
    pub fn settings(&self) -> Arc<ArcSwap<Settings>> {
        Arc::clone(&self.current)
    }

    /// For those who have something to do when settings change.
    pub fn changes(&self) -> watch::Receiver<Arc<Settings>> {
        self.changes.clone()
    }
}

struct Reloader {
    source: SettingsSource,
    current: Arc<ArcSwap<Settings>>,
    publish: watch::Sender<Arc<Settings>>,
    /// The file as it was read last, good or bad.
    seen: Option<String>,
}

impl Reloader {
    async fn run(
        mut self,
        mut watching: Option<Watching>,
        mut hangup: Signal,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = hangup.recv() => self.reload().await,
                () = touched(&mut watching) => {
                    // Neighbours of the file change too, and some steps of a change leave it as it was.
                    if self.source.raw() != self.seen {
                        self.reload().await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self) {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || (source.raw(), source.load()));
        let Ok((seen, loaded)) = read.await else { return };
        self.seen = seen;
        match loaded {
            Ok(loaded) => self.apply(loaded),
            Err(error) => refuse(&error),
        }
    }

    fn apply(&self, Loaded { mut settings, warnings, .. }: Loaded) {
        let old = self.current.load_full();
        settings.version = old.version + 1;
        for name in keep_fixed(&mut settings, &old) {
            tracing::warn!(setting = name, "this setting changes with a restart only; the old value stays");
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let rooms = changed_rooms(&old, &settings);
        tracing::info!(version = settings.version, rooms = rooms.join(" "), "new settings are in force");
        metrics::edge().config_loaded(settings.version);
        let settings = Arc::new(settings);
        self.current.store(Arc::clone(&settings));
        self.publish.send_replace(settings);
    }
}

fn refuse(error: &ConfigError) {
    metrics::edge().config_refused();
    let problems = error.to_string();
    tracing::error!(problems, "the new settings are bad; those in force stay");
}

/// Takes over from `old` what cannot change while the edge runs, and names what was meant to.
fn keep_fixed(new: &mut Settings, old: &Settings) -> Vec<&'static str> {
    let mut named = Vec::new();
    let mut keep = |name, is_same: bool| {
        if !is_same {
            named.push(name);
        }
    };
    keep("server.listen", new.server.listen == old.server.listen);
    keep("server.queue_path", new.server.queue_path == old.server.queue_path);
    keep("server.proxy_protocol", new.server.proxy_protocol == old.server.proxy_protocol);
    keep("server.tls", new.server.tls == old.server.tls);
    keep("store", new.store == old.store);
    keep("operator.listen", new.operator.listen == old.operator.listen);
    new.server.listen = old.server.listen;
    new.server.queue_path.clone_from(&old.server.queue_path);
    new.server.proxy_protocol = old.server.proxy_protocol;
    new.server.tls.clone_from(&old.server.tls);
    new.store.clone_from(&old.store);
    new.operator.listen = old.operator.listen;
    named
}

/// Names of rooms that are new (`+`), gone (`-`) or different.
fn changed_rooms(old: &Settings, new: &Settings) -> Vec<String> {
    let names: BTreeSet<_> = old.rooms.keys().chain(new.rooms.keys()).collect();
    let change = |name| match (old.rooms.get(name), new.rooms.get(name)) {
        (None, Some(_)) => Some(format!("+{name}")),
        (Some(_), None) => Some(format!("-{name}")),
        (before, after) => (before != after).then(|| name.to_string()),
    };
    names.into_iter().filter_map(change).collect()
}

/// Notices changes around a file.
struct Watching {
    events: mpsc::Receiver<()>,
    /// Watches as long as it lives.
    _watcher: Option<RecommendedWatcher>,
}

impl Watching {
    fn start(file: &Path) -> Self {
        let (sender, events) = mpsc::channel(1);
        let started = watch_folders(file, sender);
        if let Err(error) = &started {
            tracing::warn!(%error, "the settings file cannot be watched; send SIGHUP after a change");
        }
        Self { events, _watcher: started.ok() }
    }
}

/// Watches folders, not the file: editors put a new file in its place, and a mounted `ConfigMap` is a link to a
/// link that is swapped.
fn watch_folders(file: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_read = event.is_ok_and(|event| event.kind.is_access());
        if !is_read {
            // One is enough: more than that is the same news.
            let _ = sender.try_send(());
        }
    })?;
    let real = file.canonicalize().ok();
    let folders: BTreeSet<PathBuf> =
        [Some(file), real.as_deref()].into_iter().flatten().map(folder_of).collect();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn folder_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone says stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Ends when something changed and it is quiet again. Without a watcher it never does.
async fn touched(watching: &mut Option<Watching>) {
    let Some(Watching { events, .. }) = watching else {
        return std::future::pending().await;
    };
    if events.recv().await.is_none() {
        return std::future::pending().await;
    }
    let latest = Instant::now() + AT_MOST;
    while Instant::now() < latest {
        let quiet = (Instant::now() + QUIET).min(latest);
        if !matches!(timeout_at(quiet, events.recv()).await, Ok(Some(()))) {
            return;
        }
    }
}
