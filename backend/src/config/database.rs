//! `DB_URL`: where PostgreSQL is, and how sure a connection to it must be.
//!
//! Of libpq's parameters `sslmode` and `sslrootcert` are read here; all others are read by `tokio_postgres`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::db::tls::{Mode, Tls};
use crate::db::whole;

/// The value of `sslrootcert` that means whom this machine trusts.
const SYSTEM: &str = "system";

/// Where PostgreSQL is.
#[derive(Debug, Clone)]
pub struct Database {
    pub connect: Config,
    pub tls: Tls,
    pub pool_size: usize,
}

/// What is wrong with `DB_URL`.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("DB_URL is not a PostgreSQL address: {}", whole(.0))]
    Address(#[source] tokio_postgres::Error),
    #[error("DB_URL names no host; give one, or a folder with the server's socket (host=/run/postgresql)")]
    NoHost,
    #[error(
        "DB_URL: sslmode is to be disable, prefer, require, verify-ca or verify-full, in lowercase; it is `{0}`"
    )]
    Mode(String),
    #[error(
        "DB_URL: sslmode={0} with sslrootcert=system proves nothing, as anybody gets a certificate of a public CA; \
         say verify-full, or name the file of a CA"
    )]
    WeakSystem(&'static str),
    #[error("DB_URL: sslrootcert {0} is to be a PEM file with the certificate of the server's CA: {1}")]
    Roots(PathBuf, #[source] pem::Error),
    #[error("DB_URL: this machine trusts no CA ({0}); name the file of the server's: sslrootcert=FILE")]
    System(String),
    #[error("TLS to PostgreSQL cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
}

/// What the two parameters say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    mode: Option<String>,
    roots: Option<String>,
}

impl Database {
    /// `postgres://…` or `host=… user=… dbname=…`.
    ///
    /// Without `sslmode`, servers on this machine are spoken to without TLS, all others are verified in full.
    pub fn parse(text: &str, pool_size: usize) -> Result<Self, DatabaseError> {
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        let (rest, wanted) = if is_url { of_url(text) } else { of_pairs(text) };
        let connect: Config = rest.parse().map_err(DatabaseError::Address)?;
        if connect.get_hosts().is_empty() && connect.get_hostaddrs().is_empty() {
            return Err(DatabaseError::NoHost);
        }
        let mode = wanted.mode(&connect)?;
        let tls = Tls::new(mode, wanted.roots(mode)?).map_err(DatabaseError::Tls)?;
        Ok(Self { connect, tls, pool_size })
    }

    /// The addresses tried, without secrets: `127.0.0.1:5432`, `/run/postgresql/.s.PGSQL.5432`.
    pub fn address(&self) -> String {
        let ports = self.connect.get_ports();
        let hosts = self.connect.get_hosts();
        let addresses = self.connect.get_hostaddrs();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let named = hosts.iter().enumerate().map(|(index, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            Host::Unix(folder) => format!("{}/.s.PGSQL.{}", folder.display(), port(index)),
        });
        let bare = addresses.iter().enumerate().skip(hosts.len());
        named
            .chain(bare.map(|(index, ip)| SocketAddr::new(*ip, port(index)).to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// What somebody on the way to the server could do, if anything.
    pub fn risk(&self) -> Option<&'static str> {
        if is_here(&self.connect) {
            return None;
        }
        match self.tls.mode() {
            Mode::Disable | Mode::Prefer => Some("read and change what is said to it, passwords included"),
            Mode::Require => Some("answer in its place: its certificate is not verified"),
            Mode::VerifyCa | Mode::VerifyFull => None,
        }
    }
}

impl Wanted {
    fn mode(&self, connect: &Config) -> Result<Mode, DatabaseError> {
        let Some(text) = &self.mode else {
            return Ok(if is_here(connect) { Mode::Disable } else { Mode::VerifyFull });
        };
        let mode = text.parse().map_err(|()| DatabaseError::Mode(text.clone()))?;
        match (mode, self.roots.as_deref()) {
            (Mode::VerifyFull, Some(SYSTEM)) => Ok(mode),
            (_, Some(SYSTEM)) => Err(DatabaseError::WeakSystem(mode.as_str())),
            // As libpq has it: whoever names a CA wants it asked.
            (Mode::Require, Some(_)) => Ok(Mode::VerifyCa),
            _ => Ok(mode),
        }
    }

    fn roots(&self, mode: Mode) -> Result<RootCertStore, DatabaseError> {
        match self.roots.as_deref() {
            _ if !mode.verifies() => Ok(RootCertStore::empty()),
            None | Some(SYSTEM) => of_this_machine(),
            Some(file) => of_file(Path::new(file)),
        }
    }
}

/// Whether all servers are on this machine.
fn is_here(connect: &Config) -> bool {
    let names = connect.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    });
    names && connect.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Bundles may have certificates of a kind that nothing here can use; one that can is enough.
fn of_file(path: &Path) -> Result<RootCertStore, DatabaseError> {
    let unread = |error| DatabaseError::Roots(path.into(), error);
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.map_err(unread)?);
    if roots.is_empty() { Err(unread(pem::Error::NoItemsFound)) } else { Ok(roots) }
}

