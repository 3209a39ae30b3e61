//! Takes jobs from the queue, one at a time, and brings each to an end.
//!
//! While a job runs its lease is renewed and its progress reported; once the ledger says
//! that the job is not ours any more, the model is stopped at its next window and nothing
//! is kept. A job that fails is failed with a reason, a job that panics too: no study can
//! stop the ones behind it. A stop hands the job back to the queue.

mod intact;
mod run;
mod trouble;

use std::{sync::Arc, time::Duration};

use inference::{Model, Registry, package::Task};
use ledger::{Claim, ClaimedJob, Failed, Failure, FailureKind, Ledger, NewResult, Release, Topic, WorkerId};
use results::{Identity, Reference};
use spool::{InstanceKey, Spool};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use crate::{
    analysis::{Analysis, ChannelFiles},
    config::PipelineConfig,
    destination::chain,
    encode::{self, Made, Order, Predecessor},
    form::{self, Offered},
    fusion, keep,
    kill_point::{self, KillPoint},
    look::Looker,
    picture, release,
};

use run::{Ended, Run};
use trouble::Trouble;

/// The net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(2);

/// One worker: one job at a time.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Arc<PipelineConfig>,
    pub(crate) looker: Arc<Looker>,
}

impl Worker {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.ledger.changed(Topic::Jobs);
        while !shutdown.is_cancelled() {
            match self.claim().await {
                Ok(Some(claimed)) => {
                    self.work(claimed, &shutdown).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(worker.id = %self.id, error = %chain(&error), "worker {} cannot use the ledger", self.id);
                }
            }
            let now = self.config.clock.now();
            let due = self.ledger.next_job_due(now).await.ok().flatten();
            let pause = due.map_or(SLOW_TICK, |due| due.since(now).min(SLOW_TICK));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = changes.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn claim(&self) -> Result<Option<ClaimedJob>, ledger::Error> {
        let claim = Claim {
            worker: self.id.clone(),
            node: self.config.node.clone(),
            boot: self.config.boot.clone(),
            lease: self.config.leases.job,
            models: None,
        };
        let claimed = self.ledger.claim_job(&claim, self.config.clock.now()).await?;
        if claimed.is_some() {
            kill_point::pass(KillPoint::Claimed);
        }
        Ok(claimed)
    }

    async fn work(&self, claimed: ClaimedJob, shutdown: &CancellationToken) {
        let job = &claimed.job;
        let span = info_span!("job", job.id = %job.id, study.uid = %job.study, model.id = %job.model.id, worker.id = %self.id);
        let begun = self.config.clock.now();
        metrics::histogram!("overread_job_wait_seconds", "model" => job.model.id.clone())
            .record(begun.since(job.created_at).as_secs_f64());
        let worked = self.bring_to_end(&claimed, shutdown).instrument(span.clone()).await;
        let reported = match worked {
            Ok(()) => Ok(()),
            Err(Trouble::Failure(kind, reason)) => {
                self.fail(&claimed, kind, reason).instrument(span.clone()).await
            }
            Err(Trouble::Ledger(error)) => Err(error),
        };
        if let Err(error) = reported {
            span.in_scope(|| warn!(error = %chain(&error), "job {} is left to its lease: the ledger cannot be used", job.id));
        }
        let seconds = self.config.clock.now().since(begun).as_secs_f64();
        metrics::histogram!("overread_job_seconds", "model" => job.model.id.clone()).record(seconds);
    }

    async fn bring_to_end(&self, claimed: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Trouble> {
        let job = &claimed.job;
        let model = self.model(claimed)?;
        let channels = self.channels(claimed, &model).await?;
        intact::check(&self.ledger, &self.spool, &channels, self.config.clock.now()).await?;
        let files = channels
            .first()
            .map(|first| first.iter().map(|(_, path)| path.clone()).collect())
            .unwrap_or_default();
        let run = Run { ledger: &self.ledger, config: &self.config, lease: claimed.lease, shutdown };
        let ended = match &model.package().task {
            Task::Fusion(fusion) => run.fusion(&self.registry, &model, fusion, job).await?,
            _ => run.model(model.clone(), channels).await?,
        };
        let analysis = match ended {
            Ended::Answered(analysis) => analysis,
            Ended::HandBack => {
                info!("job {} is handed back", job.id);
                let _ = self.ledger.hand_back_job(claimed.lease, self.config.clock.now()).await?;
                return Ok(());
            }
            Ended::Lost => {
                info!("job {} is not ours any more", job.id);
                return Ok(());
            }
        };
        kill_point::pass(KillPoint::Inferred);
        let made = self.make(claimed, &model, files, analysis).await?;
        self.finish(claimed, &model, made).await
    }

    /// Exactly the package that the key of the job names.
    fn model(&self, claimed: &ClaimedJob) -> Result<Arc<Model>, Trouble> {
        let wanted = &claimed.job.model;
        let found = self.registry.get(&format!("{}@{}", wanted.id, wanted.version));
        let found = found.filter(|model| model.package().digest == wanted.digest);
        found.ok_or_else(|| {
            Trouble::cannot_pass(format!("model {} {} is not in service any more", wanted.id, wanted.version))
        })
    }

    async fn channels(&self, claimed: &ClaimedJob, model: &Model) -> Result<Vec<ChannelFiles>, Trouble> {
        let study = &claimed.job.study;
        let inputs = match &model.package().task {
            Task::Fusion(fusion) => fusion::inputs(&self.ledger, fusion, &claimed.job).await?,
            _ => claimed.inputs.clone(),
        };
        let mut channels = Vec::with_capacity(inputs.len());
        for input in &inputs {
            let rows = self.ledger.instances_of_series(study, &input.series).await?;
            let wanted: std::collections::BTreeSet<_> = input.instances.iter().collect();
            let files: ChannelFiles = rows
                .into_iter()
                .filter(|row| wanted.contains(&row.header.sop_instance))
                .map(|row| {
                    let path = self.spool.path_of(&InstanceKey::of(&row.header));
                    (row.header, path)
                })
                .collect();
            if files.len() != wanted.len() {
                return Err(Trouble::cannot_pass("instances of the input were deleted"));
            }
            channels.push(files);
        }
        Ok(channels)
    }

    async fn make(
        &self,
        claimed: &ClaimedJob,
        model: &Arc<Model>,
        files: Vec<std::path::PathBuf>,
        analysis: Analysis,
    ) -> Result<Made, Trouble> {
        let predecessors = self.predecessors(claimed).await?;
        let forms = form::wanted(&self.config, model.package());
        let job = &claimed.job;
        let identity = Identity { installation: self.config.installation, job_key: job.key.clone() };
        let written_at = self.config.local_time(job.created_at);
        let written_at = written_at
            .ok_or_else(|| Trouble::cannot_pass("the time of the job cannot be written as a date"))?;
        let model = model.clone();
        let made = tokio::task::spawn_blocking(move || {
            let package = model.package();
            let (forms, files, predecessors) = (&forms, &files, &predecessors);
            let order = Order { identity, written_at, package, forms, files, predecessors };
            encode::make(&order, &analysis)
        });
        match made.await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(Trouble::cannot_pass(chain(&error))),
            Err(error) => Err(Trouble::may_pass(format!("writing the result ended early: {error}"))),
        }
    }

    /// The report that the new one replaces, in every form: slices came late, and this job asks again.
    async fn predecessors(&self, claimed: &ClaimedJob) -> Result<Vec<Predecessor>, Trouble> {
        let Some(older) = self.ledger.result_in_force(&claimed.job.question).await? else {
            return Ok(Vec::new());
        };
        let artifacts = self.ledger.artifacts(older.id).await?;
        let reports = artifacts.into_iter().filter(|artifact| artifact.role == "sr");
        let predecessor = |artifact: ledger::Artifact| Predecessor {
            profile: artifact.profile,
            report: Reference {
                study: artifact.study,
                series: artifact.series,
                sop_class: artifact.sop_class,
                sop_instance: artifact.sop_instance,
            },
        };
        Ok(reports.map(predecessor).collect())
    }

    /// Keeps the objects, and completes the job in one transaction; the result leaves at
    /// once when its series are whole and nothing has come for them.
    async fn finish(&self, claimed: &ClaimedJob, model: &Arc<Model>, made: Made) -> Result<(), Trouble> {
        let job = &claimed.job;
        let kept = keep::keep(&self.ledger, &self.spool, made.objects).await?;
        let offered: Vec<Offered<'_>> = kept
            .artifacts
            .iter()
            .map(|artifact| Offered { id: artifact.id, profile: &artifact.profile })
            .collect();
        let deliveries = release::deliveries(&self.config, Some(model.package()), &job.model.id, &offered);
        let new = NewResult { outcome: made.outcome, findings: made.findings, artifacts: kept.artifacts };
        let now = self.config.clock.now();
        match self.guard(claimed, model).await? {
            Some(guard) => {
                let release = self.ledger.complete_job(claimed.lease, &new, &guard, &deliveries, now).await?;
                kill_point::pass(KillPoint::Completed);
                release::note(&release, job);
                if matches!(release, Release::LeaseLost) {
                    return Ok(());
                }
            }
            None => {
                let kept = self.ledger.compute_job(claimed.lease, &new, now).await?;
                kill_point::pass(KillPoint::Completed);
                info!(kept = kept.is_some(), "result of job {} waits until its series is whole", job.id);
            }
        }
        for receipt in kept.receipts {
            self.spool.recorded(receipt);
        }
        if let Err(error) = self.looker.follow_parts(&job.study).await {
            warn!(study.uid = %job.study, error = %chain(&error), "fusions over job {} wait for the next look or start", job.id);
        }
        Ok(())
    }

    /// What the study says now about the series of the job.
    async fn guard(
        &self,
        claimed: &ClaimedJob,
        model: &Model,
    ) -> Result<Option<ledger::ReleaseGuard>, Trouble> {
        if matches!(model.package().task, Task::Fusion(_)) {
            return Ok(Some(fusion::guard()));
        }
        let Some(picture) = picture::of_study(&self.ledger, &claimed.job.study).await? else {
            return Ok(None);
        };
        let plan = self.looker.plan(&picture, &self.looker.models());
        Ok(plan.job_with_key(&claimed.job.key).and_then(release::guard))
    }

    async fn fail(
        &self,
        claimed: &ClaimedJob,
        kind: FailureKind,
        reason: String,
    ) -> Result<(), ledger::Error> {
        let job = &claimed.job;
        let now = self.config.clock.now();
        let spread = job.id.as_uuid().as_u128() as u64;
        let retry_at = now.plus(self.config.retries.job.after(job.attempts + 1, spread));
        let failure = Failure { kind, reason: reason.clone(), retry_at };
        let outcome = match self.ledger.fail_job(claimed.lease, &failure, now).await? {
            Failed::Retry { attempts } => {
                warn!(attempts, %reason, "job {} failed, it is tried again", job.id);
                "failed"
            }
            Failed::Dead => {
                error!(%reason, "job {} is dead and waits for a person", job.id);
                "dead"
            }
            Failed::LeaseLost => "lease-lost",
        };
        metrics::counter!("overread_job_failures_total", "model" => job.model.id.clone(), "outcome" => outcome)
            .increment(1);
        Ok(())
    }
}
