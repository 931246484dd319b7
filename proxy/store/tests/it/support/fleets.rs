//! Several Redis processes that work together.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use store::redis::{RedisOptions, Topology};

use super::servers::{LOOK_EVERY, RedisServer, free_port, until};

/// How long servers may take to agree with each other.
const AGREE: Duration = Duration::from_secs(30);
/// How long sentinels may take to act: half a minute of doubt (TILT) after each pause of a busy machine comes on top of
/// the few seconds that a failover takes.
const DECIDED: Duration = Duration::from_secs(100);
pub(crate) const MASTER: &str = "queue";

/// A primary with a replica, watched by three sentinels.
pub(crate) struct Sentinels {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    watchers: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let primary = RedisServer::start_with(port, &["--repl-diskless-sync-delay", "0"]);
        let source = format!("127.0.0.1 {port}");
        let replica = RedisServer::start_with(free_port(), &["--replicaof", &source]);
        until("the replica follows", AGREE, || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let watchers = (0..3).map(|_| RedisServer::start_sentinel(free_port(), MASTER, port));
        let fleet = Self { primary, replica, watchers: watchers.collect() };
        fleet.wait_until_all_know();
        fleet
    }

    fn wait_until_all_know(&self) {
        self.until("all sentinels know each other and the replica", || {
            self.watchers.iter().all(|sentinel| {
                let info = sentinel.cli(&["INFO", "sentinel"]);
                info.contains("slaves=1") && info.contains("sentinels=3") && info.contains("status=ok")
            })
        });
    }

    pub(crate) fn options(&self) -> RedisOptions {
        let urls = self.watchers.iter().map(RedisServer::tcp_url).collect();
        RedisOptions::new(Topology::Sentinel { urls, master: MASTER.into() })
    }

    /// Waits until one of the two servers follows the other.
    fn wait_until_follows(&self, server: &RedisServer) {
        self.until("the other server follows", || {
            let info = server.cli(&["INFO", "replication"]);
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
        self.wait_until_all_know();
    }

    /// Has the sentinels change the roles of two healthy servers.
    pub(crate) fn fail_over(&self) {
        self.until("a sentinel takes the order", || {
            self.watchers[0].cli(&["SENTINEL", "FAILOVER", MASTER]) == "OK"
        });
    }

    /// Has `old` follow `new`, as soon as all sentinels know that `new` leads. They would do it themselves, but only
    /// after ten quiet seconds, or after forty when a busy machine made them doubt their clock (TILT).
    pub(crate) fn demote(&self, old: &RedisServer, new: &RedisServer) {
        let port = new.port().to_string();
        self.until("all sentinels know the new primary", || {
            let leads =
                |sentinel: &RedisServer| sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
            self.watchers.iter().all(|sentinel| leads(sentinel).ends_with(&port))
        });
        assert_eq!(old.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
        self.wait_until_follows(old);
    }

    /// Waits for what the sentinels decide; shows what they wrote when that does not come.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + DECIDED;
        while !condition() {
            assert!(Instant::now() < deadline, "waited {DECIDED:?} in vain: {what}\n{}", self.logs());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn logs(&self) -> String {
        self.watchers.iter().map(RedisServer::log).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn sentinels(&self) -> &[RedisServer] {
        &self.watchers
    }

    pub(crate) fn kill_sentinels(&mut self) {
        self.watchers.iter_mut().for_each(RedisServer::kill);
    }
}

/// Three nodes that share the slots; when one is lost, the others serve theirs.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        ];
        let nodes = (0..3).map(|_| RedisServer::start_with(cluster_port(), &arguments));
        let cluster = Self { nodes: nodes.collect() };
        cluster.create();
        cluster
    }

    fn create(&self) {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .expect("redis-cli");
        assert!(output.status.success(), "no cluster:\n{}", String::from_utf8_lossy(&output.stdout));
        until("all nodes serve", AGREE, || {
            self.nodes.iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
            })
        });
    }

    /// Waits until a node knows all slots to be served.
    pub(crate) fn wait_until_serves(&self, node: usize) {
        until("the node serves", AGREE, || {
            let info = self.nodes[node].cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_fail:0")
        });
    }

    /// Opens a slot for its way from one node to another.
    pub(crate) fn begin_to_move(&self, slot: &str, from: usize, to: usize) {
        let set = |at: usize, state: &str, peer: usize| {
            let peer = self.nodes[peer].cli(&["CLUSTER", "MYID"]);
            assert_eq!(self.nodes[at].cli(&["CLUSTER", "SETSLOT", slot, state, &peer]), "OK");
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
    }

    /// Carries the keys of an open slot over, and closes it.
    pub(crate) fn move_slot(&self, slot: &str, from: usize, to: usize) {
        let port = self.nodes[to].port().to_string();
        for key in self.nodes[from].cli(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]).lines() {
            assert_eq!(self.nodes[from].cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]), "OK");
        }
        let owner = self.nodes[to].cli(&["CLUSTER", "MYID"]);
        for node in [to, from] {
            assert_eq!(self.nodes[node].cli(&["CLUSTER", "SETSLOT", slot, "NODE", &owner]), "OK");
        }
    }

    /// The node that has a slot.
    pub(crate) fn owner(&self, slot: &str) -> usize {
        let has = |node: &RedisServer| !node.cli(&["CLUSTER", "COUNTKEYSINSLOT", slot]).starts_with('0');
        self.nodes.iter().position(has).expect("somebody has keys in the slot")
    }

    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::new(Topology::Cluster { urls: self.nodes.iter().map(RedisServer::tcp_url).collect() })
    }
}

/// The nodes talk to each other on the port 10000 above.
fn cluster_port() -> u16 {
    let is_good = |port: &u16| {
        port.checked_add(10_000).is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok())
    };
    (0..200).map(|_| free_port()).find(is_good).expect("a port whose bus port is free")
}
