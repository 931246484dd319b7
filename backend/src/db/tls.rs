//! TLS to PostgreSQL: what a server must show, by `sslmode` as libpq has it, and what helps when it does not.

use std::error::Error as StdError;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a connection with TLS is carried by.
pub(crate) type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// How much is asked of a server that is reached by TCP; those on a Unix socket are never asked for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is encrypted.
    Disable,
    /// Encrypted if the server offers it, whoever it is.
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server's certificate leads to a root that is trusted.
    VerifyCa,
    /// The same, and the certificate is for the name that was dialled.
    VerifyFull,
}

/// A mode and the roots that it needs, ready to connect with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    mode: Mode,
    config: Arc<ClientConfig>,
}

impl Mode {
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let modes = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
        modes.into_iter().find(|mode| mode.as_str() == text).ok_or(())
    }
}

impl Tls {
    /// `roots` are only looked at by a mode that verifies.
    pub fn new(mode: Mode, roots: RootCertStore) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = if mode == Mode::VerifyFull {
            builder.with_root_certificates(roots).with_no_client_auth()
        } else {
            let roots = mode.verifies().then_some(roots);
            let verifier = Arc::new(AnyName { roots, algorithms });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        };
        // Servers from 17 on want it when TLS begins with the first byte (`sslnegotiation=direct`).
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { mode, config: Arc::new(config) })
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the library has to be told: it knows no certificates.
    pub(crate) fn ssl_mode(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }

    pub(crate) fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(ClientConfig::clone(&self.config))
    }
}

/// Asks for no name in a certificate and, without roots, for nothing but that the server has its key.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _any: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What to do about a connection that failed over TLS; `None` if it did not fail over that.
pub(crate) fn cure(error: &tokio_postgres::Error) -> Option<&'static str> {
    // The library does not say of which kind an error is, but by its text.
    let is_tls = error.to_string().starts_with("error performing TLS handshake");
    is_tls.then(|| match refusal(error) {
        Some(Error::InvalidCertificate(why)) => cure_of_certificate(why),
        Some(_) => "let the server speak TLS 1.2 or later",
        None => {
            "turn `ssl` on in postgresql.conf; or, where nobody else is on the network between, \
             say sslmode=disable in DB_URL"
        }
    })
}

fn cure_of_certificate(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "name the file with the certificate of the server's CA: sslrootcert=FILE in DB_URL; if it is \
             that file already, another server answers here"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "dial the server by a name of its certificate, or have that name added to it; sslmode=verify-ca \
             takes any name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the server's certificate, or set this machine's clock"
        }
        _ => {
            "give the server a certificate of version 3 that a CA has signed, with its name as subjectAltName"
        }
    }
}

/// What rustls said, somewhere among the causes.
fn refusal(error: &tokio_postgres::Error) -> Option<&Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = inner.map_or_else(|| error.downcast_ref(), |inner| inner.downcast_ref::<Error>());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}
