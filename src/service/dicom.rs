//! The DICOM listener of the service.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use ledger::Ledger;
use scp::{BindError, Listener};
use spool::Spool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Node, http::busy, settings};
use crate::config::{Config, Role};

/// Sockets that are bound and not yet served.
pub(super) struct Bound {
    listener: Listener,
    address: SocketAddr,
}

/// A listener that serves.
pub(super) struct DicomServer {
    address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

impl DicomServer {
    /// Binds the sockets when this node receives.
    pub(super) fn bind(
        config: &Config,
        node: &Node,
        spool: &Spool,
        ledger: &Ledger,
    ) -> anyhow::Result<Option<Bound>> {
        if !config.has_role(Role::Scp) {
            return Ok(None);
        }
        let scp_config = settings::scp(config, node)?;
        // The ledger wakes whoever waits for arrivals, on this node and on others.
        let bound = Listener::bind(scp_config, spool.clone(), ledger.clone(), Arc::new(|| {}));
        let listener = bound.map_err(|error| sentence(error, config))?;
        let address = listener.local_addr().context("the DICOM socket has no address")?;
        Ok(Some(Bound { listener, address }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stopped(self) -> anyhow::Result<()> {
        self.task.await.context("the DICOM listener panicked")?.context("the DICOM listener failed")
    }
}

impl Bound {
    pub(super) fn serve(self, shutdown: &CancellationToken) -> DicomServer {
        let task = tokio::spawn(self.listener.run(shutdown.clone()));
        DicomServer { address: self.address, task }
    }
}

fn sentence(error: BindError, config: &Config) -> anyhow::Error {
    match error {
        BindError::Listen { address, source } => {
            let setting =
                if config.dicom.tls.listen == Some(address) { "dicom.tls.listen" } else { "dicom.listen" };
            busy(setting, address, &source)
        }
        other => anyhow::Error::new(other).context("cannot start the DICOM listener"),
    }
}