fn of_this_machine() -> Result<RootCertStore, DatabaseError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return Err(DatabaseError::System(why));
    }
    Ok(roots)
}

/// The URL without the parameters that are ours.
fn of_url(text: &str) -> (String, Wanted) {
    // A password may have what begins a query elsewhere.
    let from = text.find('@').unwrap_or(0);
    let question = text.get(from..).and_then(|rest| rest.find('?')).map(|at| from + at);
    let Some((address, query)) = question.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) else {
        return (text.to_owned(), Wanted::default());
    };
    let mut wanted = Wanted::default();
    let others: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            !wanted.take(key, || percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
        .collect();
    let mark = if others.is_empty() { "" } else { "?" };
    (format!("{address}{mark}{}", others.join("&")), wanted)
}

/// The same of `key=value key='quoted value'`.
fn of_pairs(text: &str) -> (String, Wanted) {
    let (mut others, mut wanted, mut rest) = (String::new(), Wanted::default(), text);
    while let Some(pair) = Pair::read(rest) {
        if !wanted.take(pair.key, || pair.value.clone()) {
            others.push_str(pair.text);
            others.push(' ');
        }
        rest = pair.rest;
    }
    others.push_str(rest.trim());
    (others.trim_end().to_owned(), wanted)
}

impl Wanted {
    /// Whether the parameter is one of ours.
    fn take(&mut self, key: &str, value: impl FnOnce() -> String) -> bool {
        match key {
            "sslmode" => self.mode = Some(value()),
            "sslrootcert" => self.roots = Some(value()),
            _ => return false,
        }
        true
    }
}

/// One parameter, and where the next begins.
struct Pair<'a> {
    key: &'a str,
    value: String,
    text: &'a str,
    rest: &'a str,
}

impl<'a> Pair<'a> {
    /// `None` where there is none, or none that can be read.
    fn read(text: &'a str) -> Option<Self> {
        let text = text.trim_start();
        let (key, after) = text.split_once('=')?;
        let after = after.trim_start();
        let (value, length) = read_value(after)?;
        let rest = after.get(length..)?;
        let own = text.get(..text.len().checked_sub(rest.len())?)?;
        Some(Self { key: key.trim_end(), value, text: own, rest })
    }
}

