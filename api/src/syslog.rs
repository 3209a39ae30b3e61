//! Sends the audit trail to an Audit Record Repository: DICOM audit messages over syslog, by TLS (RFC 5425) or UDP
//! (RFC 5426).
//!
//! How far the repository has been told is a cursor on the trail. Syslog knows no answer: a message counts as told when the
//! connection that took it has lived on for [`CONFIRMED_AFTER`]. What a broken connection may have lost is sent again,
//! so that a message can come twice (its `seq` says so) and none is left out. Over UDP that holds only as far as
//! the network says that nobody listens.

mod message;

use std::{collections::VecDeque, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ledger::Topic;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::state::AppState;
use message::Source;

/// A connection that breaks tells so within this time, or has delivered what it took.
const CONFIRMED_AFTER: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts to reach a repository that is down.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The net under lost wake-ups; an audit row alone wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const ROWS_AT_ONCE: u32 = 500;

/// Where the trail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// A host and a port.
    pub address: String,
    pub transport: SyslogTransport,
    /// The name of this machine in the messages.
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTransport {
    Udp,
    Tls {
        /// PEM: the authorities that the repository's certificate is signed by.
        ca_file: PathBuf,
        /// PEM: what we show, where the repository asks for it.
        identity: Option<(PathBuf, PathBuf)>,
    },
}

/// Why the trail cannot be sent as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    #[error("cannot use {}", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("cannot use the certificates for the audit repository")]
    Tls(#[from] rustls::Error),
    #[error("{0:?} is no host and port")]
    Address(String),
}

/// What is needed to reach the repository.
pub struct Syslog {
    config: SyslogConfig,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Syslog").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Syslog {
    /// # Errors
    /// A certificate cannot be used, or the address is none.
    pub fn new(config: SyslogConfig) -> Result<Self, SyslogError> {
        let no_address = || SyslogError::Address(config.address.clone());
        let (host, port) = config.address.rsplit_once(':').ok_or_else(no_address)?;
        port.parse::<u16>().map_err(|_| no_address())?;
        let tls = match &config.transport {
            SyslogTransport::Udp => None,
            SyslogTransport::Tls { ca_file, identity } => {
                let name = host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name).map_err(|_| no_address())?;
                Some((connector(ca_file, identity.as_ref())?, name))
            }
        };
        Ok(Self { config, tls })
    }

    fn cursor(&self) -> String {
        format!("audit-syslog/{}", self.config.address)
    }

    async fn connect(&self) -> io::Result<Link> {
        let Some((connector, name)) = &self.tls else {
            let address: SocketAddr = tokio::net::lookup_host(&self.config.address)
                .await?
                .next()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
            let any: SocketAddr =
                if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0, 0, 0, 0], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            return Ok(Link::Udp(socket));
        };
        let stream = TcpStream::connect(&self.config.address).await?;
        stream.set_nodelay(true)?;
        Ok(Link::Tls(Box::new(connector.connect(name.clone(), stream).await?)))
    }
}

