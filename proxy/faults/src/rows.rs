//! Every row there is, and the trial in which it plays. Rows of one trial share a fleet and a crowd.

mod attack;
mod database;
mod edges;
mod store;

use crowd::clock::Span;

use crate::fleet::{EDGES, Grounds, Kind, Plan};
use crate::report::Report;
use crate::stage::{Played, Scale, Stage};
use crate::trouble::Trouble;

/// One thing that is done to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    StorePaused,
    LinkCut,
    LinkStalled,
    LinkSlow,
    HalfOpen,
    OneEdgeAway,
    ScriptBusy,
    MemoryFull,
    Flushed,
    StoreKilled,
    Failover,
    NodeKilled,
    EdgeKilled,
    Deploy,
    Clocks,
    DatabaseKilled,
    DatabasePaused,
    Tickets,
    Flood,
    BadClients,
    Mixed,
    Upgrade,
    RollBack,
}

/// Rows that share a fleet and a crowd, in the order in which they play.
#[derive(Debug)]
pub(crate) struct Trial {
    pub name: &'static str,
    pub fleet: Plan,
    pub rows: &'static [Row],
    /// Of the crowd, where it is not what the rows are about.
    share: f64,
}

const HOUR: i64 = 3600;

/// One server, clocks that are right, edges of one release.
const ALIKE: Plan = Plan { kind: Kind::Linked, clocks: [None; EDGES], mixed: false };

/// With the whole crowd.
const fn trial(name: &'static str, kind: Kind, rows: &'static [Row]) -> Trial {
    Trial { name, fleet: Plan { kind, ..ALIKE }, rows, share: 1.0 }
}

pub(crate) const TRIALS: &[Trial] = &[
    trial(
        "outages",
        Kind::Linked,
        &[
            Row::StorePaused,
            Row::LinkCut,
            Row::LinkStalled,
            Row::LinkSlow,
            Row::HalfOpen,
            Row::OneEdgeAway,
            Row::ScriptBusy,
            Row::MemoryFull,
        ],
    ),
    trial("losses", Kind::Linked, &[Row::Flushed, Row::StoreKilled]),
    trial("failover", Kind::Sentinel, &[Row::Failover]),
    trial("cluster", Kind::Cluster, &[Row::NodeKilled]),
    trial("edges", Kind::Linked, &[Row::EdgeKilled, Row::Deploy]),
    Trial {
        fleet: Plan { clocks: [Some(HOUR), Some(-HOUR), None], ..ALIKE },
        ..trial("clocks", Kind::Linked, &[Row::Clocks])
    },
    Trial { share: 0.15, ..trial("database", Kind::Linked, &[Row::DatabaseKilled, Row::DatabasePaused]) },
    Trial { share: 0.15, ..trial("attackers", Kind::Linked, &[Row::Flood, Row::BadClients, Row::Tickets]) },
    Trial {
        fleet: Plan { mixed: true, ..ALIKE },
        ..trial("skew", Kind::Linked, &[Row::Mixed, Row::Upgrade, Row::RollBack])
    },
];

