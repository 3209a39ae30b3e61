//! TLS 1.2 and 1.3 by rustls, for both sides; certificates are read again when their files change.

use std::{
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    config::{ClientCertificates, TlsConfig},
    wire::Duplex,
};

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("certificate and key cannot be used")]
    Config(#[source] rustls::Error),
    #[error("the certificate authorities cannot be used")]
    Authorities(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0} is no name that a server certificate can have")]
    ServerName(String),
}

/// How we show ourselves to, and check, a TLS peer that we call.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// PEM of the authorities that may have issued the peer's certificate.
    pub ca: PathBuf,
    /// PEM of our certificate and its key, when the peer asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the peer's certificate, when it is not the host's.
    pub server_name: Option<String>,
}

/// The server's side: hands out the newest configuration that could be read.
#[derive(Debug)]
pub(crate) struct Acceptor {
    config: TlsConfig,
    current: Mutex<(Stamp, Arc<ServerConfig>)>,
}

/// When the files were changed last.
type Stamp = Vec<Option<SystemTime>>;

impl Acceptor {
    /// # Errors
    /// When the files cannot be used.
    pub(crate) fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let current = (stamp(&config), Arc::new(server_config(&config)?));
        Ok(Self { config, current: Mutex::new(current) })
    }

    /// Begins TLS over an accepted connection; the handshake happens with the first read.
    ///
    /// # Errors
    /// When the socket cannot be used twice, or TLS refuses its configuration.
    pub(crate) fn accept(&self, tcp: &TcpStream) -> io::Result<Box<dyn Duplex>> {
        let connection = ServerConnection::new(self.config()).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, tcp.try_clone()?)))
    }

    fn config(&self) -> Arc<ServerConfig> {
        let stamp = stamp(&self.config);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != stamp {
            match server_config(&self.config) {
                Ok(config) => {
                    tracing::info!("the TLS certificates were read again");
                    *current = (stamp, Arc::new(config));
                }
                // Half written, perhaps: the old ones go on, and the next connection tries again.
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the changed TLS certificates cannot be used"
                ),
            }
        }
        current.1.clone()
    }
}

fn stamp(config: &TlsConfig) -> Stamp {
    let authorities = match &config.client {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Optional(path) | ClientCertificates::Required(path) => Some(path),
    };
    [Some(&config.cert), Some(&config.key), authorities]
        .into_iter()
        .flatten()
        .map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
        .collect()
}

fn server_config(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?;
    let builder = match &config.client {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Optional(path) | ClientCertificates::Required(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider);
            let verifier = match &config.client {
                ClientCertificates::Required(_) => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| TlsError::Authorities(Box::new(error)))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(certificates(&config.cert)?, key(&config.key)?).map_err(TlsError::Config)
}

/// The client's side over a connection to `host`.
///
/// # Errors
/// When files or name cannot be used.
pub(crate) fn connect(options: &TlsOptions, host: &str, tcp: TcpStream) -> Result<Box<dyn Duplex>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_root_certificates(roots(&options.ca)?);
    let config = match &options.identity {
        Some((cert, secret)) => {
            builder.with_client_auth_cert(certificates(cert)?, key(secret)?).map_err(TlsError::Config)?
        }
        None => builder.with_no_client_auth(),
    };
    let name = options.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(TlsError::Config)?;
    Ok(Box::new(StreamOwned::new(connection, tcp)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(TlsError::Config)?;
    }
    Ok(store)
}
