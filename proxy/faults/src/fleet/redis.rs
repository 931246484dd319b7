//! Redis in all its forms: one server, a primary with a replica and sentinels, a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Process, Program};
use crate::trouble::Trouble;
use crate::wait::until;

/// One server without persistence: what is killed comes back empty.
#[derive(Debug)]
pub(crate) struct Redis {
    name: String,
    port: u16,
    program: Program,
    logs: PathBuf,
    process: Process,
}

/// How long a server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);

impl Redis {
    pub(crate) async fn start(name: &str, port: u16, folder: &Path, more: &[&str]) -> Result<Self, Trouble> {
        let home = folder.join(name);
        std::fs::create_dir_all(&home).map_err(Trouble::io(home.display().to_string()))?;
        let port_text = port.to_string();
        let mut args = vec!["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        args.extend(["--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"]);
        args.extend(more);
        let program = Program { folder: Some(home), ..Program::new("redis-server", &args) };
        Self::of(name, port, program, folder).await
    }

    /// The same program, watching over a primary.
    pub(crate) async fn sentinel(
        name: &str,
        port: u16,
        folder: &Path,
        primary: u16,
    ) -> Result<Self, Trouble> {
        let home = folder.join(name);
        std::fs::create_dir_all(&home).map_err(Trouble::io(home.display().to_string()))?;
        let config = format!(
            "port {port}\nbind 127.0.0.1\n\
             sentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} {NEVER}\n"
        );
        let file = home.join("sentinel.conf");
        std::fs::write(&file, config).map_err(Trouble::io(file.display().to_string()))?;
        let program =
            Program { folder: Some(home), ..Program::new("redis-server", &["sentinel.conf", "--sentinel"]) };
        Self::of(name, port, program, folder).await
    }

    async fn of(name: &str, port: u16, program: Program, logs: &Path) -> Result<Self, Trouble> {
        let process = Process::start(name, &program, logs)?;
        let mut redis = Self { name: name.to_owned(), port, program, logs: logs.to_owned(), process };
        redis.answers().await?;
        Ok(redis)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the process as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again, empty, and waits until it answers.
    pub(crate) async fn restart(&mut self) -> Result<(), Trouble> {
        self.process = Process::start(&self.name, &self.program, &self.logs)?;
        self.answers().await
    }

    /// Stops and continues the process, as an overloaded machine would.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// What `redis-cli` prints for a command; an error of the server is trouble.
    pub(crate) async fn cli(&self, args: &[&str]) -> Result<String, Trouble> {
        let port = self.port.to_string();
        let mut words = vec!["-e", "-p", &port];
        words.extend(args);
        Program::new("redis-cli", &words).output().await
    }

    /// A field of `INFO`.
    pub(crate) async fn info(&self, field: &str) -> Result<String, Trouble> {
        let info = self.cli(&["INFO"]).await?;
        let line = info.lines().find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(':'));
        Ok(line.unwrap_or_default().to_owned())
    }

    /// Keys of all rooms together.
    pub(crate) async fn keys(&self) -> Result<u64, Trouble> {
        Ok(self.cli(&["DBSIZE"]).await?.parse().unwrap_or_default())
    }

    async fn answers(&mut self) -> Result<(), Trouble> {
        until(&format!("{} answers", self.name), START, async || self.cli(&["PING"]).await.is_ok()).await?;
        self.process.check()
    }
}

/// The name that sentinels know the primary by.
pub(crate) const MASTER: &str = "vestibule";

/// `failover-timeout` of the sentinels, in milliseconds. After as long they make a replica follow its primary by the
/// address that they know: past our link, and then no write would be lost.
const NEVER: u32 = 3_600_000;
/// What it is once the primary is gone: a vote without a winner is repeated soon.
const VOTE_AGAIN: &str = "4000";

/// A primary, its replica, and three sentinels.
#[derive(Debug)]
pub(crate) struct Watched {
    pub primary: Redis,
    pub replica: Redis,
    pub sentinels: Vec<Redis>,
}

impl Watched {
    /// The replica follows over `link`, so that it can be parted from its primary.
    pub(crate) async fn start(
        folder: &Path,
        primary: u16,
        link: u16,
        ports: &mut dyn FnMut() -> u16,
    ) -> Result<Self, Trouble> {
        let primary = Redis::start("primary", primary, folder, &[]).await?;
        let link = link.to_string();
        let replica = Redis::start("replica", ports(), folder, &["--replicaof", "127.0.0.1", &link]).await?;
        until("the replica follows", START, async || {
            replica.info("master_link_status").await.is_ok_and(|status| status == "up")
        })
        .await?;
        let mut sentinels = Vec::new();
        for number in 1..=3 {
            let name = format!("sentinel-{number}");
            sentinels.push(Redis::sentinel(&name, ports(), folder, primary.port()).await?);
        }
        let watched = Self { primary, replica, sentinels };
        until("the sentinels know each other and the replica", START, async || watched.is_whole().await)
            .await?;
        Ok(watched)
    }