fn connector(ca_file: &PathBuf, identity: Option<&(PathBuf, PathBuf)>) -> Result<TlsConnector, SyslogError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| SyslogError::Pem { path, source }
    };
    let chain = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, SyslogError> {
        let all = CertificateDer::pem_file_iter(path).map_err(pem(path))?;
        all.collect::<Result<_, _>>().map_err(pem(path))
    };
    let mut roots = RootCertStore::empty();
    for authority in chain(ca_file)? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let config = match identity {
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
            builder.with_client_auth_cert(chain(cert)?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

enum Link {
    Udp(UdpSocket),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::Tls(stream) => {
                // RFC 5425 §4.3: the length comes first.
                stream.write_all(format!("{} ", message.len()).as_bytes()).await?;
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// Comes back when the other side is gone: nobody ever says anything on these connections.
    async fn broken(&mut self) -> io::Error {
        let mut nothing = [0; 64];
        loop {
            let read = match self {
                Self::Udp(socket) => socket.recv(&mut nothing).await,
                Self::Tls(stream) => match stream.read(&mut nothing).await {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    read => read,
                },
            };
            if let Err(error) = read {
                return error;
            }
        }
    }
}

/// Rows that a connection took, and when: not told for certain yet.
#[derive(Debug, Default)]
struct Unsure(VecDeque<(i64, Instant)>);

impl Unsure {
    fn took(&mut self, seq: i64) {
        self.0.push_back((seq, Instant::now()));
    }

    /// The last row that is certain by now.
    fn certain(&mut self, now: Instant) -> Option<i64> {
        let mut certain = None;
        while let Some((seq, at)) = self.0.front() {
            if now.duration_since(*at) < CONFIRMED_AFTER {
                break;
            }
            certain = Some(*seq);
            self.0.pop_front();
        }
        certain
    }
}

/// Why sending stopped.
enum Stopped {
    Ledger(ledger::Error),
    Link(io::Error),
}

impl Stopped {
    fn log(&self, address: &str) {
        let error: &dyn std::error::Error = match self {
            Self::Ledger(error) => error,
            Self::Link(error) => error,
        };
        tracing::warn!(error, address, "the audit repository cannot be told, trying again");
    }
}

impl From<ledger::Error> for Stopped {
    fn from(error: ledger::Error) -> Self {
        Self::Ledger(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Link(error)
    }
}

/// Sends the trail until the service stops.
pub async fn send_audit(state: AppState, syslog: Syslog) {
    let mut was_told = false;
    loop {
        let stopped = tokio::select! {
            () = state.shutdown.cancelled() => return,
            stopped = send(&state, &syslog, &mut was_told) => stopped,
        };
        metrics::gauge!("overread_audit_repository_up").set(0.0);
        // Once for each time that it goes away.
        if !std::mem::replace(&mut was_told, true) {
            stopped.log(&syslog.config.address);
        }
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
}

async fn send(state: &AppState, syslog: &Syslog, was_told: &mut bool) -> Stopped {
    match send_until_broken(state, syslog, was_told).await {
        Ok(never) => match never {},
        Err(stopped) => stopped,
    }
}

async fn send_until_broken(
    state: &AppState,
    syslog: &Syslog,
    was_told: &mut bool,
) -> Result<std::convert::Infallible, Stopped> {
    let source = Source { host: syslog.config.host.clone(), node: state.node.as_str().to_owned() };
    let name = syslog.cursor();
    let kept = state.ledger.cursor(&name).await?;
    let mut sent: i64 = kept.and_then(|cursor| cursor.value.parse().ok()).unwrap_or(0);
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut link = tokio::time::timeout(CONNECT_WITHIN, syslog.connect()).await.map_err(timed_out)??;
    metrics::gauge!("overread_audit_repository_up").set(1.0);
    *was_told = false;
    let mut unsure = Unsure::default();
    let mut changes = state.ledger.changed(Topic::Events);
    loop {
        let rows = state.ledger.audit_after(sent, ROWS_AT_ONCE).await?;
        let is_all = rows.len() < ROWS_AT_ONCE as usize;
        for row in rows {
            let message = message::syslog(&row, &source);
            tokio::time::timeout(WRITE_WITHIN, link.send(&message)).await.map_err(timed_out)??;
            metrics::counter!("overread_audit_messages_total").increment(1);
            unsure.took(row.seq);
            sent = row.seq;
        }
        if let Some(seq) = unsure.certain(Instant::now()) {
            state.ledger.set_cursor(&name, &seq.to_string(), state.now()).await?;
        }
        if is_all {
            tokio::select! {
                error = link.broken() => return Err(error.into()),
                () = changes.next() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_took_is_certain_after_a_while_and_in_order() {
        let mut unsure = Unsure::default();
        unsure.took(1);
        unsure.took(2);
        assert_eq!(unsure.certain(Instant::now()), None);
        assert_eq!(unsure.certain(Instant::now() + CONFIRMED_AFTER), Some(2));
        assert_eq!(unsure.certain(Instant::now() + CONFIRMED_AFTER), None);
    }
}
