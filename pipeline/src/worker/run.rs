//! The time between claim and answer: the model computes, the lease is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use inference::{Control, InferenceError, Model, Registry, Urgency, package::Fusion};
use ledger::{Heartbeat, Job, Lease, Ledger};
use tokio_util::sync::CancellationToken;
use tracing::{Span, warn};

use crate::{
    analysis::{self, Analysis, AnalysisError, ChannelFiles, Underlay},
    config::PipelineConfig,
    destination::chain,
    fusion,
    kill_point::{self, KillPoint},
};

use super::Trouble;

/// Soon after the start, so that a process which ends again and again at one study is told
/// from one that is stopped again and again.
const FIRST_REPORT_AFTER: Duration = Duration::from_millis(100);
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// One run of a model under a lease.
pub(super) struct Run<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) config: &'a PipelineConfig,
    pub(super) lease: Lease,
    pub(super) shutdown: &'a CancellationToken,
}

/// How a run ended without trouble.
pub(super) enum Ended {
    Answered(Analysis),
    /// The process stops.
    HandBack,
    /// The job was cancelled, superseded, or is somebody else's.
    Lost,
}

/// What the computing thread and its watch tell each other.
#[derive(Debug, Default)]
struct Signals {
    permille: AtomicU32,
    stop: AtomicBool,
}

impl Run<'_> {
    pub(super) async fn model(
        &self,
        model: Arc<Model>,
        channels: Vec<ChannelFiles>,
    ) -> Result<Ended, Trouble> {
        let clock = &self.config.clock;
        let until = clock.now().plus(self.config.leases.job);
        if let Heartbeat::Lost(_) = self.ledger.start_job(self.lease, until, clock.now()).await? {
            return Ok(Ended::Lost);
        }
        let signals = Arc::new(Signals::default());
        let span = Span::current();
        let computing = {
            let signals = signals.clone();
            tokio::task::spawn_blocking(move || span.in_scope(|| compute(&model, &channels, &signals)))
        };
        self.watch(computing, &signals).await
    }

    /// A fusion takes no images and is done before a lease needs renewing.
    pub(super) async fn fusion(
        &self,
        registry: &Registry,
        model: &Arc<Model>,
        fusion: &Fusion,
        job: &Job,
    ) -> Result<Ended, Trouble> {
        let clock = &self.config.clock;
        let until = clock.now().plus(self.config.leases.job);
        if let Heartbeat::Lost(_) = self.ledger.start_job(self.lease, until, clock.now()).await? {
            return Ok(Ended::Lost);
        }
        let answer = fusion::answer(self.ledger, registry, model, fusion, job).await?;
        Ok(Ended::Answered(Analysis { answer, frames: Vec::new(), underlay: None }))
    }

    async fn watch(
        &self,
        mut computing: tokio::task::JoinHandle<Result<Analysis, AnalysisError>>,
        signals: &Signals,
    ) -> Result<Ended, Trouble> {
        let mut period = FIRST_REPORT_AFTER;
        let mut lost = false;
        loop {
            tokio::select! {
                ended = &mut computing => return self.ended(ended, lost),
                () = self.shutdown.cancelled(), if !signals.stop.load(Ordering::Relaxed) => {
                    signals.stop.store(true, Ordering::Relaxed);
                }
                () = tokio::time::sleep(period) => {
                    period = REPORT_EVERY.min(self.config.leases.job / 3);
                    if !lost && self.is_lost(signals).await {
                        lost = true;
                        signals.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Renews the lease. A ledger that does not answer now is asked again: the lease outlasts
    /// several tries.
    async fn is_lost(&self, signals: &Signals) -> bool {
        let until = self.config.clock.now().plus(self.config.leases.job);
        let permille = signals.permille.load(Ordering::Relaxed);
        match self.ledger.report_progress(self.lease, permille, until).await {
            Ok(Heartbeat::Mine) => false,
            Ok(Heartbeat::Lost(_)) => true,
            Err(error) => {
                warn!(error = %chain(&error), "cannot renew the lease of job {}", self.lease.job);
                false
            }
        }
    }

    fn ended(
        &self,
        ended: Result<Result<Analysis, AnalysisError>, tokio::task::JoinError>,
        lost: bool,
    ) -> Result<Ended, Trouble> {
        match ended {
            Ok(Ok(analysis)) if !lost => Ok(Ended::Answered(analysis)),
            _ if lost => Ok(Ended::Lost),
            Ok(Err(AnalysisError::Model(InferenceError::Cancelled(_)))) => Ok(Ended::HandBack),
            // Memory or the device; a graph that always fails is dead after three tries.
            Ok(Err(AnalysisError::Model(error @ InferenceError::Graph(_)))) => {
                Err(Trouble::may_pass(chain(&error)))
            }
            Ok(Err(error)) => Err(Trouble::cannot_pass(chain(&error))),
            Ok(Ok(_)) => Ok(Ended::Lost),
            Err(error) => Err(Trouble::may_pass(format!("the model's thread ended early: {error}"))),
        }
    }
}

fn compute(model: &Model, channels: &[ChannelFiles], signals: &Signals) -> Result<Analysis, AnalysisError> {
    let progress = |part: f32| {
        kill_point::pass(KillPoint::Inferring);
        signals.permille.store((part.clamp(0.0, 1.0) * 1000.0) as u32, Ordering::Relaxed);
    };
    let cancelled = || signals.stop.load(Ordering::Relaxed);
    let control = Control { progress: &progress, cancelled: &cancelled, urgency: Urgency::Background };
    analysis::run(model, channels, Underlay::ForHeatmap, &control)
}
