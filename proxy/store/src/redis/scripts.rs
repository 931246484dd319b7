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

/// A script that stands alone.
macro_rules! script {
    ($source:expr) => {{
        const SOURCE: &str = $source;
        Script { source: SOURCE, hash: LazyLock::new(|| redis::Script::new(SOURCE).get_hash().to_owned()) }
    }};
}

macro_rules! lua {
    ($file:literal) => {
        include_str!(concat!("../lua/", $file))
    };
}

/// Joins flags, what every method starts with, and the files of this one. Without `allow-oom` a script is refused when
/// memory is full.
///
/// All but the prelude is a function of its own: what Lua functions need of the prelude is found at once then, whereas
/// for each local of the same function a list of all of them is walked, which was an eighth of a tick.
macro_rules! method {
    ($flags:literal, $($file:literal),+) => {
        script!(concat!(
            "#!lua", $flags, "\n",
            lua!("prelude.lua"), "return (function()\n",
            lua!("life.lua"), lua!("people.lua"), lua!("answer.lua"), $(lua!($file)),+,
            "end)()\n"
        ))
    };
}

pub(super) static ARRIVE: Script = method!("", "over.lua", "arrive.lua");
pub(super) static TUNE: Script = method!("", "tune.lua");
pub(super) static ADMIT: Script = method!(" flags=allow-oom", "over.lua", "admit.lua");
pub(super) static CLAIM: Script = method!(" flags=allow-oom", "claim.lua");
pub(super) static LEAVE: Script = method!(" flags=allow-oom", "leave.lua");
pub(super) static RENEW: Script = method!(" flags=allow-oom", "register.lua", "renew.lua");
pub(super) static RESTORE: Script = method!(" flags=allow-oom", "register.lua", "restore.lua");
pub(super) static SURVEY: Script = method!(" flags=allow-oom", "survey.lua");
pub(super) static MISSED: Script = script!(concat!("#!lua flags=no-writes\n", lua!("missed.lua")));

/// In the order of `KEYS` in `prelude.lua`.
const NAMES: [&str; 15] = [
    "state", "nodes", "queue", "returns", "turns", "active", "spent", "revoked", "missed", "misses", "owner",
    "ticks", "audit", "tick", "roll",
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
