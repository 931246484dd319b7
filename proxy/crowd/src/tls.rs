//! Edges that speak TLS: whom to trust, and the connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whom to trust when a target is `https`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct TlsArgs {
    /// Trust the certificates of this PEM file for https targets, instead of the authorities that this machine trusts.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Take any certificate of an https target: for those that sign their own.
    #[arg(long)]
    pub insecure: bool,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("--ca {0} cannot be read as PEM: {1}")]
    Unread(PathBuf, #[source] pem::Error),
    #[error("--ca {0} holds a certificate that is none: {1}")]
    Broken(PathBuf, #[source] rustls::Error),
    #[error("this machine trusts no authority ({0}): name one with --ca FILE")]
    NoRoots(String),
    #[error("{0} is no name that a certificate can be for: {1}")]
    Name(String, #[source] InvalidDnsNameError),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// How one edge is spoken to. Copies share sessions, so that a second connection costs less.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.name.to_str())
    }
}

/// A connection, with TLS or without.
pub trait Wire: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Wire for T {}

impl Tls {
    /// With the edge of this name, or address.
    pub fn with(host: &str, args: &TlsArgs) -> Result<Self, TlsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned());
        let name = name.map_err(|error| TlsError::Name(host.to_owned(), error))?;
        Ok(Self { config: args.config()?, name })
    }

    pub async fn wrap(&self, stream: TcpStream) -> std::io::Result<Box<dyn Wire>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(Box::new(connector.connect(self.name.clone(), stream).await?))
    }

    /// For those who move the bytes themselves.
    pub fn begin(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

impl TlsArgs {
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            let why = || found.errors.first().map_or_else(|| "none is installed".into(), ToString::to_string);
            return if roots.is_empty() { Err(TlsError::NoRoots(why())) } else { Ok(roots) };
        };
        let unread = |error| TlsError::Unread(path.clone(), error);
        for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
            let added = roots.add(certificate.map_err(unread)?);
            added.map_err(|error| TlsError::Broken(path.clone(), error))?;
        }
        if roots.is_empty() { Err(unread(pem::Error::NoItemsFound)) } else { Ok(roots) }
    }
}

/// Trusts anybody, but holds them to the key that they show.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
