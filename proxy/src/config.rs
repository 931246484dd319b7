//! From a TOML file and the environment to [`settings::Settings`]: parsed once, refused whole.
//!
//! `tree` keeps the place of every value, `section` reads settings one by one and tells of unknown ones, `read` and
//! `rooms` say which settings there are, `problem` shows what is wrong. `reload` is the only one that changes
//! settings while the edge runs.

mod address;
mod checks;
mod paths;
mod problem;
mod read;
pub mod reload;
mod rooms;
mod routes;
mod section;
pub mod settings;
mod tree;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use self::address::AddressError;
pub use self::problem::ConfigError;
use self::problem::{Problem, Source};
use self::section::{Findings, Section};
use self::settings::{Routes, Settings};
use self::tree::Place;

/// Longer files are not read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where settings come from; can be read again.
#[derive(Debug, Clone)]
pub struct SettingsSource {
    from: From,
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum From {
    File(PathBuf),
    Text { name: String, text: String },
}

impl SettingsSource {
    /// A file, and the `VESTIBULE__…` variables of this process.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let ours = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables =
            std::env::vars_os().filter_map(ours).filter(|(name, _)| name.starts_with(tree::PREFIX));
        Self { from: From::File(path.into()), variables: variables.collect() }
    }

    /// Settings made by this program; `name` appears in messages. The environment does not count.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { from: From::Text { name: name.into(), text: text.into() }, variables: BTreeMap::new() }
    }

    /// The same source with these variables instead of the process's own.
    #[must_use]
    pub fn with_variables(self, variables: BTreeMap<String, String>) -> Self {
        Self { variables, ..self }
    }

    /// The file to watch.
    pub fn path(&self) -> Option<&Path> {
        match &self.from {
            From::File(path) => Some(path),
            From::Text { .. } => None,
        }
    }

    /// The text of the file as it is now, if it can be read.
    fn raw(&self) -> Option<String> {
        self.path().and_then(|path| read_file(path).ok())
    }

    /// Reads and checks everything.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        match &self.from {
            From::Text { name, text } => parse(name, text, Path::new(""), &self.variables),
            From::File(path) => {
                let name = path.display().to_string();
                let text = read_file(path).map_err(|reason| {
                    let source = Source { name: &name, text: "" };
                    ConfigError::new(&source, vec![Problem::new(Place::Whole, reason)])
                })?;
                parse(&name, &text, path.parent().unwrap_or(Path::new("")), &self.variables)
            }
        }
    }
}

/// Valid settings, and what a careful person would say about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// One text per doubt, with its place.
    pub warnings: Vec<String>,
    /// Every setting that could have been given, like `room.NAME.limits.per_client.burst`.
    pub known: BTreeSet<String>,
}

/// Reads settings from `text`. `name` stands for the file in messages; names of files in it are relative to
/// `folder`; `variables` are environment variables, of which `VESTIBULE__…` count.
pub fn parse(
    name: &str,
    text: &str,
    folder: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<Loaded, ConfigError> {
    let source = Source { name, text };
    let mut tree = tree::parse(text).map_err(|problems| ConfigError::new(&source, problems))?;
    let findings = Findings::new(folder.to_owned());
    for problem in tree::overlay(&mut tree, variables) {
        findings.problem(problem);
    }
    let settings = read(Section::root(&tree, &findings));
    let (problems, warnings, known) = findings.into_parts();
    if !problems.is_empty() {
        return Err(ConfigError::new(&source, problems));
    }
    Ok(Loaded { settings, warnings: warnings.iter().map(|warning| source.render(warning)).collect(), known })
}

fn read(mut root: Section<'_>) -> Settings {
    let (server, default_upstream) = read::server(root.section("server"));
    let store = read::store(root.section("store"));
    let operator = read::operator(root.section("operator"));
    let telemetry = read::telemetry(root.section("telemetry"));
    let keys = read::keys(&mut root);
    let rooms = rooms::rooms(&mut root, &server);
    let routes = Routes::new(&rooms);
    let settings =
        Settings { server, store, operator, keys, telemetry, rooms, routes, default_upstream, version: 1 };
    checks::check(&root, &settings);
    root.finish();
    settings
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read it: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it has {size} bytes; settings have at most {MAX_FILE_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}

/// Settings for tests of other modules: `text` with keys added.
#[cfg(test)]
pub(crate) fn sample(text: &str) -> Settings {
    const KEYS: &str = r#"
        [[keys]]
        kid = "ticket-1"
        kind = "ticket"
        secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        [[keys]]
        kid = "pass-1"
        kind = "pass"
        secret = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    "#;
    let text = format!("{text}\n{KEYS}");
    parse("sample.toml", &text, Path::new(""), &BTreeMap::new()).expect("a valid sample").settings
}