/// A value with its quotes and escapes undone, and how many bytes it takes.
fn read_value(text: &str) -> Option<(String, usize)> {
    let is_quoted = text.starts_with('\'');
    let mut letters = text.char_indices().skip(usize::from(is_quoted));
    let mut value = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if is_quoted => return Some((value, at + 1)),
            '\\' => value.push(letters.next()?.1),
            _ if !is_quoted && letter.is_whitespace() => return Some((value, at)),
            _ => value.push(letter),
        }
    }
    (!is_quoted).then_some((value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> Mode {
        Database::parse(text, 1).unwrap().tls.mode()
    }

    #[test]
    fn the_address_of_a_database_is_told_without_its_password() {
        for (url, address) in [
            ("postgres://shop:secret@db.internal/box?sslmode=disable", "db.internal:5432"),
            ("postgres://shop@%2Frun%2Fpg:5433/box", "/run/pg/.s.PGSQL.5433"),
            ("host=/run/pg user=shop dbname=box", "/run/pg/.s.PGSQL.5432"),
            ("host=a,b port=1,2 user=shop sslmode=require", "a:1, b:2"),
        ] {
            assert_eq!(Database::parse(url, 1).unwrap().address(), address);
        }
    }

    #[test]
    fn who_says_nothing_of_tls_gets_it_verified_in_full_unless_the_server_is_on_this_machine() {
        for here in ["host=/run/pg", "host=127.0.0.1", "postgres://shop@localhost/box", "host=::1,127.0.0.2"]
        {
            assert_eq!(mode(here), Mode::Disable, "{here}");
        }
        for away in ["host=db.internal", "host=localhost,10.0.0.9", "host=localhost hostaddr=10.0.0.9"] {
            assert_eq!(mode(away), Mode::VerifyFull, "{away}");
        }
    }

    #[test]
    fn only_what_a_stranger_on_the_way_could_use_is_a_risk() {
        let risk = |text: &str| Database::parse(text, 1).unwrap().risk().is_some();
        assert!(risk("host=db.internal sslmode=disable") && risk("host=db.internal sslmode=prefer"));
        assert!(risk("host=db.internal sslmode=require"));
        assert!(
            !risk("host=db.internal") && !risk("host=127.0.0.1 sslmode=disable") && !risk("host=/run/pg")
        );
    }

    #[test]
    fn the_two_parameters_are_found_in_either_form_and_the_others_stay() {
        let own = Wanted { mode: Some("verify-full".into()), roots: Some("/etc/my ca.pem".into()) };
        for (text, rest) in [
            (
                "postgres://shop:a?b@db:1/box?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fetc%2Fmy%20ca.pem",
                "postgres://shop:a?b@db:1/box?connect_timeout=3",
            ),
            ("postgres://db/box?sslrootcert=/etc/my%20ca.pem&sslmode=verify-full", "postgres://db/box"),
        ] {
            assert_eq!(of_url(text), (rest.to_owned(), own_again(&own)), "{text}");
        }
        let pairs = r"host=db password='it\'s  = sslmode=x' sslmode = verify-full sslrootcert='/etc/my ca.pem' user=u";
        let rest = r"host=db password='it\'s  = sslmode=x' user=u";
        assert_eq!(of_pairs(pairs), (rest.to_owned(), own_again(&own)));
        assert_eq!(of_pairs("host=db nonsense"), ("host=db nonsense".to_owned(), Wanted::default()));
    }

    fn own_again(own: &Wanted) -> Wanted {
        Wanted { mode: own.mode.clone(), roots: own.roots.clone() }
    }

    #[test]
    fn a_certificate_is_never_asked_for_less_than_the_words_mean() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let error = |text: &str| Database::parse(text, 1).unwrap_err();
        assert!(matches!(error("host=db sslmode=allow"), DatabaseError::Mode(_)));
        assert!(matches!(
            error("host=db sslmode=require sslrootcert=system"),
            DatabaseError::WeakSystem("require")
        ));
        for way in ["require", "verify-ca", "verify-full"] {
            let text = format!("host=db sslmode={way} sslrootcert={}", file.display());
            assert!(matches!(error(&text), DatabaseError::Roots(..)), "{way} does not look for its CA");
            let text = format!("host=db sslmode={way} sslrootcert=/nowhere/ca.pem");
            assert!(matches!(error(&text), DatabaseError::Roots(..)), "{way} does not miss its CA");
        }
        assert!(matches!(error("user=shop"), DatabaseError::NoHost));
        assert!(matches!(error("host=db sslcert=x"), DatabaseError::Address(_)));
    }
}
