//! The scripts and the keys they work on.

use std::sync::LazyLock;

use room::ids::RoomName;

/// A script by its source; Redis knows it by its SHA-1 after the first run.
pub(super) struct Script {
    source: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Joins flags, prelude and the file of a method. Without `allow-oom` a script is refused when memory is full.
macro_rules! script {
    ($flags:literal, $($file:literal),+) => {{
        const SOURCE: &str = concat!("#!lua", $flags, "\n", $(include_str!(concat!("../lua/", $file))),+);
        Script {
            source: SOURCE,
            hash: LazyLock::new(|| redis::Script::new(SOURCE).get_hash().to_owned()),
        }
    }};
}

pub(super) static ARRIVE: Script = script!("", "prelude.lua", "over.lua", "arrive.lua");
pub(super) static TUNE: Script = script!("", "prelude.lua", "tune.lua");
pub(super) static ADMIT: Script = script!(" flags=allow-oom", "prelude.lua", "over.lua", "admit.lua");
pub(super) static CLAIM: Script = script!(" flags=allow-oom", "prelude.lua", "claim.lua");
pub(super) static LEAVE: Script = script!(" flags=allow-oom", "prelude.lua", "leave.lua");
pub(super) static RENEW: Script = script!(" flags=allow-oom", "prelude.lua", "renew.lua");
pub(super) static SURVEY: Script = script!(" flags=allow-oom", "prelude.lua", "survey.lua");
pub(super) static MISSED: Script = script!(" flags=no-writes", "missed.lua");

/// In the order of `KEYS` in `prelude.lua`.
const NAMES: [&str; 14] = [
    "state", "nodes", "queue", "returns", "turns", "active", "spent", "revoked", "missed", "misses", "owner",
    "ticks", "audit", "tick",
];

/// The keys of a room. The braces are a hash tag: a room is one slot of a cluster.
pub(super) fn keys(prefix: &str, room: &RoomName) -> Vec<String> {
    NAMES.iter().map(|name| key(prefix, room, name)).collect()
}

/// Where a room's events are published.
pub(super) fn channel(prefix: &str, room: &RoomName) -> String {
    key(prefix, room, "tick")
}

pub(super) fn key(prefix: &str, room: &RoomName, name: &str) -> String {
    format!("{prefix}:{{{room}}}:{name}")
}
