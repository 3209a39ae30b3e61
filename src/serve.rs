//! `overread serve`: runs the service until it is told to stop.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::Config,
    exit::Failure,
    first_login::Shown,
    logging,
    service::Service,
    store::{block_on_all_cores, local_offset},
};

pub(crate) fn run(config: Config) -> Result<(), Failure> {
    let utc_offset = local_offset();
    logging::start(&config.log)?;
    Ok(block_on_all_cores(async {
        let mut stop = StopSignal::listen()?;
        let first_login = Some(Shown::by(&config.log));
        let service = tokio::select! {
            started = Service::start(config, utc_offset, first_login) => started?,
            () = stop.received() => return Ok(()),
        };
        stop.received().await;
        service.stop().await
    })?)
}

/// SIGTERM, as a service manager sends it, or Ctrl-C.
pub(crate) struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
