//! Is this server fit to keep a queue?

use redis::Value;

use super::link::Link;
use crate::StoreError;

/// Scripts need `#!lua` flags and sharded channels.
const OLDEST_MAJOR: u32 = 7;

/// Refuses a server that is too old, or that would throw away places to make room. A policy `volatile-…` is let
/// pass: no key of ours expires, so none is evicted.
pub(super) async fn servers(link: &Link) -> Result<(), StoreError> {
    let answers = link.command(&redis::cmd("INFO")).await?;
    answers.into_iter().map(text).try_for_each(|text| check(&text))
}

fn check(info: &str) -> Result<(), StoreError> {
    if let Some(version) = field(info, "redis_version")
        && !is_new_enough(version)
    {
        return Err(StoreError::Failed(format!(
            "the store is Redis {version}; it must be {OLDEST_MAJOR}.0 or newer"
        )));
    }
    if let Some(bits) = field(info, "arch_bits")
        && bits != "64"
    {
        return Err(StoreError::Failed(format!(
            "the store is a {bits}-bit server, whose scripts cannot count microseconds; it must be 64-bit"
        )));
    }
    match field(info, "maxmemory_policy") {
        Some(policy) if policy.starts_with("allkeys-") => Err(StoreError::Failed(format!(
            "the store has maxmemory-policy {policy}: it would evict places; set it to noeviction"
        ))),
        Some(policy) if policy != "noeviction" => {
            tracing::warn!(policy, "maxmemory-policy should be noeviction");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_new_enough(version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    // A server that calls itself something else has to show by running the scripts.
    major.is_none_or(|major| major >= OLDEST_MAJOR)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, policy: &str) -> String {
        format!("# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory_policy:{policy}\r\n")
    }

    #[test]
    fn a_server_that_evicts_is_refused_with_the_cure() {
        let error = check(&info("7.0.15", "allkeys-lru")).unwrap_err();
        assert!(error.to_string().contains("set it to noeviction"), "{error}");
        assert!(check(&info("7.0.15", "volatile-lru")).is_ok());
        assert!(check(&info("8.2.1", "noeviction")).is_ok());
    }

    #[test]
    fn a_server_that_is_too_old_or_too_small_is_refused() {
        let error = check(&info("6.2.14", "noeviction")).unwrap_err();
        assert!(error.to_string().contains("7.0 or newer"), "{error}");
        let error = check("redis_version:7.0.15\r\narch_bits:32\r\n").unwrap_err();
        assert!(error.to_string().contains("64-bit"), "{error}");
    }
}
