//! The edge's own certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read as PEM: {cause}")]
    Pem { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("{0} has no certificate")]
    Empty(PathBuf),
    #[error("the certificate and the key do not work together: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A certificate chain with its key; a reload replaces both for the connections that come after it.
#[derive(Clone)]
pub struct TlsIdentity(Arc<ArcSwap<ServerConfig>>);

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}

impl TlsIdentity {
    /// From PEM files: the chain, leaf first, and the private key.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(ArcSwap::from(config(cert_file, key_file)?))))
    }

    /// Reads the files again. If they are no good the old certificate stays.
    pub fn reload(&self, cert_file: &Path, key_file: &Path) -> Result<(), TlsError> {
        self.0.store(config(cert_file, key_file)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor::from_server_config(self.0.load_full())
    }
}

/// Chooses the cryptography of rustls for the process, once: several crates bring one, and rustls will not guess.
pub fn install_crypto() {
    // An error says that somebody has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn config(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    install_crypto();
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::Pem { path, cause }
    };
    let chain = CertificateDer::pem_file_iter(cert_file).map_err(pem(cert_file))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(cert_file))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(cert_file.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(pem(key_file))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
