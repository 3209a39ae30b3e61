//! What handlers work with.

use std::{path::PathBuf, sync::Arc};

use ledger::{AuditKey, BootId, Ledger, Millis, NodeId};
use metrics_exporter_prometheus::PrometheusHandle;
use spool::Spool;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Caller, KeyLookUps, PasswordWork, Remembered, TokenSigner},
    config::HttpConfig,
    export::Exports,
    feed::Streams,
    gate::Gate,
    health::DestinationChecks,
    orthanc::Looked,
    reading::Readings,
    retrain::RetrainConfig,
    routes::Masks,
    tabular::ReadBodies,
    temporary::TemporaryFolder,
};

/// The present moment; tests move it.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// What the binary has opened and the API serves from.
pub struct Services {
    pub ledger: Ledger,
    pub spool: Spool,
    /// For files that a request works with.
    pub temporary: TemporaryFolder,
    /// The folder of the spool, whose free space is shown.
    pub spool_root: PathBuf,
    pub registry: Arc<inference::Registry>,
    pub pipeline: pipeline::PipelineHandle,
    pub bridge: orthanc_bridge::BridgeHandle,
    pub signer: TokenSigner,
    pub audit_key: AuditKey,
    /// What exports call patients and UIDs.
    pub pseudonyms: results::Pseudonyms,
    pub metrics: PrometheusHandle,
    pub node: NodeId,
    pub boot: BootId,
    pub clock: Clock,
    /// Cancelled when the service stops: event streams end then, so that the server can.
    pub shutdown: CancellationToken,
    pub http: HttpConfig,
    pub retrain: RetrainConfig,
}

/// Everything that a handler can reach; clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    services: Services,
    gate: Gate,
    passwords: PasswordWork,
    key_look_ups: KeyLookUps,
    signed_in: Remembered<Caller>,
    streams: Streams,
    destination_checks: DestinationChecks,
    bodies: ReadBodies,
    readings: Readings,
    exports: Exports,
    masks: Masks,
    looked: Looked,
    started_at: Millis,
}

impl AppState {
    pub fn new(services: Services) -> Self {
        Self(Arc::new(Inner {
            gate: Gate::new(&services.http.limits),
            passwords: PasswordWork::new(),
            key_look_ups: KeyLookUps::default(),
            signed_in: Remembered::default(),
            destination_checks: DestinationChecks::default(),
            bodies: ReadBodies::default(),
            readings: Readings::default(),
            exports: Exports::default(),
            masks: Masks::default(),
            looked: Looked::default(),
            started_at: (services.clock)(),
            streams: Streams::new(services.http.limits.event_streams),
            services,
        }))
    }

    pub(crate) fn now(&self) -> Millis {
        (self.clock)()
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn key_look_ups(&self) -> &KeyLookUps {
        &self.0.key_look_ups
    }

    /// Whom access tokens belong to.
    pub(crate) fn signed_in(&self) -> &Remembered<Caller> {
        &self.0.signed_in
    }

    pub(crate) fn passwords(&self) -> &PasswordWork {
        &self.0.passwords
    }

    pub(crate) fn destination_checks(&self) -> &DestinationChecks {
        &self.0.destination_checks
    }

    pub(crate) fn readings(&self) -> &Readings {
        &self.0.readings
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.0.exports
    }

    pub(crate) fn masks(&self) -> &Masks {
        &self.0.masks
    }

    pub(crate) fn looked(&self) -> &Looked {
        &self.0.looked
    }

    pub(crate) fn bodies(&self) -> &ReadBodies {
        &self.0.bodies
    }

    pub(crate) fn started_at(&self) -> Millis {
        self.0.started_at
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }
}

impl std::ops::Deref for AppState {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Services")
            .field("node", &self.node)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.services.fmt(formatter)
    }
}
