//! PostgreSQL in a temporary folder, on a Unix socket, gone when this process is gone.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Starts the server, and stops it when standard input ends: then the test process is gone, however it went. Its
/// folder goes too, unless a line was written before.
const WATCHDOG: &str = r#"
    programs=$0 folder=$1
    shift
    "$programs/postgres" -D "$folder/data" -k "$folder" -c max_connections=300 -c fsync=off -c shared_buffers=32MB \
        -c log_min_messages=warning "$@" >>"$folder/log" 2>&1 &
    server=$!
    keep=
    while read -r line; do keep=$line; done
    kill -QUIT "$server"
    kill -CONT "$server"
    wait "$server"
    [ -n "$keep" ] || rm -rf "$folder"
"#;

const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// A running server.
pub(crate) struct Postgres {
    folder: TempDir,
    listens: Listens,
    watchdog: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

/// Where else than on its socket.
enum Listens {
    Nowhere,
    /// On a port of this machine; with TLS if there is a certificate in its folder.
    On(u16),
}

/// A database of its own for one test.
#[derive(Debug, Clone)]
pub(crate) struct TestDatabase {
    pub url: String,
}

/// The server that tests share.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

impl Postgres {
    /// A new server with an empty cluster.
    pub(crate) fn start() -> Self {
        Self::new(Listens::Nowhere, &[])
    }

    /// The same, by TCP too. Given a certificate and its key (PEM), it offers TLS.
    pub(crate) fn by_tcp(identity: Option<(&str, &str)>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let files = identity.map(|(certificate, key)| [(CERTIFICATE, certificate), (KEY, key)]);
        Self::new(Listens::On(free), files.as_ref().map_or(&[], |files| &files[..]))
    }

    /// With these files in its folder.
    fn new(listens: Listens, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("box-office-").tempdir_in("/tmp").unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            give_to_server(&path);
        }
        give_to_server(folder.path());
        let initdb = as_server_user(Command::new(programs().join("initdb")).args([
            "--pgdata",
            text(&folder.path().join("data")),
            "--username=shop",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]))
        .output();
        succeeded("initdb", &initdb.unwrap());
        let mut server = Self { folder, listens, watchdog: None, databases: AtomicU32::new(0) };
        server.up();
        server
    }

    /// A second server that follows this one and has every commit before anybody hears of it.
    pub(crate) fn standby(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("box-office-").tempdir_in("/tmp").unwrap();
        give_to_server(folder.path());
        let data = folder.path().join("data");
        let copy = as_server_user(Command::new(programs().join("pg_basebackup")).args([
            "--host",
            text(self.folder.path()),
            "--username=shop",
            "--pgdata",
            text(&data),
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ]))
        .output();
        succeeded("pg_basebackup", &copy.unwrap());
        let mut standby =
            Self { folder, listens: Listens::Nowhere, watchdog: None, databases: AtomicU32::new(0) };
        standby.up();
        let follow = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        for sql in [follow, "SELECT pg_reload_conf()"] {
            succeeded(sql, &self.psql("postgres", sql));
        }
        standby
    }

    /// Makes a standby take writes, whatever became of the server that it followed.
    pub(crate) fn promote(&self) {
        // The new primary waits for no standby of its own.
        for sql in
            ["SELECT pg_promote()", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"]
        {
            succeeded(sql, &self.psql("postgres", sql));
        }
    }

    /// The folder of its socket.
    pub(crate) fn host(&self) -> &str {
        text(self.folder.path())
    }

    /// Starts the server again after [`Postgres::kill`].
    pub(crate) fn up(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, text(&programs()), text(self.folder.path())]).args(self.arguments());
        let mut child = as_server_user(command.stdin(Stdio::piped())).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        self.watchdog = Some((child, stdin));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn arguments(&self) -> Vec<String> {
        let Listens::On(port) = self.listens else { return vec!["-clisten_addresses=".into()] };
        let mut arguments = vec!["-clisten_addresses=127.0.0.1".into(), format!("-cport={port}")];
        let file = |name| self.folder.path().join(name);
        if file(CERTIFICATE).exists() {
            let (certificate, key) = (file(CERTIFICATE), file(KEY));
            arguments.push("-cssl=on".into());
            arguments.push(format!("-cssl_cert_file={}", certificate.display()));
            arguments.push(format!("-cssl_key_file={}", key.display()));
        }
        arguments
    }

    /// Where it listens, by TCP and as the name of its socket.
    pub(crate) fn port(&self) -> u16 {
        match self.listens {
            Listens::Nowhere => 5432,
            Listens::On(port) => port,
        }
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some((mut watchdog, mut stdin)) = self.watchdog.take() {
            stdin.write_all(b"keep\n").unwrap();
            drop(stdin);
            watchdog.wait().unwrap();
        }
    }

    /// Stops every process of the server where it stands: connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    pub(crate) fn database(&self) -> TestDatabase {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        succeeded("createdb", &self.psql("postgres", &format!("CREATE DATABASE {name}")));
        let port = match self.listens {
            Listens::Nowhere => String::new(),
            Listens::On(port) => format!(" port={port}"),
        };
        TestDatabase { url: format!("host={} user=shop dbname={name}{port}", self.folder.path().display()) }
    }

    /// Where programs look for this server: `<folder>/.s.PGSQL.5432`.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    fn signal(&self, signal: &str) {
        let pid_file = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let postmaster = pid_file.lines().next().unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let pids = [postmaster].into_iter().chain(children.split_whitespace());
        // A child that has ended meanwhile is no failure.
        Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status().unwrap();
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let folder = text(self.folder.path());
        let mut command = Command::new(programs().join("psql"));
        let port = self.port().to_string();
        command.args(["-h", folder, "-p", &port, "-U", "shop", "-d", database, "-qAtc", sql]);
        command.output().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

impl TestDatabase {
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) fn name(&self) -> &str {
        self.url.split_once("dbname=").unwrap().1.split_whitespace().next().unwrap()
    }

    /// The same database as somebody else.
    pub(crate) fn as_role(&self, role: &str) -> Self {
        Self { url: self.url.replace("user=shop", &format!("user={role}")) }
    }

    /// The same database by other words: `host=localhost sslmode=require`.
    pub(crate) fn by(&self, words: &str) -> Self {
        let (_socket, rest) = self.url.split_once(' ').unwrap();
        Self { url: format!("{words} {rest}") }
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.connect().await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// The folder of the server programs, which distributions keep off the PATH.
fn programs() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let asked = Command::new("pg_config").arg("--bindir").output().ok();
            let told = asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
            let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
            let installed = versions.map(|version| version.path().join("bin"));
            let candidates =
                told.into_iter().chain(installed).filter(|folder| folder.join("initdb").is_file());
            candidates.max().expect("PostgreSQL's server programs (initdb, postgres) are needed")
        })
        .clone()
}

/// PostgreSQL refuses to run as root: then it runs as `postgres`.
fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("a user `postgres`")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn give_to_server(path: &Path) {
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn as_server_user(command: &mut Command) -> &mut Command {
    match server_user() {
        Some((uid, gid)) => command.uid(uid).gid(gid).current_dir("/tmp"),
        None => command,
    }
}

fn succeeded(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
