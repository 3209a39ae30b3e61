//! Where a peer with an HTTP interface is, who we are there, and whom we believe to be it.
//!
//! Proxies of the environment are not used: an archive is a neighbour. Answers are never
//! asked for compressed: pixels do not shrink, and the peer's processor is the bottleneck.

use std::{fmt, path::PathBuf, sync::Once, time::Duration};

use reqwest::{Certificate, Client, Identity, Url};

/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may be silent in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Orthanc closes what was idle for a second: a request must not meet that moment.
const IDLE_TIMEOUT: Duration = Duration::from_millis(700);
/// Kept-alive connections to one peer; more downloads than this are never under way.
pub(crate) const CONNECTIONS_MAX: usize = 8;

/// How to reach one peer.
#[derive(Debug, Clone)]
pub struct Connection {
    pub url: Url,
    pub credentials: Option<Credentials>,
    /// A PEM file with the authorities to believe beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with our certificate and its key, for a peer that asks for one.
    pub identity_file: Option<PathBuf>,
}

/// A user of the peer. `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A connection that cannot be set up from its settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("{0:?} is no HTTP address")]
    Url(String),
    #[error("cannot read the certificates in {path}", path = .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no usable certificate", path = .path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: reqwest::Error,
    },
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

impl Connection {
    /// A connection without credentials or certificates of its own.
    ///
    /// # Errors
    /// `url` is no `http:` or `https:` address.
    pub fn to(url: &str) -> Result<Self, ConnectionError> {
        let refused = || ConnectionError::Url(url.to_owned());
        let mut parsed = Url::parse(url).map_err(|_| refused())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(refused());
        }
        if !parsed.path().ends_with('/') {
            // Without it `Url::join` would replace the last component instead of adding one.
            let path = format!("{}/", parsed.path());
            parsed.set_path(&path);
        }
        Ok(Self { url: parsed, credentials: None, ca_file: None, identity_file: None })
    }

    /// The HTTP client for this peer; connections are kept alive and shared by its clones.
    ///
    /// # Errors
    /// A certificate file cannot be read or used.
    pub fn client(&self) -> Result<Client, ConnectionError> {
        choose_tls_provider();
        let mut builder = Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .pool_max_idle_per_host(CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &self.ca_file {
            let authorities = Certificate::from_pem_bundle(&read(path)?)
                .map_err(|source| ConnectionError::Certificate { path: path.clone(), source })?;
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(path) = &self.identity_file {
            let identity = Identity::from_pem(&read(path)?)
                .map_err(|source| ConnectionError::Certificate { path: path.clone(), source })?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(ConnectionError::Client)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ConnectionError> {
    std::fs::read(path).map_err(|source| ConnectionError::Read { path: path.clone(), source })
}

/// The HTTP client takes the TLS provider of the process. The binary has chosen one; a test
/// or another program may not have.
fn choose_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread was first, which is as good.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_below_a_path_keeps_its_path() {
        let connection = Connection::to("http://pacs:8042/orthanc").unwrap();
        assert_eq!(connection.url.join("system").unwrap().as_str(), "http://pacs:8042/orthanc/system");
    }

    #[test]
    fn what_is_no_http_address_is_refused() {
        for url in ["", "pacs:8042", "ftp://pacs/", "http://"] {
            assert!(Connection::to(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let mut connection = Connection::to("http://pacs").unwrap();
        connection.credentials = Some(Credentials { username: "u".into(), password: "geheim".into() });
        assert!(!format!("{connection:?}").contains("geheim"));
    }
}
