//! The sections that are about the edge as a whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use room::token::{Alg, Key, KeyError, KeyRing, Kind, Use, secret_from_text};
use tracing::level_filters::LevelFilter;

use super::paths::normal_path;
use super::problem::Problem;
use super::section::Section;
use super::settings::{
    Operator, OperatorToken, RedisSettings, Server, StoreSettings, StoreUrl, Telemetry, Tls, Topology,
    UpstreamUrl,
};

/// `[server]`, and where paths without a room go.
pub(super) fn server(mut section: Section<'_>) -> (Server, Vec<UpstreamUrl>) {
    let listen = section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    let server = Server {
        listen,
        queue_path: queue_path(&mut section),
        trusted_proxies: section.or("trusted_proxies", Vec::<IpNet>::new()),
        proxy_protocol: section.or("proxy_protocol", false),
        public_origin: section.get("public_origin"),
        tls: tls(section.section("tls")),
    };
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        let reason = "`proxy_protocol` needs `trusted_proxies`: nobody else may say who the visitor is";
        section.problem("proxy_protocol", reason);
    }
    let default_upstream = section.or("default_upstream", Vec::<UpstreamUrl>::new());
    for (index, upstream) in default_upstream.iter().enumerate() {
        refuse_loop(&section, "default_upstream", index, upstream, listen);
    }
    section.finish();
    (server, default_upstream)
}

/// Refuses an origin that is the edge itself: each request would come back until all connections are used.
pub(super) fn refuse_loop(
    section: &Section<'_>,
    key: &str,
    index: usize,
    upstream: &UpstreamUrl,
    listen: SocketAddr,
) {
    let is_here = match upstream.host.parse::<std::net::IpAddr>() {
        Ok(address) => address == listen.ip() || address.is_loopback() && listen.ip().is_unspecified(),
        Err(_) => upstream.host == "localhost",
    };
    if is_here && upstream.port == listen.port() && listen.port() != 0 {
        let reason = format!("`{key}` number {} is the edge itself: {upstream}", index + 1);
        section.problem(key, reason);
    }
}

fn queue_path(section: &mut Section<'_>) -> String {
    let Some(given) = section.get::<String>("queue_path") else {
        return "/_queue".to_owned();
    };
    match normal_path(&given) {
        Ok(path) if path == "/" => {
            section.problem("queue_path", "`queue_path` must be more than `/`: the rest belongs to the site");
            path
        }
        Ok(path) => path,
        Err(reason) => {
            section.problem("queue_path", format!("`queue_path` {reason}"));
            given
        }
    }
}

fn tls(mut section: Section<'_>) -> Option<Tls> {
    let present = section.is_present();
    let (cert_file, key_file) = if present {
        (section.required("cert_file", "\"tls/cert.pem\""), section.required("key_file", "\"tls/key.pem\""))
    } else {
        (section.get("cert_file"), section.get("key_file"))
    };
    let folder = section.findings().folder.clone();
    let readable = |key: &str, file: std::path::PathBuf| {
        let path = folder.join(file);
        if let Err(error) = std::fs::File::open(&path) {
            section.problem(key, format!("`{key}`: cannot read {}: {error}", path.display()));
        }
        path
    };
    let cert_file = cert_file.map(|file| readable("cert_file", file));
    let key_file = key_file.map(|file| readable("key_file", file));
    section.finish();
    cert_file.zip(key_file).map(|(cert_file, key_file)| Tls { cert_file, key_file })
}

/// `[store]`; without it the queues live in memory.
pub(super) fn store(mut section: Section<'_>) -> StoreSettings {
    let single = store_url(&mut section).map(|url| Topology::Single { url });
    let sentinel = sentinel(section.section("sentinel"));
    let cluster = section.get::<Vec<StoreUrl>>("cluster").map(|urls| Topology::Cluster { urls });
    if let Some(Topology::Cluster { urls }) = &cluster
        && urls.is_empty()
    {
        section.problem("cluster", "`cluster` needs at least one node");
    }
    let username = section.get("username");
    let password = section.secret("password", "password_file");
    let key_prefix = section.or("key_prefix", "vestibule".to_owned());
    if !is_word(&key_prefix) {
        section.problem("key_prefix", "`key_prefix` must be 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'");
    }
    let timeout = section.or("timeout", Duration::from_millis(250));
    if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&timeout) {
        section.problem("timeout", "`timeout` must be from 10ms to 10s");
    }
    let mut given: Vec<Topology> = [single, sentinel, cluster].into_iter().flatten().collect();
    if given.len() > 1 {
        section.problem("", "[store] takes one of `url`, `sentinel` and `cluster`, not several");
    }
    let needs_one = given.is_empty() && (username.is_some() || password.is_some());
    if needs_one {
        section.problem("", "[store] needs `url`, `sentinel` or `cluster`; leave it out for memory");
    }
    section.finish();
    given.pop().map_or(StoreSettings::Memory, |topology| {
        StoreSettings::Redis(RedisSettings { topology, username, password, key_prefix, timeout })
    })
}

/// An address may carry a password, so it may come from a file too.
fn store_url(section: &mut Section<'_>) -> Option<StoreUrl> {
    let text = section.secret("url", "url_file")?;
    let parsed = StoreUrl::from_str(text.reveal());
    parsed.map_err(|error| section.problem("url", format!("`url` is no address of a Redis: {error}"))).ok()
}

