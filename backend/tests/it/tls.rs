//! TLS to PostgreSQL: a real server with a certificate of the test's own, and what is said when it is the wrong one.

use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::NamedTempFile;

use crate::support::office::{Office, command};
use crate::support::postgres::{Postgres, TestDatabase};

const SELLING: [&str; 3] = ["--open", "--seed-total", "5"];
/// A name that is none of this machine's, at an address that is.
const AWAY: &str = "host=db.internal hostaddr=127.0.0.1";

/// Whom a certificate was signed by, as a file.
struct Authority {
    file: NamedTempFile,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { file, issuer: Issuer::new(params, key) }
    }

    /// A server whose certificate has these names.
    fn server(&self, names: &[&str]) -> Postgres {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.server_with(&CertificateParams::new(names).unwrap())
    }

    fn server_with(&self, params: &CertificateParams) -> Postgres {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Postgres::by_tcp(Some((&certificate.pem(), &key.serialize_pem())))
    }

    fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }
}

/// Connections of box offices to this database, with TLS or without.
async fn connections(database: &TestDatabase, with_tls: bool) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'box-office' AND datname = current_database() AND ssl = {with_tls}"
    );
    database.number(&sql).await
}

#[tokio::test]
async fn a_sale_over_tls_says_nothing_in_the_clear() {
    let ca = Authority::new("a CA");
    let server = ca.server(&["localhost", "db.internal"]);
    let root = format!("sslrootcert='{}'", ca.path());
    for words in [
        "host=localhost sslmode=require".to_owned(),
        format!("host=127.0.0.1 sslmode=verify-ca {root}"),
        format!("host=localhost sslmode=verify-full {root}"),
        // Who says nothing gets all of it.
        format!("{AWAY} {root}"),
    ] {
        let database = server.database();
        let mut office = Office::on(&database.by(&words), &SELLING).await;
        office.hold("ann", "k", 1).await;
        assert!(connections(&database, true).await > 3, "{words}: the sale, its workers, its listener");
        assert_eq!(connections(&database, false).await, 0, "{words}");
        assert!(office.end_by("-TERM").await.success());
    }
}

#[tokio::test]
async fn a_url_says_the_same_as_pairs() {
    let ca = Authority::new("a CA");
    let server = ca.server(&["localhost"]);
    let database = server.database();
    let (port, name, ca) = (server.port(), database.name(), ca.path());
    let url = format!("postgres://shop@localhost:{port}/{name}?sslmode=verify-full&sslrootcert={ca}");
    let office = Office::on(&TestDatabase { url }, &SELLING).await;
    office.hold("ann", "k", 1).await;
    assert!(connections(&database, true).await > 3);
}

#[tokio::test]
async fn a_server_that_another_ca_or_another_name_vouches_for_is_refused_with_cause_and_cure() {
    let [ours, theirs, namesake] = ["ours", "theirs", "theirs"].map(Authority::new);
    let server = theirs.server(&["localhost"]);
    let (right, wrong) = (format!("sslrootcert={}", theirs.path()), format!("sslrootcert={}", ours.path()));
    let again = format!("sslrootcert={}", namesake.path());
    let unknown = ["UnknownIssuer", "sslrootcert=FILE"];
    let renamed = ["certificate not valid for name", "dial the server by a name of its certificate"];
    for (words, [cause, cure]) in [
        (format!("host=localhost sslmode=verify-full {wrong}"), unknown),
        (format!("host=localhost sslmode=verify-ca {wrong}"), unknown),
        (format!("host=localhost sslmode=verify-full {again}"), ["BadSignature", "sslrootcert=FILE"]),
        // As libpq has it: whoever names a CA wants it asked.
        (format!("host=localhost sslmode=require {wrong}"), unknown),
        // Whom this machine trusts does not know it either.
        ("host=localhost sslmode=verify-full sslrootcert=system".to_owned(), unknown),
        (AWAY.to_owned(), unknown),
        (format!("host=127.0.0.1 sslmode=verify-full {right}"), renamed),
        (format!("{AWAY} {right}"), renamed),
    ] {
        let said = refused(&server.database().by(&words), 69);
        assert!(said.contains(cause) && said.contains(cure), "{words}: {said}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_over_is_refused_with_cause_and_cure() {
    let ca = Authority::new("a CA");
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let server = ca.server_with(&params);
    let words = format!("host=localhost sslmode=verify-full sslrootcert={}", ca.path());
    let said = refused(&server.database().by(&words), 69);
    assert!(said.contains("expired") && said.contains("renew the server's certificate"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_only_used_by_who_says_so_and_hears_what_that_means() {
    let server = Postgres::by_tcp(None);
    for words in ["host=127.0.0.1 sslmode=require", AWAY] {
        let said = refused(&server.database().by(words), 69);
        assert!(said.contains("server does not support TLS"), "{words}: {said}");
        assert!(said.contains("turn `ssl` on") && said.contains("sslmode=disable"), "{words}: {said}");
    }
    let plain = Office::on(&server.database().by(&format!("{AWAY} sslmode=disable")), &SELLING).await;
    plain.hold("ann", "k", 1).await;
    assert!(plain.log().contains("passwords included"), "{}", plain.log());
    let here = Office::on(&server.database().by("host=127.0.0.1"), &SELLING).await;
    here.hold("ann", "k", 1).await;
    assert!(!here.log().contains("passwords included"), "{}", here.log());
}

#[test]
fn words_that_cannot_be_followed_are_refused_before_anything_is_said() {
    for (words, says) in [
        ("host=db sslmode=allow", "verify-full, in lowercase; it is `allow`"),
        ("host=db sslmode=verify-full sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("host=db sslmode=verify-ca sslrootcert=system", "say verify-full"),
        ("host=db sslcert=/mine.pem", "sslcert"),
    ] {
        let said = refused(&TestDatabase { url: words.to_owned() }, 78);
        assert!(said.contains(says), "{words}: {said}");
    }
}

/// What it says when it ends with this code instead of starting.
fn refused(database: &TestDatabase, code: i32) -> String {
    let Output { status, stderr, .. } = command(&database.url).args(SELLING).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{}: {said}", database.url);
    said
}
