//! Looks at studies: which series are whole, which jobs they ask for, which results may leave.
//!
//! Woken when something arrives or becomes known, and by the clock for what waits for
//! silence. A look that fails is put off and never stops the others. Looking twice does
//! nothing twice: a job is unique by its key, a release by its job.

use std::{sync::Arc, time::Duration};

use imaging::StudyUid;
use inference::{Model, Registry};
use ledger::{About, Enqueued, JobState, Ledger, NewJob, Priority, Topic};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::PipelineConfig,
    destination::chain,
    fusion::{Asking, FusionError},
    kill_point::{self, KillPoint},
    picture::{self, StudyPicture},
    plan::{Plan, PlannedJob},
    release,
};

/// The net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(1);
/// Studies that are looked at in one round.
const STUDIES_MAX: u32 = 100;
/// A study over which a look stumbles is looked at again after that.
const STUMBLED: Duration = Duration::from_secs(300);

/// Looks at studies until it is told to stop.
#[derive(Debug)]
pub(crate) struct Looker {
    pub(crate) ledger: Ledger,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Arc<PipelineConfig>,
}

impl Looker {
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut intake = self.ledger.changed(Topic::Intake);
        let mut jobs = self.ledger.changed(Topic::Jobs);
        while !shutdown.is_cancelled() {
            let round = self.look_at_due(&shutdown).await;
            let pause = match &round {
                Ok(()) => self.pause().await,
                Err(error) => {
                    warn!(error = %chain(error), "readiness cannot use the ledger");
                    SLOW_TICK
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = intake.next() => {}
                () = jobs.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Until the next study has been quiet for long enough.
    async fn pause(&self) -> Duration {
        let due = self.ledger.next_look_at(self.config.patience.quiet).await.ok().flatten();
        let now = self.config.clock.now();
        due.map_or(SLOW_TICK, |due| due.since(now).clamp(Duration::from_millis(5), SLOW_TICK))
    }

    async fn look_at_due(&self, shutdown: &CancellationToken) -> Result<(), ledger::Error> {
        loop {
            let (now, quiet) = (self.config.clock.now(), self.config.patience.quiet);
            let studies = self.ledger.studies_to_look_at(now, quiet, STUDIES_MAX).await?;
            if studies.is_empty() || shutdown.is_cancelled() {
                return Ok(());
            }
            for study in &studies {
                if let Err(error) = self.look(study).await {
                    self.stumble(study, error).await?;
                }
            }
        }
    }

    /// What may pass ends the round; anything else is the study's own trouble.
    async fn stumble(&self, study: &StudyUid, error: ledger::Error) -> Result<(), ledger::Error> {
        if error.may_pass() {
            return Err(error);
        }
        warn!(study.uid = %study, error = %chain(&error), "cannot judge study {study}, looking again later");
        let Some(row) = self.ledger.study(study).await? else { return Ok(()) };
        let again = self.config.clock.now().plus(STUMBLED);
        let waits_for = json!({ "trouble": error.to_string() });
        self.ledger.study_looked_at(study, row.revision, &waits_for, Some(again)).await
    }

    async fn look(&self, study: &StudyUid) -> Result<(), ledger::Error> {
        let Some(picture) = picture::of_study(&self.ledger, study).await? else { return Ok(()) };
        let models = self.models();
        let plan = self.plan(&picture, &models);
        if picture.holds.is_empty() {
            for job in &plan.jobs {
                self.ask(&picture, &models, job).await?;
            }
            self.follow_parts(study).await?;
        }
        let waits_for = self.waits_for(&picture, &plan);
        let seen = picture.study.revision;
        self.ledger.study_looked_at(study, seen, &waits_for, plan.look_again_at()).await?;
        kill_point::pass(KillPoint::Looked);
        Ok(())
    }

    /// Fusions whose parts have other results now are asked again.
    pub(crate) async fn follow_parts(&self, study: &StudyUid) -> Result<(), ledger::Error> {
        expected(self.asking().follow_parts(study).await)
    }

    pub(crate) async fn follow_parts_everywhere(&self) -> Result<(), ledger::Error> {
        expected(self.asking().follow_parts_everywhere().await)
    }

    pub(crate) fn asking(&self) -> Asking<'_> {
        Asking { ledger: &self.ledger, registry: &self.registry, config: &self.config }
    }

    /// Models in service, and those that are only tried out.
    pub(crate) fn models(&self) -> Vec<Arc<Model>> {
        let mut models = self.registry.active();
        models.extend(self.registry.shadows());
        models
    }

    pub(crate) fn plan(&self, picture: &StudyPicture, models: &[Arc<Model>]) -> Plan {
        let packages = models.iter().map(|model| model.package());
        Plan::of(picture, packages, &self.config.site_rules, self.config.patience, self.config.clock.now())
    }

    /// Asks for a job whose series are whole, and releases its result if it waits for that.
    async fn ask(
        &self,
        picture: &StudyPicture,
        models: &[Arc<Model>],
        planned: &PlannedJob,
    ) -> Result<(), ledger::Error> {
        let Some(guard) = release::guard(planned) else { return Ok(()) };
        let enqueued = self.ledger.enqueue_job(&self.new_job(picture, planned)).await?;
        match enqueued {
            Enqueued::New { job, superseded } => {
                kill_point::pass(KillPoint::Enqueued);
                metrics::counter!("overread_jobs_enqueued_total", "model" => planned.model.id.clone())
                    .increment(1);
                let study = &picture.study.study;
                info!(study.uid = %study, job.id = %job, model.id = %planned.model.id, superseded = superseded.len(), "job {job} is queued");
            }
            Enqueued::Exists { job, state: JobState::Computed } => {
                let package = models
                    .iter()
                    .map(|model| model.package())
                    .find(|package| package.digest == planned.model.digest);
                if let Some(job) = self.ledger.job(job).await? {
                    release::release_computed(&self.ledger, &self.config, package, &job, &guard).await?;
                }
            }
            Enqueued::Exists { .. } | Enqueued::Stale { .. } => {}
        }
        Ok(())
    }

    fn new_job(&self, picture: &StudyPicture, planned: &PlannedJob) -> NewJob {
        NewJob {
            key: planned.key.clone(),
            study: picture.study.study.clone(),
            input_revision: picture.study.revision,
            model: planned.model.clone(),
            options: planned.options.clone(),
            priority: self.priority(picture, planned),
            inputs: planned.inputs.clone(),
            about: if planned.stands_alone { About::Image } else { About::Series },
            is_shadow: planned.is_shadow,
            actor: "overread".to_owned(),
            request_id: asked_in(picture),
            created_at: self.config.clock.now(),
        }
    }

    /// STAT when the site says so of the model, or a sender of its series of the study.
    fn priority(&self, picture: &StudyPicture, planned: &PlannedJob) -> Priority {
        let rule = self.config.site_rules.iter().find(|rule| rule.model == planned.model.id);
        let sent_as_stat = planned.inputs.iter().any(|input| {
            picture.series.iter().any(|series| series.is_stat && series.row.series == input.series)
        });
        if sent_as_stat || rule.is_some_and(|rule| rule.stat) { Priority::Stat } else { Priority::Routine }
    }

    /// What `waits_for` of a study says: evidence and wants of each series, and the holds.
    fn waits_for(&self, picture: &StudyPicture, plan: &Plan) -> serde_json::Value {
        let holds: Vec<_> = picture
            .holds
            .iter()
            .map(|hold| json!({ "reason": hold.reason, "raised_at": hold.raised_at }))
            .collect();
        json!({ "series": plan.verdicts, "holds": holds })
    }
}

/// A package that went out of service between two questions asks none.
fn expected(followed: Result<(), FusionError>) -> Result<(), ledger::Error> {
    match followed {
        Err(FusionError::Ledger(error)) => Err(error),
        Ok(()) | Err(FusionError::NoSuchModel(_) | FusionError::NoFusion(_) | FusionError::NoSuchStudy) => {
            Ok(())
        }
    }
}

/// The request that this look answers: somebody said that the study is whole, and nothing came since.
fn asked_in(picture: &StudyPicture) -> Option<String> {
    let forced = picture.study.forced.as_ref()?;
    if forced.revision == picture.study.revision { forced.request_id.clone() } else { None }
}
