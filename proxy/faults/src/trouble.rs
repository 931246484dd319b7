//! Why a trial could not be carried out. What a trial finds is no trouble: that is a failed check.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{program} could not be started: {source}; is it installed?")]
    Start { program: String, source: std::io::Error },
    #[error("{name} ended; its last words, from {log}:\n{tail}")]
    Ended { name: String, log: PathBuf, tail: String },
    #[error("waited {limit:?} in vain: {what}")]
    Waited { what: String, limit: Duration },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{url}: {cause}")]
    Call { url: String, cause: String },
    #[error("{command}: {answer}")]
    Refused { command: String, answer: String },
    #[error("no row is called `{0}`; see --list")]
    NoSuchRow(String),
    #[error("`{0}` needs the edge of the release before: --previous FILE; ./scripts/test skew builds one")]
    NoPrevious(String),
}

impl Trouble {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