fn sentinel(mut section: Section<'_>) -> Option<Topology> {
    let (urls, master) = if section.is_present() {
        let example = "[\"redis://10.0.0.1:26379\"]";
        (section.required::<Vec<StoreUrl>>("urls", example), section.required("master", "\"mymaster\""))
    } else {
        (section.get("urls"), section.get("master"))
    };
    if urls.as_ref().is_some_and(Vec::is_empty) {
        section.problem("urls", "`urls` needs at least one sentinel");
    }
    section.finish();
    urls.zip(master).map(|(urls, master)| Topology::Sentinel { urls, master })
}

/// `[operator]`.
pub(super) fn operator(mut section: Section<'_>) -> Operator {
    let listen = section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8081)));
    let mut names = BTreeSet::new();
    let mut tokens = Vec::new();
    for entry in section.list("tokens") {
        if let Some(token) = operator_token(entry, &mut names) {
            tokens.push(token);
        }
    }
    section.finish();
    Operator { listen, tokens }
}

fn operator_token(mut section: Section<'_>, names: &mut BTreeSet<String>) -> Option<OperatorToken> {
    let name: Option<String> = section.required("name", "\"alice\"");
    let role = section.required("role", "\"operator\"");
    let example = "\"<64 hexadecimal digits>\" (printf %s TOKEN | sha256sum)";
    let digest: Option<String> = section.required("sha256", example);
    if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
        section.problem(
            "name",
            format!("two tokens are named `{name}`; the audit trail needs to tell them apart"),
        );
    }
    let sha256 = digest.as_deref().map(sha256_from_hex);
    if sha256 == Some(None) {
        let reason = "`sha256` must be 64 hexadecimal digits: the digest of the token, not the token";
        let place = section.place_of("sha256");
        section.findings().problem(Problem::new(place, reason).cure("printf %s TOKEN | sha256sum"));
    }
    section.finish();
    Some(OperatorToken { name: name?, role: role?, sha256: sha256?? })
}

fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// `[[keys]]`: those that make a ring.
pub(super) fn keys(root: &mut Section<'_>) -> Vec<Key> {
    let sections = root.list("keys");
    let places: Vec<_> = sections.iter().map(Section::place).collect();
    let count = sections.len();
    let keys: Vec<Key> = sections.into_iter().filter_map(key).collect();
    if keys.len() < count {
        return keys;
    }
    if let Err(error) = KeyRing::new(&keys) {
        let at = keys.iter().position(|key| is_about(&error, &key.kid));
        let place = at.and_then(|at| places.get(at).cloned()).unwrap_or_else(|| root.place_of("keys"));
        let problem = Problem::new(place, error.to_string());
        root.findings().problem(match error {
            KeyError::Signers(kind, 0) => problem.cure(format!(
                "make a secret with `vestibule keys new > {kind}.key` and add [[keys]] kid = \"{kind}-1\", kind = \
                 \"{kind}\", use = \"sign\", secret_file = \"{kind}.key\""
            )),
            _ => problem,
        });
    }
    keys
}

fn key(mut section: Section<'_>) -> Option<Key> {
    let name: Option<String> = section.required("kid", "\"ticket-1\"");
    let kind: Option<Kind> = section.required("kind", "\"ticket\"");
    let standard = if kind == Some(Kind::Pass) { Alg::EdDsa } else { Alg::Hs256 };
    let alg = section.or("alg", standard);
    let use_ = section.or("use", Use::Sign);
    let text = section.secret("secret", "secret_file");
    if name.as_deref().is_some_and(|name| !is_word(name)) {
        section.problem("kid", "`kid` must be 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'");
    }
    let secret = text.as_ref().map(|text| secret_from_text(text.reveal()));
    match &secret {
        None if !section.has("secret_file") && !section.has("secret") => {
            let problem = Problem::new(section.place(), "the key has neither `secret_file` nor `secret`");
            section.findings().problem(problem.cure("make one with `vestibule keys new`"));
        }
        Some(None) => {
            let key = if section.has("secret_file") { "secret_file" } else { "secret" };
            section
                .problem(key, format!("`{key}` holds no base64url text, as `vestibule keys new` prints it"));
        }
        _ => {}
    }
    section.finish();
    Some(Key { kid: name?, kind: kind?, alg, use_, secret: secret?? })
}

fn is_about(error: &KeyError, kid: &str) -> bool {
    match error {
        KeyError::TooShort(about, _)
        | KeyError::Seed(about)
        | KeyError::Twice(about)
        | KeyError::TicketAlgorithm(about)
        | KeyError::MixedAlgorithms(about)
        | KeyError::SharedSecret(_, about) => about == kid,
        KeyError::Signers(..) | KeyError::Jwks(_) => false,
    }
}

/// `[telemetry]`.
pub(super) fn telemetry(mut section: Section<'_>) -> Telemetry {
    let log_level = section.or("log_level", "info".to_owned());
    let is_level = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    if !log_level.split(',').map(str::trim).all(is_level) {
        let place = section.place_of("log_level");
        let reason = "`log_level` must be off, error, warn, info, debug or trace, also by module";
        section.findings().problem(Problem::new(place, reason).cure("for example \"info,vestibule=debug\""));
    }
    section.finish();
    Telemetry { log_level }
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}