impl Row {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StorePaused => "store-paused",
            Self::LinkCut => "link-cut",
            Self::LinkStalled => "link-stalled",
            Self::LinkSlow => "link-slow",
            Self::HalfOpen => "half-open",
            Self::OneEdgeAway => "one-edge-away",
            Self::ScriptBusy => "script-busy",
            Self::MemoryFull => "memory-full",
            Self::Flushed => "flushed",
            Self::StoreKilled => "store-killed",
            Self::Failover => "failover",
            Self::NodeKilled => "node-killed",
            Self::EdgeKilled => "edge-killed",
            Self::Deploy => "deploy",
            Self::Clocks => "clocks-wrong",
            Self::DatabaseKilled => "database-killed",
            Self::DatabasePaused => "database-paused",
            Self::Tickets => "tickets",
            Self::Flood => "flood",
            Self::BadClients => "bad-clients",
            Self::Mixed => "releases-mixed",
            Self::Upgrade => "upgrade",
            Self::RollBack => "roll-back",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::StorePaused => "Redis is stopped for 5 s (SIGSTOP) and goes on",
            Self::LinkCut => "all connections to Redis are reset, and refused for 5 s",
            Self::LinkStalled => "nothing comes through to or from Redis for 5 s",
            Self::LinkSlow => "Redis is 200 ms away",
            Self::HalfOpen => "the other end of all connections to Redis is gone without a word",
            Self::OneEdgeAway => "one edge hears nothing of Redis for 5 s",
            Self::ScriptBusy => "somebody's endless script holds Redis, until SCRIPT KILL",
            Self::MemoryFull => "Redis has no memory left for 5 s",
            Self::Flushed => "FLUSHALL while all wait and are active",
            Self::StoreKilled => "Redis is killed (SIGKILL) and starts empty after 5 s",
            Self::Failover => "Sentinel promotes a replica that missed the last 1.5 s of writes",
            Self::NodeKilled => "the cluster's node that has the room is killed, its replica takes over",
            Self::EdgeKilled => "one of three edges is killed (SIGKILL) and starts again",
            Self::Deploy => "every edge in turn is told to stop (SIGTERM) and starts again",
            Self::Clocks => "one edge's clock is an hour fast, another's an hour slow",
            Self::DatabaseKilled => "PostgreSQL is killed (SIGKILL) and starts again after 5 s",
            Self::DatabasePaused => "PostgreSQL is stopped for 5 s (SIGSTOP) and goes on",
            Self::Tickets => "tickets are shared, hoarded, spent and replayed, before and after FLUSHALL",
            Self::Flood => "first contacts without cookies while others wait",
            Self::BadClients => "stalled readers, slow heads, huge heads, endless bodies",
            Self::Mixed => "edges of this release and of the one before serve one line",
            Self::Upgrade => "edges of the release before are told to stop (SIGTERM) and start as this one",
            Self::RollBack => "every edge in turn is told to stop (SIGTERM) and starts as the release before",
        }
    }

    pub(crate) async fn play(
        self,
        stage: &mut Stage,
        grounds: &mut Grounds,
        report: &mut Report,
    ) -> Result<(), Trouble> {
        match self {
            Self::StorePaused => store::paused(stage, report).await,
            Self::LinkCut => store::cut(stage, report).await,
            Self::LinkStalled => store::stalled(stage, report).await,
            Self::LinkSlow => store::slow(stage, report).await,
            Self::HalfOpen => store::half_open(stage, report).await,
            Self::OneEdgeAway => store::one_away(stage, report).await,
            Self::ScriptBusy => store::busy(stage, report).await,
            Self::MemoryFull => store::full(stage, report).await,
            Self::Flushed => store::flushed(stage, report).await,
            Self::StoreKilled => store::killed(stage, report).await,
            Self::Failover => store::failover(stage, report).await,
            Self::NodeKilled => store::node_killed(stage, report).await,
            Self::EdgeKilled => edges::killed(stage, report).await,
            Self::Deploy => edges::deploy(stage, report).await,
            Self::Clocks | Self::Mixed => edges::watched(stage, report).await,
            Self::DatabaseKilled => database::killed(stage, grounds, report).await,
            Self::DatabasePaused => database::paused(stage, grounds, report).await,
            Self::Tickets => attack::tickets(stage, report).await,
            Self::Flood => attack::flood(stage, report).await,
            Self::BadClients => attack::bad_clients(stage, report).await,
            Self::Upgrade => edges::upgrade(stage, report).await,
            Self::RollBack => edges::roll_back(stage, report).await,
        }
    }

    /// What only the stories tell, once they are told. `window` is when the row played.
    pub(crate) fn judge(self, played: &Played, window: Span, report: &mut Report) {
        match self {
            Self::EdgeKilled => edges::judge_kill(played, window, report),
            Self::Deploy | Self::Upgrade | Self::RollBack => edges::judge_deploy(played, window, report),
            Self::DatabaseKilled | Self::DatabasePaused => database::judge(played, window, report),
            _ => edges::note_sockets(played, window, report),
        }
    }
}

impl Trial {
    pub(crate) fn needs_previous(&self) -> bool {
        self.fleet.mixed
    }

    pub(crate) fn row(&self, name: &str) -> Option<Row> {
        self.rows.iter().copied().find(|row| row.name() == name)
    }

    pub(crate) fn scale(&self, whole: Scale) -> Scale {
        let of = |number: u64| (number as f64 * self.share).ceil() as u64;
        Scale { waiting: of(whole.waiting), inside: of(whole.inside) }
    }
}
