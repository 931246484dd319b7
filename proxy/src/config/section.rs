//! Reads one table setting by setting: what was not asked for is unknown, what does not fit is told with its place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::settings::Secret;
use super::tree::{Entry, Node, Place, Table, Value};
use super::value::{Mismatch, Read};

/// Collects what is found while the sections are read.
pub(super) struct Findings {
    /// Relative file names start here.
    pub(super) folder: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
}

impl Findings {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, problems: RefCell::default(), warnings: RefCell::default(), known: RefCell::default() }
    }

    pub(super) fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>, BTreeSet<String>) {
        (self.problems.into_inner(), self.warnings.into_inner(), self.known.into_inner())
    }
}

/// One table, perhaps an absent one.
pub(super) struct Section<'a> {
    /// As people write it: `room.e1.limits`.
    path: String,
    /// With `NAME` for what operators name: `room.NAME.limits`.
    pattern: String,
    table: Option<&'a Table>,
    place: Place,
    asked: Vec<&'static str>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Table, findings: &'a Findings) -> Self {
        Self {
            path: String::new(),
            pattern: String::new(),
            table: Some(table),
            place: Place::Whole,
            asked: Vec::new(),
            findings,
        }
    }

    pub(super) const fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Where `key` (dots lead into tables) has its value; else where the section begins.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let mut table = self.table;
        let mut place = None;
        for part in key.split('.') {
            let Some(entry) = table.and_then(|table| table.get(part)) else {
                break;
            };
            place = Some(entry.node.place.clone());
            table = if let Value::Table(inner) = &entry.node.value { Some(inner) } else { None };
        }
        place.unwrap_or_else(|| self.place())
    }

    pub(super) fn problem(&self, key: &str, reason: impl Into<String>) {
        self.findings.problem(Problem::new(self.place_of(key), reason));
    }

    pub(super) fn warning(&self, key: &str, reason: impl Into<String>) {
        self.findings.warning(Problem::new(self.place_of(key), reason));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub(super) fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// The value of `key`, if it is there and fits.
    pub(super) fn get<T: Read>(&mut self, key: &'static str) -> Option<T> {
        let entry = self.ask(key)?;
        match T::read(&entry.node) {
            Ok(value) => Some(value),
            Err(mismatch) => {
                self.mismatch(key, &entry.node, mismatch);
                None
            }
        }
    }

    pub(super) fn or<T: Read>(&mut self, key: &'static str, default: T) -> T {
        self.get(key).unwrap_or(default)
    }

    /// The value of `key`; `example` shows how to give the one that is missing.
    pub(super) fn required<T: Read>(&mut self, key: &'static str, example: &str) -> Option<T> {
        if self.ask(key).is_some() {
            return self.get(key);
        }
        let missing = format!("{} needs `{key}`", self.shown());
        self.findings
            .problem(Problem::new(self.place(), missing).cure(format!("for example {key} = {example}")));
        None
    }

    /// The value of `key`, or the text of the file that `key_file` names.
    pub(super) fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<Secret> {
        let plain: Option<Secret> = self.get(key);
        let Some(file) = self.get::<PathBuf>(key_file) else {
            return plain;
        };
        if plain.is_some() {
            self.problem(key_file, format!("`{key}` and `{key_file}` are both given; keep one"));
        }
        match read_secret(&self.findings.folder.join(&file)) {
            Ok(text) => Some(Secret::new(text)),
            Err(reason) => {
                self.problem(key_file, format!("`{key_file}`: cannot read {}: {reason}", file.display()));
                None
            }
        }
    }

    /// The table `key`; an absent one reads as empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let entry = self.ask(key);
        let table = entry.and_then(|entry| {
            if let Value::Table(table) = &entry.node.value {
                return Some(table);
            }
            self.mismatch(key, &entry.node, Mismatch::new("a table"));
            None
        });
        let place = entry.map_or_else(|| self.place(), |entry| entry.key.clone());
        self.child(key, key, table, place)
    }

    /// The tables of the list `key`.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.ask(key) else {
            return Vec::new();
        };
        let Value::List(items) = &entry.node.value else {
            self.mismatch(key, &entry.node, Mismatch::new("a list of tables"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            if let Value::Table(table) = &item.value {
                sections.push(self.child(key, key, Some(table), item.place.clone()));
            } else {
                self.mismatch(key, item, Mismatch::new("a list of tables"));
            }
        }
        sections
    }

    /// The tables in the table `key`, each under a name of the operator's choice.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let Some(table) = self.section(key).table else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, entry) in table {
            if let Value::Table(inner) = &entry.node.value {
                let mut section = self.child(key, key, Some(inner), entry.key.clone());
                section.path = format!("{}.{name}", section.path);
                section.pattern.push_str(".NAME");
                sections.push((name.as_str(), section));
            } else {
                let reason = format!("[{key}] holds one table for each name; `{name}` is a value");
                self.findings.problem(Problem::new(entry.key.clone(), reason));
            }
        }
        sections
    }

    /// Tells of every name that nothing asked for.
    pub(super) fn finish(self) {
        let given = self.table.into_iter().flatten();
        for (name, Entry { key, .. }) in given.filter(|(name, _)| !self.asked.contains(&name.as_str())) {
            let reason = format!("unknown setting `{name}` in {}", self.shown());
            let cure = nearest(name, &self.asked).map_or_else(
                || format!("known here: {}", self.asked.join(", ")),
                |nearest| format!("did you mean `{nearest}`?"),
            );
            self.findings.problem(Problem::new(key.clone(), reason).cure(cure));
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            self.findings.known.borrow_mut().insert(joined(&self.pattern, key));
        }
        self.table?.get(key)
    }

    fn mismatch(&self, key: &str, node: &Node, mismatch: Mismatch) {
        let place = mismatch.place.unwrap_or_else(|| node.place.clone());
        let problem = Problem::new(place, format!("`{key}` must be {}", mismatch.expected));
        self.findings.problem(Problem { cure: mismatch.cure, ..problem });
    }

    fn child(&self, path: &str, pattern: &str, table: Option<&'a Table>, place: Place) -> Section<'a> {
        Section {
            path: joined(&self.path, path),
            pattern: joined(&self.pattern, pattern),
            table,
            place,
            asked: Vec::new(),
            findings: self.findings,
        }
    }

    fn shown(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) }
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The known name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// A secret's file is short; something else was named by mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

fn read_secret(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_SECRET_BYTES {
        return Err(format!("it has {size} bytes, more than any secret"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}