    async fn is_whole(&self) -> bool {
        for sentinel in &self.sentinels {
            let known = sentinel.cli(&["SENTINEL", "MASTER", MASTER]).await.unwrap_or_default();
            let field = |name: &str| {
                known.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned).unwrap_or_default()
            };
            if field("num-other-sentinels") != "2" || field("num-slaves") != "1" {
                return false;
            }
        }
        true
    }

    /// Bytes of writes that the replica has not got; trouble while one of them does not say.
    pub(crate) async fn lag(&self) -> Result<u64, Trouble> {
        let primary = offset(&self.primary, "master_repl_offset").await?;
        let replica = offset(&self.replica, "slave_repl_offset").await?;
        Ok(primary.saturating_sub(replica))
    }

    /// The primary dies, for good.
    pub(crate) async fn kill_primary(&mut self) -> Result<(), Trouble> {
        self.primary.kill().await;
        for sentinel in &self.sentinels {
            sentinel.cli(&["SENTINEL", "SET", MASTER, "failover-timeout", VOTE_AGAIN]).await?;
        }
        Ok(())
    }

    /// Whether the sentinels have made the replica the primary.
    pub(crate) async fn has_failed_over(&self) -> bool {
        self.replica.info("role").await.is_ok_and(|role| role == "master")
    }
}

async fn offset(redis: &Redis, field: &str) -> Result<u64, Trouble> {
    let told = redis.info(field).await?;
    told.parse()
        .map_err(|_| Trouble::Refused { command: format!("INFO {field} of {}", redis.name), answer: told })
}

/// Three nodes that share the slots, and a replica of the one that has the room's.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub nodes: Vec<Redis>,
    pub replica: Redis,
    /// Of `nodes`: the one that has the room's keys.
    pub home: usize,
}

impl Cluster {
    pub(crate) async fn start(
        folder: &Path,
        key: &str,
        ports: &mut dyn FnMut() -> u16,
    ) -> Result<Self, Trouble> {
        let mode = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let all = [&mode[..], &["--cluster-require-full-coverage", "no"]].concat();
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(Redis::start(&format!("node-{number}"), ports(), folder, &all).await?);
        }
        let replica = Redis::start("node-replica", ports(), folder, &all).await?;
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let create =
            [&["--cluster", "create"], &addresses.iter().map(String::as_str).collect::<Vec<_>>()[..]]
                .concat();
        Program::new("redis-cli", &[&create[..], &["--cluster-yes"]].concat()).output().await?;
        let mut cluster = Self { nodes, replica, home: 0 };
        cluster.find_home(key).await?;
        cluster.follow_home().await?;
        Ok(cluster)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes
            .iter()
            .chain([&self.replica])
            .map(|node| format!("redis://127.0.0.1:{}", node.port()))
            .collect()
    }

    pub(crate) async fn kill_home(&mut self) {
        if let Some(home) = self.nodes.get_mut(self.home) {
            home.kill().await;
        }
    }

    /// Whether the replica has taken the slots of its primary.
    pub(crate) async fn has_failed_over(&self) -> bool {
        let master = self.replica.info("role").await.is_ok_and(|role| role == "master");
        let up = self.replica.cli(&["CLUSTER", "INFO"]).await;
        master && up.is_ok_and(|info| info.contains("cluster_state:ok"))
    }

    /// The node that answers for `key` instead of sending us elsewhere.
    async fn find_home(&mut self, key: &str) -> Result<(), Trouble> {
        for (index, node) in self.nodes.iter().enumerate() {
            let answered = async || node.cli(&["EXISTS", key]).await.is_ok();
            let joined = async || {
                node.cli(&["CLUSTER", "INFO"]).await.is_ok_and(|info| info.contains("cluster_state:ok"))
            };
            until("every node knows the cluster", START, joined).await?;
            if answered().await {
                self.home = index;
            }
        }
        Ok(())
    }

    async fn follow_home(&self) -> Result<(), Trouble> {
        let Some(home) = self.nodes.get(self.home) else { return Ok(()) };
        let met = self.replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &home.port().to_string()]).await?;
        let id = home.cli(&["CLUSTER", "MYID"]).await?;
        let follows = async || self.replica.cli(&["CLUSTER", "REPLICATE", &id]).await.is_ok();
        until(&format!("the replica knows its primary ({met})"), START, follows).await?;
        let up = async || self.replica.info("master_link_status").await.is_ok_and(|status| status == "up");
        until("the replica follows", START, up).await?;
        Ok(())
    }
}
