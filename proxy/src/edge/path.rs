//! One meaning for every path, before anything is matched against it.
//!
//! Origins disagree about `%2f`, `//`, `..`, `;params` and letter case. Whoever wants to pass the gate looks for a
//! spelling that the edge reads as one place and the origin as another. So a path gets one canonical form for
//! matching, which is generous (it catches every spelling that *some* origin takes for the same place), and where
//! two readings would really differ the request is refused.

/// A path with one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// For matching only: decoded once, lower case, without empty segments, dot segments and `;params`.
    pub canonical: String,
    /// What is forwarded instead of what came: set where the edge resolved dot segments or leading slashes, so that
    /// the origin is asked for the place that was matched. Still percent-encoded.
    pub rewritten: Option<Vec<u8>>,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not start with a slash")]
    NotAbsolute,
    #[error("the path has a control character, a space, `#` or a backslash")]
    Forbidden,
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    Escape,
    #[error("the decoded path is not UTF-8")]
    NotUtf8,
    #[error("the path leads above the root")]
    AboveRoot,
    #[error("dot segments beside encoded slashes, doubled slashes or `;params` have no single meaning")]
    Ambiguous,
}

/// Reads a path as it stood in the request line, without query.
pub fn normalise(raw: &[u8]) -> Result<Path, PathError> {
    if let Some(canonical) = plain(raw) {
        return Ok(Path { canonical, rewritten: None });
    }
    let rest = raw.strip_prefix(b"/").ok_or(PathError::NotAbsolute)?;
    let segments = rest.split(|byte| *byte == b'/').map(Segment::read).collect::<Result<Vec<_>, _>>()?;
    if segments.iter().any(Segment::is_dots) {
        return resolve(&segments);
    }
    let leading = segments.iter().take_while(|segment| segment.raw.is_empty()).count();
    let dropped = leading.min(segments.len().saturating_sub(1));
    let rewritten = (dropped > 0).then(|| join_raw(segments.get(dropped..).unwrap_or_default()));
    Ok(Path { canonical: canonical(&segments), rewritten })
}

/// The canonical form of nearly all paths: what came.
fn plain(raw: &[u8]) -> Option<String> {
    let mut before = 0;
    for &byte in raw {
        let fits = match byte {
            b'/' | b'.' => before != b'/',
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b',' | b'@' | b':' => true,
            _ => false,
        };
        if !fits {
            return None;
        }
        before = byte;
    }
    let text = std::str::from_utf8(raw).ok()?;
    text.starts_with('/').then(|| text.to_owned())
}

/// What stands between two slashes.
struct Segment<'a> {
    raw: &'a [u8],
    /// Decoded once, without `;params`.
    name: String,
    has_params: bool,
}

impl<'a> Segment<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, PathError> {
        let mut parts = raw.splitn(2, |byte| *byte == b';');
        let name = decode(parts.next().unwrap_or_default())?;
        let params = parts.next().map(decode).transpose()?;
        Ok(Self { raw, name, has_params: params.is_some() })
    }

    /// Whether it has a dot segment, be it behind an encoded slash.
    fn is_dots(&self) -> bool {
        self.name.split('/').any(|name| name == "." || name == "..")
    }

    fn is_simple(&self) -> bool {
        !(self.name.contains('/') || self.is_dots() && self.has_params)
    }
}

fn decode(raw: &[u8]) -> Result<String, PathError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => escaped(&mut bytes)?,
            b' ' | b'#' => return Err(PathError::Forbidden),
            byte => byte,
        };
        if byte.is_ascii_control() || byte == b'\\' {
            return Err(PathError::Forbidden);
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, PathError> {
    let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(PathError::Escape);
    let value = digit()? << 4 | digit()?;
    u8::try_from(value).map_err(|_| PathError::Escape)
}

/// Resolves dot segments (RFC 3986 §5.2.4), where every server would resolve them alike.
fn resolve(segments: &[Segment<'_>]) -> Result<Path, PathError> {
    let last = segments.len().saturating_sub(1);
    let doubled = segments.iter().take(last).any(|segment| segment.name.is_empty());
    if doubled || !segments.iter().all(Segment::is_simple) {
        return Err(PathError::Ambiguous);
    }
    let mut kept: Vec<Segment<'_>> = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        match segment.name.as_str() {
            "." => {}
            ".." => drop(kept.pop().ok_or(PathError::AboveRoot)?),
            name => kept.push(Segment { raw: segment.raw, name: name.to_owned(), has_params: false }),
        }
        if index == last && segment.is_dots() {
            kept.push(Segment { raw: b"", name: String::new(), has_params: false });
        }
    }
    Ok(Path { canonical: canonical(&kept), rewritten: Some(join_raw(&kept)) })
}

