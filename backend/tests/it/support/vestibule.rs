//! The edge itself, as a process in front of an office, and somebody who comes through it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::http::{Method, header};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use super::eventually;
use super::http::{Answer, call};
use super::office::Office;
use super::postgres::TestDatabase;

/// The secret that edge and office share for passes, as both read it.
const PASS_SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const PASS_KID: &str = "p";
/// Its cookie.
const PASS: &str = "vestibule_pass_e1";

/// An office that takes the passes of such an edge.
pub(crate) async fn office_behind(
    database: &TestDatabase,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Office {
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(&secret, PASS_SECRET).unwrap();
    let file = secret.path().to_str().unwrap();
    let own = ["--pass-secret-file", file, "--pass-kid", PASS_KID, "--pass-room", "e1"];
    Office::with_variables(database, &[&own, arguments].concat(), variables).await
}

/// A running edge with room `e1`, its queue in memory.
pub(crate) struct Vestibule {
    child: Child,
    folder: TempDir,
    /// `HOST:PORT` for visitors.
    pub address: String,
}

impl Vestibule {
    /// In front of these offices, with these lines for the room.
    pub(crate) async fn before(offices: &[&Office], room: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let (config, report) = (folder.path().join("edge.toml"), folder.path().join("report.json"));
        std::fs::write(&config, settings(offices, room)).unwrap();
        let mut child = Command::new(program())
            .env_clear()
            .envs(variables.iter().copied())
            .args(["run", "--config", config.to_str().unwrap(), "--report", report.to_str().unwrap()])
            .args(["--linger", "0s", "--upgrade-socket"])
            .arg(folder.path().join("upgrade.sock"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let address = eventually("the report of a started edge", 30, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("vestibule ended with {status}: {}", log(folder.path()));
            }
            let report: Value = serde_json::from_str(&std::fs::read_to_string(&report).ok()?).ok()?;
            Some(report["site"].as_str()?.strip_prefix("http://")?.to_owned())
        })
        .await;
        Self { child, folder, address }
    }

    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Somebody who was let in, which a store that has just begun takes some seconds for.
    pub(crate) async fn somebody_inside(&self) -> Visitor {
        eventually("somebody inside", 30, async || {
            let mut visitor = Visitor::of(self);
            visitor.ask(Method::GET, "/api/events", &[], "").await;
            visitor.cookies.contains_key(PASS).then_some(visitor)
        })
        .await
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        eventually("the end of the edge", 20, async || self.child.try_wait().unwrap()).await;
    }
}

impl Drop for Vestibule {
    fn drop(&mut self) {
        // It has ended by itself in some tests.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the edge at {}:\n{}", self.address, self.log());
        }
    }
}

/// A browser's jar, and what it sends with every request.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    pub edge: String,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    pub(crate) fn of(edge: &Vestibule) -> Self {
        Self { edge: edge.address.clone(), ..Self::default() }
    }

    pub(crate) fn has_pass(&self) -> bool {
        self.cookies.contains_key(PASS)
    }

    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let jar: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let jar = jar.join("; ");
        let cookies: &[(&str, &str)] = if jar.is_empty() { &[] } else { &[("cookie", &jar)] };
        let all = [cookies, &[("accept", "application/json")], headers].concat();
        let answer = call(&self.edge, method, path, &all, body).await.expect("an answer of the edge");
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, attributes) = line.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Asks for the standing until it is this one.
    pub(crate) async fn stands(&mut self, state: &str, headers: &[(&str, &str)]) {
        eventually(&format!("a visitor whose state is {state}"), 30, async || {
            let standing = self.ask(Method::GET, "/_queue/status?room=e1", headers, "").await;
            (standing.json["state"] == state).then_some(())
        })
        .await;
    }
}

fn settings(offices: &[&Office], room: &str) -> String {
    let ticket_secret = "A".repeat(43);
    let origins: Vec<String> = offices.iter().map(|office| format!("http://{}", office.address)).collect();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[operator]\nlisten = \"127.0.0.1:0\"\n\
         [[keys]]\nkid = \"t\"\nkind = \"ticket\"\nsecret = \"{ticket_secret}\"\n\
         [[keys]]\nkid = \"{PASS_KID}\"\nkind = \"pass\"\nalg = \"HS256\"\nsecret = \"{PASS_SECRET}\"\n\
         [room.e1]\nupstream = {origins:?}\n{room}\n"
    )
}

/// Beside the program of this crate: cargo builds all of the workspace into one folder.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_box-office")).with_file_name("vestibule");
    assert!(program.is_file(), "{} is not there: `cargo build -p vestibule`", program.display());
    program
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
