//! The program as people start it: arguments, files, signals, exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use room::token::secret_from_text;
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "open sesame";
/// Of [`TOKEN`].
const DIGEST: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

fn vestibule() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.env_clear().env("VESTIBULE_TOKEN", TOKEN);
    command
}

fn run(arguments: &[&str]) -> Output {
    vestibule().args(arguments).output().unwrap()
}

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name);
    path.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that listens. Killed when the test ends, however it ends.
struct Running {
    child: Child,
    log: mpsc::Receiver<String>,
    site: String,
    operator: String,
    folder: TempDir,
}

impl Running {
    /// An edge with one room, whose origin is nobody.
    fn edge(rate: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("vestibule.toml");
        fs::write(&config, settings(rate)).unwrap();
        let config = config.to_str().unwrap().to_owned();
        Self::start(folder, &["run", "--config", &config])
    }

    fn start(folder: TempDir, arguments: &[&str]) -> Self {
        let report = folder.path().join("report.json");
        let mut child = vestibule()
            .args(arguments)
            .args(["--report", report.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { child, log, site: String::new(), operator: String::new(), folder };
        running.until("the report of its addresses", |_| report.exists());
        let addresses: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
        let address =
            |side: &str| addresses[side].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        (running.site, running.operator) = (address("site"), address("operator"));
        running
    }

    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            let in_time = Instant::now() < deadline && ended.is_none();
            assert!(
                in_time,
                "no {what}; ended: {ended:?}; log: {:?}",
                self.log.try_iter().collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn rate(&self) -> Option<u64> {
        let rooms =
            vestibule().args(["rooms", "--json", "--operator"]).arg(self.operator_url()).output().unwrap();
        let rooms: Value = serde_json::from_slice(&rooms.stdout).ok()?;
        rooms["rooms"][0]["new_users_per_minute"].as_u64()
    }

    fn operator_url(&self) -> String {
        format!("http://{}", self.operator)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("vestibule.toml")
    }

    /// The next line of the log that has `part` in it.
    fn logged(&self, part: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("not logged: {part}"));
            if line.contains(part) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The exit code after SIGTERM.
    fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(rate: u32) -> String {
    let secret = |byte: &str| byte.repeat(43);
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[operator]\nlisten = \"127.0.0.1:0\"\n\
         [[operator.tokens]]\nname = \"alice\"\nrole = \"operator\"\nsha256 = \"{DIGEST}\"\n\
         [[keys]]\nkid = \"t\"\nkind = \"ticket\"\nsecret = \"{}\"\n\
         [[keys]]\nkid = \"p\"\nkind = \"pass\"\nsecret = \"{}\"\n\
         [room.e1]\nupstream = [\"http://127.0.0.1:9\"]\nnew_users_per_minute = {rate}\n",
        secret("A"),
        secret("Q").replace("QQQ", "QEB"),
    )
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "Host: localhost\r\nAccept: text/html\r\nConnection: close";
    write!(stream, "GET {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn exit_codes_say_whose_turn_it_is() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["check", &sample("good/smallest.toml")], 0),
        (&["-t", &sample("good/redis.toml")], 0),
        (&[], 64),
        (&["bogus"], 64),
        (&["demo", "--rate", "0"], 64),
        (&["-t", &sample("good/redis.toml"), "--config", "x"], 64),
        (&["room", "set", "NO ROOM", "a=b"], 64),
        (&["ticket", "inspect", "nonsense"], 64),
        (&["run", "--linger", "2h", "--config", "x"], 64),
        (&["run", "--drain", "soon", "--config", "x"], 64),
        (&["check", "no-such-file.toml"], 78),
        (&["-t", &sample("bad/rate-of-zero.toml")], 78),
        (&["run", "--config", &sample("bad/no-keys.toml")], 78),
        (&["--config", &sample("bad/no-keys.toml")], 78),
        (&["rooms", "--operator", "http://127.0.0.1:9"], 69),
        (&["check", "--live", &sample("good/passthrough.toml")], 69),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let output = vestibule()
        .args(["run", "--config", &sample("good/smallest.toml")])
        .env("VESTIBULE__SERVER__LISTEN", "127.0.0.1:0")
        .env("VESTIBULE__OPERATOR__LISTEN", "127.0.0.1:0")
        .env("VESTIBULE__STORE__URL", "redis://edge:hunter2@127.0.0.1:9")
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("127.0.0.1:9") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = vestibule()
        .args(["run", "--config", &sample("good/smallest.toml")])
        .env("VESTIBULE__SERVER__LISTEN", &address)
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{told}");
    assert!(told.contains(&address), "{told}");
}

#[test]
fn new_keys_are_32_bytes_and_never_the_same() {
    let keys = [(); 2].map(|()| text(&run(&["keys", "new"]).stdout));
    assert_ne!(keys[0], keys[1]);
    for key in keys {
        assert_eq!(secret_from_text(&key).map(|secret| secret.len()), Some(32), "{key}");
        assert_eq!(key.lines().count(), 1);
    }
}

#[test]
fn a_token_is_shown_without_being_believed() {
    // Made by hand: header {"alg":"none","typ":"vestibule-pass+jwt"}, claims {"room":"e1","exp":1767225600}.
    let token =
        "eyJhbGciOiJub25lIiwidHlwIjoidmVzdGlidWxlLXBhc3Mrand0In0.eyJyb29tIjoiZTEiLCJleHAiOjE3NjcyMjU2MDB9.";
    let output = run(&["ticket", "inspect", token]);
    let shown = text(&output.stdout);
    for part in ["Nothing is verified", "\"room\": \"e1\"", "expires: 2026-01-01T00:00:00.000Z"] {
        assert!(shown.contains(part), "{part} is not in {shown}{}", text(&output.stderr));
    }
}

#[test]
fn completions_and_manual_come_from_the_same_description() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(text(&run(&["completions", shell]).stdout).contains("vestibule"), "{shell}");
    }
    let manual = text(&run(&["man"]).stdout);
    assert!(manual.starts_with(".ie") && manual.contains(".TH vestibule 1"), "{manual}");
}

#[test]
fn an_edge_says_where_it_is_gets_ready_and_ends_when_told() {
    let mut edge = Running::edge(100);
    edge.until("readiness", |edge| get(&edge.operator, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&edge.operator, "/metrics").contains("vestibule_config_version 1"));
    // The room is empty, so this visitor is let in at once: to an origin that is nobody.
    let answer = get(&edge.site, "/");
    assert!(["502", "503"].iter().any(|status| answer[9..].starts_with(status)), "{answer}");
    assert_eq!(edge.terminate(), Some(0));
}

#[test]
fn a_saved_file_is_in_force_and_a_bad_one_says_why() {
    let mut edge = Running::edge(100);
    fs::write(edge.config(), settings(0)).unwrap();
    let line = edge.logged("the new settings are bad; those in force stay");
    assert!(line["problems"].as_str().unwrap().contains("`new_users_per_minute` is 0"), "{line}");
    assert!(get(&edge.operator, "/metrics").contains("vestibule_config_reload_failures_total 1"));
    assert_eq!(edge.rate(), Some(100));
    fs::write(edge.config(), settings(200)).unwrap();
    edge.until("the new rate", |edge| edge.rate() == Some(200));
    assert!(get(&edge.operator, "/metrics").contains("vestibule_config_version 2"));
    edge.signal("-HUP");
    assert_eq!(edge.logged("new settings are in force")["version"], 2);
    assert_eq!(edge.logged("new settings are in force")["version"], 3);
    fs::write(edge.config(), settings(300).replacen("127.0.0.1:0", "127.0.0.1:1", 1)).unwrap();
    assert_eq!(edge.logged("changes with a restart only")["setting"], "server.listen");
    edge.until("the rest of the file", |edge| edge.rate() == Some(300));
}

#[test]
fn a_room_is_changed_from_the_command_line_until_the_file_says_something_new() {
    let mut edge = Running::edge(100);
    let url = edge.operator_url();
    let change = |arguments: &[&str]| {
        let output = vestibule().arg("room").args(arguments).args(["--operator", &url]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let room = change(&["set", "e1", "new_users_per_minute=500", "message=soon", "--note", "a test"]);
    assert_eq!((room["new_users_per_minute"].as_u64(), room["message"].as_str()), (Some(500), Some("soon")));
    let audit = edge.logged("an operator changed a room");
    assert_eq!((audit["who"].as_str(), audit["note"].as_str()), (Some("alice"), Some("a test")));
    assert_eq!(change(&["pause", "e1", "--reason", "slow"])["paused"]["reason"], "slow");
    for (action, status) in [("resume", "open"), ("close", "closed"), ("open", "open")] {
        assert_eq!(change(&[action, "e1"])["status"], status);
    }
    // Saved with the same limits: what the operator said still counts.
    fs::write(edge.config(), format!("{}burst = 7\n", settings(100))).unwrap();
    edge.logged("new settings are in force");
    assert_eq!(edge.rate(), Some(500));
    fs::write(edge.config(), settings(300)).unwrap();
    edge.until("the file's new rate", |edge| edge.rate() == Some(300));

    let refused = vestibule().args(["room", "set", "e1", "rate=1", "--operator", &url]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert!(text(&refused.stderr).contains("`rate` cannot be changed here"), "{}", text(&refused.stderr));
    let table = text(&vestibule().args(["rooms", "--operator", &url]).output().unwrap().stdout);
    assert!(table.starts_with("ROOM") && table.contains("e1"), "{table}");
}

#[test]
fn the_demo_lets_its_first_visitor_in_to_its_own_origin() {
    let demo = Running::start(tempfile::tempdir().unwrap(), &["demo", "--port", "0", "--seconds", "60"]);
    let page = get(&demo.site, "/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("You are in"), "{page}");
    assert!(page.contains("vestibule_pass_demo="), "{page}");
    assert_eq!(demo.terminate(), Some(0));
}