fn canonical(segments: &[Segment<'_>]) -> String {
    let mut path = String::with_capacity(64);
    for name in segments.iter().flat_map(|segment| segment.name.split('/')).filter(|name| !name.is_empty()) {
        path.push('/');
        path.push_str(&name.to_lowercase());
    }
    let ends_open =
        segments.last().is_none_or(|segment| segment.name.is_empty() || segment.name.ends_with('/'));
    if ends_open {
        path.push('/');
    }
    path
}

fn join_raw(segments: &[Segment<'_>]) -> Vec<u8> {
    let mut path = Vec::with_capacity(64);
    for segment in segments {
        path.push(b'/');
        path.extend_from_slice(segment.raw);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical_of(raw: &str) -> Result<String, PathError> {
        normalise(raw.as_bytes()).map(|path| path.canonical)
    }

    fn forwarded(raw: &str) -> String {
        let path = normalise(raw.as_bytes()).unwrap();
        String::from_utf8(path.rewritten.unwrap_or_else(|| raw.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn every_spelling_of_a_place_has_one_canonical_form() {
        for raw in [
            "/buy/now",
            "/BUY/Now",
            "/%62uy/now",
            "/buy%2fnow",
            "/buy%2Fnow",
            "//buy/now",
            "/buy//now",
            "///buy///now",
            "/./buy/now",
            "/buy/./now",
            "/x/../buy/now",
            "/buy/x/%2e%2e/now",
            "/buy/%2E/now",
            "/buy;a=1/now;b=2",
            "/buy;/now",
        ] {
            assert_eq!(canonical_of(raw).as_deref(), Ok("/buy/now"), "{raw}");
        }
    }

    #[test]
    fn a_slash_at_the_end_is_kept() {
        for (raw, path) in
            [("/", "/"), ("/buy/", "/buy/"), ("/buy/.", "/buy/"), ("/buy/x/..", "/buy/"), ("//", "/")]
        {
            assert_eq!(canonical_of(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    #[test]
    fn what_has_no_single_meaning_is_refused() {
        for (raw, error) in [
            ("buy", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/a\\b", PathError::Forbidden),
            ("/a%5cb", PathError::Forbidden),
            ("/a%00", PathError::Forbidden),
            ("/a%0d%0ab", PathError::Forbidden),
            ("/a#b", PathError::Forbidden),
            ("/a\tb", PathError::Forbidden),
            ("/a%", PathError::Escape),
            ("/a%2", PathError::Escape),
            ("/a%zz", PathError::Escape),
            ("/a%+1", PathError::Escape),
            ("/%ff", PathError::NotUtf8),
            ("/%c0%ae", PathError::NotUtf8),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/static/..;/buy", PathError::Ambiguous),
            ("/static/.;x/buy", PathError::Ambiguous),
            ("/static%2f..%2fbuy", PathError::Ambiguous),
            ("/buy%2f..%2fstatic", PathError::Ambiguous),
            ("/a//../buy", PathError::Ambiguous),
            ("/a%2fb/../buy", PathError::Ambiguous),
        ] {
            assert_eq!(canonical_of(raw), Err(error), "{raw}");
        }
        assert_eq!(normalise(b"/\xff").map(|path| path.canonical), Err(PathError::NotUtf8));
    }

    #[test]
    fn the_origin_is_asked_for_the_place_that_was_matched() {
        for (raw, sent) in [
            ("/buy/%4eow", "/buy/%4eow"),
            ("/img//cdn", "/img//cdn"),
            ("/static/../Buy%20it", "/Buy%20it"),
            ("//static/buy", "/static/buy"),
            ("/a/./b/", "/a/b/"),
            ("/a/..", "/"),
            ("//", "/"),
        ] {
            assert_eq!(forwarded(raw), sent, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = normalise(&raw) {
                prop_assert!(path.canonical.starts_with('/'));
                prop_assert!(!path.canonical.contains("//"));
                let dots = path.canonical.split('/').any(|segment| segment == "." || segment == "..");
                prop_assert!(!dots);
            }
        }

        #[test]
        fn what_is_forwarded_means_what_was_matched(raw in "(/[a-zA-Z.%2ef;/]{0,6}){1,4}") {
            if let Ok(path) = normalise(raw.as_bytes()) {
                let again = normalise(&path.rewritten.clone().unwrap_or(raw.into_bytes())).unwrap();
                prop_assert_eq!(again.canonical, path.canonical);
                prop_assert!(path.rewritten.is_none_or(|sent| again.rewritten.is_none_or(|twice| twice == sent)));
            }
        }

        #[test]
        fn encoding_any_letter_changes_nothing(path in "(/[a-z0-9]{1,6}){1,4}", picks in any::<u64>()) {
            let spelled: String = path
                .char_indices()
                .map(|(at, c)| match (picks >> (at % 64) & 1, c) {
                    (1, c) if c != '/' => format!("%{:02X}", u32::from(c)),
                    (_, c) => c.to_string(),
                })
                .collect();
            prop_assert_eq!(canonical_of(&spelled).unwrap(), path);
        }
    }
}
