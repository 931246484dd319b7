//! What a failed call means: for its connection, and for whoever made it.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::breaker::Refusal;
use crate::StoreError;

/// Why an attempt failed.
pub(super) enum Failure {
    /// No answer before the deadline.
    Late,
    Redis(RedisError),
}

impl Failure {
    /// The connection is lost, or leads to a server that is no longer the one to ask: another may do better.
    pub(super) fn is_dead(&self) -> bool {
        match self {
            Self::Late => false,
            Self::Redis(error) => !error.is_timeout() && (error.is_io_error() || is_misled(error)),
        }
    }

    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Late => true,
            Self::Redis(error) => error.is_timeout(),
        }
    }

    /// The server does nothing for anybody now, or cannot be heard. Otherwise it is there, whatever it says about one
    /// room.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Late => true,
            Self::Redis(error) => is_away(error),
        }
    }

    pub(super) fn moved(&self) -> Option<Moved<'_>> {
        let Self::Redis(error) = self else {
            return None;
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => error.redirect_node().map(|(to, _)| Moved::To(to)),
            ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain) => Some(Moved::Half),
            _ => None,
        }
    }

    pub(super) fn explain(&self, address: &str, timeout: Duration) -> StoreError {
        match self {
            Self::Redis(error) if !error.is_timeout() => explain(address, error),
            Self::Late | Self::Redis(_) => StoreError::TimedOut(timeout),
        }
    }
}

/// Where a room of a cluster went.
pub(super) enum Moved<'a> {
    /// To the server at this address.
    To(&'a str),
    /// Some of its keys are at another server and some are not, so no script can run at either.
    Half,
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Open { down_for: refusal.since.elapsed(), retry_in: refusal.retry_in, cause: refusal.cause }
    }
}

pub(super) fn unreachable(address: &str, error: &RedisError) -> StoreError {
    StoreError::Unreachable { address: address.into(), cause: words(error) }
}

fn explain(address: &str, error: &RedisError) -> StoreError {
    if error.code() == Some("OOM") {
        return StoreError::Full;
    }
    let is_nowhere = error.is_cluster_error();
    if is_nowhere || is_away(error) { unreachable(address, error) } else { StoreError::Failed(words(error)) }
}

/// What the server said, as it said it.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Nothing can be asked of this server now, and that is nobody's mistake.
fn is_away(error: &RedisError) -> bool {
    error.is_io_error()
        || is_misled(error)
        || error.code() == Some("BUSY")
        || matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::BusyLoading)
        )
}

/// A replica, or a primary that has lost its own.
fn is_misled(error: &RedisError) -> bool {
    error.code() == Some("NOREPLICAS")
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}
