//! The service: opens what the roles need, in the order in which things may fail, and ends it in reverse.
//!
//! Everything that can refuse the start (folder, database, spool, ONNX Runtime, ports) is opened
//! before the first loop runs; afterwards a part that is down is a state to be shown, not an error.

mod dicom;
mod http;
pub(crate) mod settings;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use inference::{Registry, Runtime};
use ledger::{AuditKey, BootId, Ledger, Millis, NodeId};
use metrics_exporter_prometheus::PrometheusHandle;
use orthanc_bridge::{Bridge, Process};
use pipeline::{Pipeline, PipelineHandle};
use sha2::{Digest, Sha256};
use spool::Spool;
use time::UtcOffset;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    anchors::Anchors,
    config::{Config, Role},
    data_dir::{DataDir, Lock},
    first_login::{self, Shown},
    store::open_ledger,
};

/// How often the metrics recorder tidies its histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
const SESSIONS_UPKEEP: Duration = Duration::from_secs(60 * 60);
/// How much of the audit trail's end could be cut off without a trace.
const ANCHOR_EVERY: Duration = Duration::from_secs(60);

/// A running service.
pub(crate) struct Service {
    pub(crate) ledger: Ledger,
    http: Option<http::HttpServer>,
    http_address: Option<SocketAddr>,
    dicom: Option<dicom::DicomServer>,
    pipeline: Option<Pipeline>,
    bridge: Bridge,
    upkeep: JoinHandle<()>,
    /// Gives back what it has not finished.
    retrainings: Option<JoinHandle<()>>,
    anchors: Anchors,
    shutdown: CancellationToken,
    stop_within: Duration,
    _lock: Lock,
}

/// What several parts are told about this process.
struct Node {
    installation: Uuid,
    node: NodeId,
    boot: BootId,
    utc_offset: UtcOffset,
}

impl Service {
    /// Opens and starts everything that the roles ask for. Results state their dates at `utc_offset`; where
    /// nobody has signed in yet, a login is offered there.
    ///
    /// # Errors
    /// One sentence: what cannot be had, and what to do.
    pub(crate) async fn start(
        config: Config,
        utc_offset: UtcOffset,
        first_login: Option<Shown>,
    ) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let lock = data_dir.lock()?;
        let temporary = api::TemporaryFolder::open(&data_dir.temporary(), config.spool.min_free_bytes.0);
        let temporary = temporary.context("cannot make or empty the folder tmp in data_dir")?;
        let metrics = api::install_metrics().context("cannot start counting for /metrics")?;
        let ledger = open_ledger(&config).await?;
        let node = Node {
            installation: data_dir.installation(&ledger).await?,
            node: NodeId::new(node_name(&config.data_dir)),
            boot: BootId::new(Uuid::now_v7().to_string()),
            utc_offset,
        };
        let audit_key = AuditKey::new(data_dir.key("audit")?);
        let calls = ledger.keep_calls_in(&data_dir.call_journal(), &audit_key).await;
        calls.context("cannot use the journal of calls")?;
        let spool = open_spool(&config).await?;
        scp::reconcile(&spool, &ledger, &node.node, &node.boot)
            .await
            .context("cannot bring spool and database together")?;
        let registry = Arc::new(open_models(&config).await?);

        let shutdown = CancellationToken::new();
        let (boot, until) = (node.boot.clone(), shutdown.clone());
        tokio::spawn(scp::record_owed(spool.clone(), ledger.clone(), node.node.clone(), boot, until));
        let dicom = dicom::DicomServer::bind(&config, &node, &spool, &ledger)?;
        let http = match config.has_role(Role::Api) {
            true => Some(http::HttpListener::bind(&config.http, settings::header_limit(&config)).await?),
            false => None,
        };

