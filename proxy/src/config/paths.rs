//! Path prefixes, in the one form that requests are compared with.

/// The path in lower case and without a slash at its end, if it is written as the edge sees paths: decoded and
/// resolved. Else what is wrong with it.
pub(super) fn normal_path(path: &str) -> Result<String, &'static str> {
    let Some(inner) = path.strip_prefix('/') else {
        return Err("must start with `/`");
    };
    if path.len() > 1024 {
        return Err("must be at most 1024 bytes long");
    }
    if path.contains('%') {
        return Err("is compared with decoded paths: write the character itself instead of `%…`");
    }
    if path.contains(['?', '#', ';', '\\', ' ', '*']) || path.chars().any(char::is_control) {
        return Err("must be a plain path: no `?`, `#`, `;`, `*`, `\\`, spaces or control characters");
    }
    if inner.is_empty() {
        return Ok(path.to_owned());
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("must be resolved: no `//`, `/./` or `/../`");
    }
    Ok(format!("/{}", inner.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_loses_its_last_slash_and_its_capitals() {
        for (given, normal) in [("/", "/"), ("/sale", "/sale"), ("/Sale/", "/sale"), ("/a/BÄ", "/a/bä")] {
            assert_eq!(normal_path(given).as_deref(), Ok(normal));
        }
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for path in ["", "sale", "//", "/a//b", "/a/../b", "/%61", "/a?b", "/a;b", "/a*"] {
            assert!(normal_path(path).is_err(), "{path}");
        }
    }
}
