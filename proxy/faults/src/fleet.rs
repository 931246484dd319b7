//! A whole fleet of real processes: three edges, their store, the shop behind them.

pub(crate) mod config;
pub(crate) mod edge;
pub(crate) mod redis;
pub(crate) mod shop;

use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::Ask;
use crate::link::Link;
use crate::ports::Ports;
use crate::trouble::Trouble;
use config::{Limits, ROOM, ROOM_KEY, Secrets, StoreTable};
use edge::{Beginning, Edge};
use redis::{Cluster, Redis, Watched};
use shop::Shop;

/// The programs that an edge may run.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    pub this: PathBuf,
    /// The one that is upgraded; the same if there is no other.
    pub previous: PathBuf,
}

/// What all fleets of a run share: the programs, the shop, ports and secrets. Fleets come and go.
#[derive(Debug)]
pub(crate) struct Grounds {
    releases: Releases,
    /// Of every edge, in milliseconds.
    store_timeout: u64,
    folder: PathBuf,
    pub secrets: Secrets,
    pub shop: Shop,
    ports: Ports,
    /// Site and operator ports of the three edges.
    doors: [(u16, u16); EDGES],
    fleets: u32,
}

pub(crate) const EDGES: usize = 3;

/// Which store a fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server, each edge over a fault link of its own.
    Linked,
    Sentinel,
    Cluster,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub(crate) enum Store {
    Linked { redis: Redis, links: Vec<Link> },
    Sentinel { watched: Watched, link: Link },
    Cluster(Cluster),
}

/// What a fleet is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub kind: Kind,
    /// By how many seconds the wall clock of each edge is wrong.
    pub clocks: [Option<i64>; EDGES],
    /// Every other edge is of the release before.
    pub mixed: bool,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub edges: Vec<Edge>,
    pub releases: Releases,
    pub store: Store,
    operator: String,
    pub folder: PathBuf,
}

impl Grounds {
    /// `previous` is the edge of the release before, if there is one.
    pub(crate) async fn open(
        programs: &Path,
        previous: Option<&Path>,
        store_timeout: u64,
        folder: &Path,
    ) -> Result<Self, Trouble> {
        let mut ports = Ports::new();
        let secrets = Secrets::make(programs, folder).await?;
        let doors = [(); EDGES].map(|()| (ports.free(), ports.free()));
        let shop_port = ports.free();
        let shop = Shop::start(programs, folder, shop_port, doors[0].0).await?;
        let this = programs.join("vestibule");
        let previous = previous.map_or_else(|| this.clone(), Path::to_owned);
        let releases = Releases { this, previous };
        let folder = folder.to_owned();
        Ok(Self { releases, store_timeout, folder, secrets, shop, ports, doors, fleets: 0 })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A fleet in perfect health.
    pub(crate) async fn fleet(&mut self, plan: Plan) -> Result<Fleet, Trouble> {
        self.fleets += 1;
        let folder = self.folder.join(format!("fleet-{}", self.fleets));
        std::fs::create_dir(&folder).map_err(Trouble::io(folder.display().to_string()))?;
        let (store, tables) = self.store(plan.kind, &folder).await?;
        let mut edges = Vec::new();
        for (index, ((port, operator), table)) in self.doors.into_iter().zip(&tables).enumerate() {
            let settings =
                config::settings(port, operator, self.shop.port, (table, self.store_timeout), &self.secrets);
            let is_old = plan.mixed && index % 2 == 0;
            let beginning = Beginning {
                name: format!("edge-{}", index + 1),
                port,
                operator,
                settings,
                clock_off_by: plan.clocks.get(index).copied().flatten(),
                file: if is_old { &self.releases.previous } else { &self.releases.this },
                folder: &folder,
            };
            edges.push(Edge::start(beginning).await?);
        }
        let (releases, operator) = (self.releases.clone(), self.secrets.operator.clone());
        Ok(Fleet { edges, releases, store, operator, folder })
    }

    async fn store(&mut self, kind: Kind, folder: &Path) -> Result<(Store, [StoreTable; EDGES]), Trouble> {
        match kind {
            Kind::Linked => {
                let redis = Redis::start("redis", self.ports.free(), folder, &[]).await?;
                let mut links = Vec::new();
                for _ in 0..EDGES {
                    let opened = Link::open(self.ports.free(), redis.port()).await;
                    links.push(opened.map_err(Trouble::io("a fault link"))?);
                }
                let table = |index: usize| {
                    StoreTable::server(links.get(index).map_or(redis.port(), |link: &Link| link.port()))
                };
                let tables = [table(0), table(1), table(2)];
                Ok((Store::Linked { redis, links }, tables))
            }
            Kind::Sentinel => {
                let primary = self.ports.free();
                let opened = Link::open(self.ports.free(), primary).await;
                let link = opened.map_err(Trouble::io("a fault link"))?;
                let ports = &mut || self.ports.free();
                let watched = Watched::start(folder, primary, link.port(), ports).await?;
                let table = StoreTable::watched(&watched);
                Ok((Store::Sentinel { watched, link }, [table.clone(), table.clone(), table]))
            }
            Kind::Cluster => {
                let ports = &mut || self.ports.free_with_bus();
                let cluster = Cluster::start(folder, ROOM_KEY, ports).await?;
                let table = StoreTable::cluster(&cluster);
                Ok((Store::Cluster(cluster), [table.clone(), table.clone(), table]))
            }
        }
    }
}

impl Fleet {
    /// Changes the room by the first edge that takes it.
    pub(crate) async fn tune(&self, limits: Limits) -> Result<(), Trouble> {
        let change =
            json!({ "new_users_per_minute": limits.per_minute, "total_active_users": limits.active });
        let mut refusal = String::new();
        for edge in &self.edges {
            let ask = Ask {
                method: Method::PATCH,
                bearer: Some(self.operator.clone()),
                json: Some(change.clone()),
                ..Ask::get(edge.operator, format!("/api/rooms/{ROOM}"))
            };
            match ask.send().await {
                Ok((StatusCode::OK, _)) => return Ok(()),
                Ok((status, body)) => refusal = format!("{status} {}", String::from_utf8_lossy(&body)),
                Err(trouble) => refusal = trouble.to_string(),
            }
        }
        Err(Trouble::Refused { command: format!("PATCH /api/rooms/{ROOM} {change}"), answer: refusal })
    }

    /// The room's public state, as this edge tells it.
    pub(crate) async fn public_state(&self, edge: &Edge) -> Option<Value> {
        let (status, body) = Ask::get(edge.port, format!("/_queue/rooms/{ROOM}")).send().await.ok()?;
        serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK)
    }

    /// Trouble if an edge is gone that should be there.
    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        self.edges.iter_mut().try_for_each(Edge::check)
    }
}
