//! Accepts connections and gives each a thread; ends them all in order.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use ledger::Ledger;
use spool::Spool;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Census, Seat},
    association::{self, Shared},
    commitment::{self, Commitments, Owed},
    config::{ScpConfig, TlsConfig},
    intake::{Intake, Queue},
    tls::{Acceptor, TlsError},
    wire::Wire,
};

/// Stack of an association's thread; nothing on it is large.
const STACK_BYTES: usize = 512 << 10;
/// Connections of one address beyond its associations' limit that are served so far as to be refused properly.
/// Whoever says nothing holds no more than that: its address has no room left, all others have.
const REFUSABLE_PER_PEER: usize = 8;
/// The same in all; much more than one address can hold, so that it takes many to keep the others out.
const REFUSABLE: usize = 256;

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("no called AE title is configured")]
    NoAeTitle,
    #[error("cannot speak TLS")]
    Tls(#[from] TlsError),
}

/// A DICOM listener: bound, and served by [`Listener::run`].
#[derive(Debug)]
pub struct Listener {
    plain: TcpListener,
    tls: Option<(TcpListener, Arc<Acceptor>)>,
    config: ScpConfig,
    spool: Spool,
    ledger: Ledger,
    wake: Wake,
}

#[derive(Clone)]
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wake")
    }
}

impl Listener {
    /// Binds the sockets. `wake` is called whenever rows were written.
    ///
    /// # Errors
    /// When an address cannot be had or the certificates cannot be used.
    pub fn bind(
        config: ScpConfig,
        spool: Spool,
        ledger: Ledger,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, BindError> {
        if config.called.is_empty() {
            return Err(BindError::NoAeTitle);
        }
        let plain = bind(config.listen)?;
        let tls = config.tls.as_ref().map(bind_tls).transpose()?;
        Ok(Self { plain, tls, config, spool, ledger, wake: Wake(wake) })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.plain.local_addr()
    }

    /// The address of the TLS listener, if there is one.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_tls_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()
    }

    /// Serves until `shutdown`. Then nothing new is accepted, messages that are under way may
    /// finish, and what was kept is written to the ledger, all within the configured grace.
    ///
    /// # Errors
    /// When the sockets cannot be used.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        let Self { plain, tls, config, spool, ledger, wake } = self;
        let grace = config.timeouts.grace;
        let (intake, queue) = Intake::new(config.limits.unrecorded_max);
        let writing = tokio::spawn(write(queue, ledger.clone(), spool.clone(), wake));
        let shared = Arc::new(Shared {
            commitments: Commitments {
                spool: spool.clone(),
                owed: Owed::new(ledger.clone(), config.node.clone()),
                ledger,
                intake: intake.clone(),
                runtime: Handle::current(),
                peers: Arc::new(config.commitment_peers.clone()),
                own_title: config.called[0].ae_title.clone(),
            },
            census: Arc::new(Census::new(
                config.limits.associations_max,
                config.limits.associations_per_peer_max,
            )),
            config,
            spool,
            intake,
            shutdown: shutdown.clone(),
        });
        let connections = Arc::new(Census::new(
            shared.config.limits.associations_max.saturating_add(REFUSABLE),
            shared.config.limits.associations_per_peer_max.saturating_add(REFUSABLE_PER_PEER),
        ));
        let doors = [Some((plain, None)), tls.map(|(listener, acceptor)| (listener, Some(acceptor)))];
        let mut accepting = tokio::task::JoinSet::new();
        for (listener, acceptor) in doors.into_iter().flatten() {
            let door = Door { acceptor, shared: shared.clone(), connections: connections.clone() };
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(door.accept_all(listener, shutdown.clone()));
        }
        accepting.spawn(commitment::deliver_all(shared.commitments.clone(), shutdown.clone()));
        while accepting.join_next().await.is_some() {}
        drop(shared); // with the last association the last sender of the intake queue goes
        finish(&connections, writing, grace).await;
        Ok(())
    }
}

async fn write(queue: Queue, ledger: Ledger, spool: Spool, wake: Wake) {
    queue.write_all(ledger, spool, wake.0).await;
}

/// Waits for threads and writer, but not for ever.
async fn finish(connections: &Census, writing: tokio::task::JoinHandle<()>, grace: Duration) {
    let all = async {
        if let Err(error) = writing.await {
            tracing::error!(error = %error, "the intake writer ended early");
        }
    };
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::warn!(
            connections = connections.count(),
            "associations or ledger did not finish in time; the journal has what is not recorded"
        );
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn bind_tls(config: &TlsConfig) -> Result<(TcpListener, Arc<Acceptor>), BindError> {
    let acceptor = Acceptor::new(config.clone())?;
    Ok((bind(config.listen)?, Arc::new(acceptor)))
}

/// One listening socket.
#[derive(Clone)]
struct Door {
    acceptor: Option<Arc<Acceptor>>,
    shared: Arc<Shared>,
    /// From the accepted socket to its close, whatever becomes of it.
    connections: Arc<Census>,
}

impl Door {
    async fn accept_all(self, listener: tokio::net::TcpListener, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let served = match accepted {
                Ok((socket, peer)) => socket.into_std().and_then(|socket| self.serve(socket, peer)),
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                // Out of descriptors or threads: others may finish meanwhile.
                tracing::warn!(error = %error, "a connection could not be served");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn serve(&self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let Some(seat) = self.admit(peer) else {
            metrics::counter!("overread_connections_dropped_total").increment(1);
            return Ok(()); // not even a refusal: the socket closes here
        };
        socket.set_nonblocking(false)?;
        let door = self.clone();
        thread::Builder::new().name("association".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let _seat = seat;
            match door.wire(socket) {
                Ok(wire) => association::serve(wire, peer, &door.shared),
                Err(error) => {
                    tracing::warn!(peer = %peer, error = %error, "a connection could not be set up");
                }
            }
        })?;
        Ok(())
    }

    fn admit(&self, peer: SocketAddr) -> Option<Seat> {
        if !access::could_come(&self.shared.config, peer.ip()) {
            tracing::warn!(peer = %peer, "a connection was closed: no rule lets anybody in from there");
            return None;
        }
        self.connections.take_seat(peer.ip()).ok()
    }

    fn wire(&self, socket: TcpStream) -> io::Result<Wire> {
        let (timeout, shutdown) = (self.shared.config.timeouts.write, self.shared.shutdown.clone());
        match &self.acceptor {
            None => Wire::plain(socket, timeout, shutdown),
            Some(acceptor) => {
                let stream = acceptor.accept(&socket)?;
                Wire::tls(socket, stream, timeout, shutdown)
            }
        }
    }
}