        let bridge = start_bridge(&config, &node, &ledger, &spool, &shutdown)?;
        let pipeline_config = settings::pipeline(&config, &node)?;
        let unusable = "cannot use the settings of a destination";
        let (pipeline, answers) = match config.has_role(Role::Pipeline) || config.has_role(Role::Worker) {
            true => {
                let pipeline = Pipeline::start(pipeline_config, &ledger, &spool, registry.clone(), &shutdown);
                let pipeline = pipeline.context(unusable)?;
                let answers = pipeline.handle();
                (Some(pipeline), answers)
            }
            // A node without loops still answers questions about studies.
            false => (
                None,
                PipelineHandle::detached(pipeline_config, &ledger, registry.clone()).context(unusable)?,
            ),
        };
        let dicom = dicom.map(|bound| bound.serve(&shutdown));
        let http_address = http.as_ref().map(http::HttpListener::address).transpose()?;
        let mut retrainings = None;
        let http = match http {
            Some(listener) => {
                if let Some(shown) = first_login
                    && let Err(error) = first_login::offer(&ledger, &data_dir, shown).await
                {
                    // Images are taken all the same.
                    let error: &dyn std::error::Error = error.as_ref();
                    warn!(error, "no first login can be offered; make an account with `overread user add`");
                }
                let services = api::Services {
                    ledger: ledger.clone(),
                    spool: spool.clone(),
                    temporary,
                    spool_root: config.spool_dir(),
                    registry,
                    pipeline: answers,
                    bridge: bridge.handle(),
                    signer: api::TokenSigner::new(&data_dir.key("token")?)?,
                    audit_key,
                    pseudonyms: results::Pseudonyms::new(data_dir.key("pseudonym")?),
                    metrics: metrics.clone(),
                    node: node.node,
                    boot: node.boot,
                    clock: Arc::new(Millis::now),
                    shutdown: shutdown.clone(),
                    http: settings::http(&config, listener.is_tls())?,
                    retrain: settings::retrain(&config),
                };
                let state = api::AppState::new(services);
                tokio::spawn(api::run_batches(state.clone()));
                retrainings = Some(tokio::spawn(api::run_retrainings(state.clone())));
                tokio::spawn(api::watch_drift(state.clone()));
                if let Some(syslog) = settings::syslog(&config)? {
                    tokio::spawn(api::send_audit(state.clone(), syslog));
                }
                Some(listener.serve(api::router(state))?)
            }
            None => None,
        };
        let anchors = Anchors::of(&config.data_dir);
        let upkeep = tokio::spawn(upkeep(metrics, ledger.clone(), anchors.clone()));
        let stop_within = Duration::from_secs(config.limits.shutdown_seconds.into());
        let service = Self {
            ledger,
            http,
            http_address,
            dicom,
            pipeline,
            bridge,
            upkeep,
            retrainings,
            anchors,
            shutdown,
            stop_within,
            _lock: lock,
        };
        service.announce(&config);
        Ok(service)
    }

    fn announce(&self, config: &Config) {
        if let Some(address) = self.dicom_address() {
            info!(%address, ae_title = config.dicom.ae_title, "listening for DICOM on {address}");
        }
        if let Some(address) = self.http_address {
            info!(%address, "listening for HTTP on {address}");
        }
    }

    pub(crate) fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    pub(crate) fn dicom_address(&self) -> Option<SocketAddr> {
        self.dicom.as_ref().map(dicom::DicomServer::address)
    }

    /// Takes nothing new, finishes or hands back what is held, and ends within the configured
    /// time; what does not finish by then is left to its lease and lost to nobody.
    ///
    /// # Errors
    /// When a part ended badly; the others are ended all the same.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        info!("stopping");
        self.shutdown.cancel();
        let dicom = async {
            match self.dicom {
                Some(dicom) => dicom.stopped().await,
                None => Ok(()),
            }
        };
        let http = async {
            match self.http {
                Some(http) => http.stop(self.stop_within).await,
                None => Ok(()),
            }
        };
        let pipeline = async {
            if let Some(pipeline) = self.pipeline {
                pipeline.stopped().await;
            }
        };
        let retrainings = async {
            if let Some(retrainings) = self.retrainings
                && let Err(error) = tokio::time::timeout(self.stop_within, retrainings).await
            {
                warn!(%error, "a retraining did not stop in time; its lease will end");
            }
        };
        let (dicom, http, (), (), ()) =
            tokio::join!(dicom, http, pipeline, retrainings, self.bridge.stopped());
        self.upkeep.abort();
        self.anchors.note(&self.ledger, &mut None).await;
        self.ledger.close().await;
        info!("stopped");
        dicom.and(http)
    }
}

/// Tidies histograms and sign-ins that have run out; notes the end of the audit trail.
async fn upkeep(metrics: PrometheusHandle, ledger: Ledger, anchors: Anchors) {
    let mut histograms = tokio::time::interval(METRICS_UPKEEP);
    let mut sessions = tokio::time::interval(SESSIONS_UPKEEP);
    let mut anchoring = tokio::time::interval(ANCHOR_EVERY);
    let mut anchored = None;
    loop {
        tokio::select! {
            _ = histograms.tick() => metrics.run_upkeep(),
            _ = anchoring.tick() => anchors.note(&ledger, &mut anchored).await,
            _ = sessions.tick() => {
                if let Err(error) = ledger.delete_expired_sessions(Millis::now()).await {
                    warn!(error = %error, "cannot delete sign-ins that have run out");
                }
            }
        }
    }
}

pub(crate) async fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let settings = settings::spool(config);
    let opened = tokio::task::spawn_blocking(move || Spool::open(settings)).await;
    opened.context("opening the spool ended badly")?.context("cannot open the spool")
}

/// The models of a node that runs or routes to them. A package that cannot be used is left out
/// and named in `/ready`; images go on being received.
async fn open_models(config: &Config) -> anyhow::Result<Registry> {
    if !config.has_role(Role::Worker) && !config.has_role(Role::Pipeline) {
        return Ok(Registry::empty());
    }
    let (library, dir) = (settings::onnxruntime(config), config.models.dir.clone());
    let options = settings::registry(config);
    let registry = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::open(library.as_deref())?;
        Registry::load(&dir, &runtime, options)
            .with_context(|| format!("cannot use models.dir {}", dir.display()))
    });
    let registry = registry.await.context("loading the models ended badly")??;
    for model in registry.active() {
        let package = model.package();
        info!(model.id = %package.id, version = %package.version, "model {} is in service", package.full_name());
    }
    for refused in registry.refused() {
        warn!(package = %refused.dir.display(), reason = %refused.reason, "a model is not in service");
    }
    Ok(registry)
}

fn start_bridge(
    config: &Config,
    node: &Node,
    ledger: &Ledger,
    spool: &Spool,
    shutdown: &CancellationToken,
) -> anyhow::Result<Bridge> {
    // One node follows the feeds: the one that decides.
    let sources = match config.has_role(Role::Pipeline) {
        true => settings::sources(config)?,
        false => Vec::new(),
    };
    let process = Process { node: node.node.clone(), boot: node.boot.clone() };
    Bridge::start(sources, ledger, spool, &process, shutdown).context("cannot use the settings of a source")
}

/// The machine and, as one machine may run several, which data folder: a node that starts takes back
/// what its own last run held, and nobody else's.
pub(crate) fn node_name(data_dir: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let folder = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let [first, second, third, ..] = digest[..] else { return host };
    format!("{host}-{first:02x}{second:02x}{third:02x}")
}
