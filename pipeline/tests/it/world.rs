//! What the tests stand on: one node with ledger, spool and model, which can be stopped and started.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use imaging::StudyUid;
use inference::{Demonstrations, Device, Registry, RegistryOptions, Runtime};
use ledger::{
    AssociationId, BootId, DeliveryFilter, DeliveryState, Door, Ending, Job, JobState, Ledger, Millis,
    NewAssociation, NewInstance, NodeId, PageRequest, Recorded,
};
use orthanc_bridge::Connection;
use pipeline::{
    Clock, DestinationConfig, DestinationKind, Patience, Pipeline, PipelineConfig, PipelineHandle,
};
use spool::{Outcome, Spool, SpoolConfig};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) config: PipelineConfig,
    pub(crate) folder: PathBuf,
    // Last: the folder goes after what uses it.
    _temporary: Option<tempfile::TempDir>,
}

pub(crate) struct Running {
    pub(crate) handle: PipelineHandle,
    pipeline: Pipeline,
    shutdown: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("overread-pipeline").tempdir().unwrap();
        let path = folder.path().to_owned();
        Self { _temporary: Some(folder), ..Self::at(&path).await }
    }

    /// What an earlier process may have left in `folder`.
    pub(crate) async fn at(folder: &Path) -> Self {
        let url = format!("sqlite:{}", folder.join("ledger.db").display());
        let ledger = Ledger::open(&url, ledger::Durability::Process).await.unwrap();
        let spool_config = SpoolConfig {
            durability: spool::Durability::Process,
            min_free_bytes: 0,
            journal_bytes: 48 << 20,
            ..SpoolConfig::new(folder.join("spool"), folder.join("quarantine"))
        };
        let mut config = PipelineConfig::new(
            Uuid::from_u128(7),
            NodeId::new("test"),
            BootId::new(Uuid::new_v4().to_string()),
        );
        config.patience = Patience { quiet: Duration::from_millis(300), doubtful: Duration::from_secs(2) };
        config.clock = Clock::movable();
        let spool = Spool::open(spool_config).unwrap();
        Self { ledger, spool, config, folder: folder.to_owned(), _temporary: None }
    }

    pub(crate) fn and_folder(mut self, name: &str) -> Self {
        let path = self.out(name);
        self.config.destinations.push(DestinationConfig::new(name, DestinationKind::Folder { path }));
        self
    }

    pub(crate) fn and_orthanc(mut self, name: &str, url: &str) -> Self {
        let connection = Connection::to(url).unwrap();
        let kind = DestinationKind::Orthanc { connection };
        self.config.destinations.push(DestinationConfig::new(name, kind));
        self
    }

    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.folder.join("out").join(name)
    }

    pub(crate) fn start(&mut self) -> Running {
        self.start_with(registry())
    }

    pub(crate) fn start_with(&mut self, registry: Arc<Registry>) -> Running {
        self.config.boot = BootId::new(Uuid::new_v4().to_string());
        let shutdown = CancellationToken::new();
        let pipeline =
            Pipeline::start(self.config.clone(), &self.ledger, &self.spool, registry, &shutdown).unwrap();
        Running { handle: pipeline.handle(), pipeline, shutdown }
    }

    pub(crate) async fn open(&self, calling_ae: &str) -> AssociationId {
        self.open_to(calling_ae, "OVERREAD").await
    }

    /// Calls us by a title, or by the label of one.
    pub(crate) async fn open_to(&self, calling_ae: &str, called_ae: &str) -> AssociationId {
        let new = NewAssociation {
            door: Door::Dimse,
            calling_ae: calling_ae.to_owned(),
            called_ae: called_ae.to_owned(),
            peer: "127.0.0.1".to_owned(),
            node: self.config.node.clone(),
            boot: self.config.boot.clone(),
            opened_at: self.config.clock.now(),
        };
        self.ledger.open_association(&new).await.unwrap()
    }

    /// Keeps files as the listener does: spool, then ledger.
    pub(crate) async fn receive(&self, association: AssociationId, files: &[Vec<u8>]) -> Vec<Recorded> {
        let mut batch = Vec::new();
        for file in files {
            let (spool, file) = (self.spool.clone(), file.clone());
            let outcome = tokio::task::spawn_blocking(move || spool.put(&file)).await.unwrap().unwrap();
            let (header, digest, size_bytes) = match outcome {
                Outcome::Kept(kept) => (kept.header, kept.digest, kept.size_bytes),
                Outcome::Same(same) => (same.header, same.digest, same.size_bytes),
                other => panic!("the spool did not keep it: {other:?}"),
            };
            batch.push(NewInstance {
                header,
                digest: digest.to_string(),
                size_bytes,
                association,
                arrived_at: self.config.clock.now(),
            });
        }
        self.ledger.record_instances(&batch).await.unwrap()
    }

    pub(crate) async fn release(&self, association: AssociationId) {
        self.ledger.end_association(association, Ending::Released, self.config.clock.now()).await.unwrap();
    }

    /// One association that brings all and is released.
    pub(crate) async fn send(&self, files: &[Vec<u8>]) {
        let association = self.open("MODALITY").await;
        self.receive(association, files).await;
        self.release(association).await;
    }

    pub(crate) async fn jobs(&self, study: &StudyUid) -> Vec<Job> {
        self.ledger.jobs_of_study(study).await.unwrap()
    }

    pub(crate) async fn states(&self, study: &StudyUid) -> Vec<JobState> {
        self.jobs(study).await.iter().map(|job| job.state).collect()
    }

    pub(crate) async fn wait_for_jobs(&self, study: &StudyUid, states: &[JobState]) {
        eventually(&format!("the jobs are {states:?}"), async || self.states(study).await == states).await;
    }

    pub(crate) async fn delivered(&self, destination: &str, state: DeliveryState) -> usize {
        let filter = DeliveryFilter {
            destination: Some(destination.to_owned()),
            state: Some(state),
            ..DeliveryFilter::default()
        };
        self.ledger.deliveries(&filter, &PageRequest::first(1000)).await.unwrap().rows.len()
    }

    pub(crate) async fn wait_for_proof(&self, destination: &str, count: usize) {
        eventually(&format!("{count} objects are proved to be at {destination}"), async || {
            self.delivered(destination, DeliveryState::Proved).await == count
        })
        .await;
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        let begun = Instant::now();
        self.shutdown.cancel();
        self.pipeline.stopped().await;
        assert!(begun.elapsed() < Duration::from_secs(15), "the stop took {:?}", begun.elapsed());
    }
}

/// The package `bright` on the real ONNX Runtime, opened once.
pub(crate) fn registry() -> Arc<Registry> {
    static REGISTRY: OnceLock<Arc<Registry>> = OnceLock::new();
    REGISTRY
        .get_or_init(|| registry_of(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/packages")))
        .clone()
}

pub(crate) fn registry_of(folder: &Path) -> Arc<Registry> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::open(Some(&peers::onnxruntime())).unwrap());
    let options = RegistryOptions {
        allow_demonstration: Demonstrations::Named(Vec::new()),
        device: Device::Cpu,
        threads: std::num::NonZeroUsize::MIN,
    };
    let registry = Registry::load(folder, runtime, options).unwrap();
    assert!(registry.refused().is_empty(), "{:?}", registry.refused());
    Arc::new(registry)
}

/// A copy of the package `bright` with some text of its manifest replaced.
pub(crate) fn variant(folder: &Path, replace: &[(&str, &str)]) -> Arc<Registry> {
    let models = folder.join("models");
    copy_package("bright", &models.join("bright"), replace);
    registry_of(&models)
}

/// Copies a package of the tests, with some text of its manifest replaced.
pub(crate) fn copy_package(name: &str, to: &Path, replace: &[(&str, &str)]) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/packages").join(name);
    std::fs::create_dir_all(to.join("selftest")).unwrap();
    for file in ["model.onnx", "selftest/input.npy", "selftest/expected.npy"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let mut manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
    for (old, new) in replace {
        assert!(manifest.contains(old), "the manifest has no {old}");
        manifest = manifest.replace(old, new);
    }
    std::fs::write(to.join("model.toml"), manifest).unwrap();
}

/// Asks again and again until `holds`; far longer than it takes on a busy machine.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Watches that something stays so for as long as it would take to happen.
pub(crate) async fn stays(what: &str, lasting: Duration, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        assert!(holds().await, "it did not stay so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn now() -> Millis {
    Millis::now()
}
