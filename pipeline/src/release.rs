//! Whether a result may leave, and where it goes.
//!
//! The only place that makes deliveries of results. The guard that it hands to the ledger
//! is checked again inside the transaction: what came since the series were found whole
//! keeps the result back, unseen.

use inference::{Package, package::Policy};
use ledger::{ArtifactId, Eyes, Job, Ledger, NewDelivery, Parcel, Release, ReleaseGuard};
use tracing::info;

use crate::{
    config::PipelineConfig,
    destination::DestinationConfig,
    form::{self, Offered},
    kill_point::{self, KillPoint},
    plan::PlannedJob,
};

/// The deliveries of a result under the policy of its package: to each destination the objects of
/// the form that it wants.
pub(crate) fn deliveries(
    config: &PipelineConfig,
    package: Option<&Package>,
    model: &str,
    offered: &[Offered<'_>],
) -> Vec<NewDelivery> {
    match package.map(|package| package.writes.policy) {
        // What two doctors have to agree on leaves when they do.
        Some(Policy::Write) if config.eyes_for(model) == Eyes::Four => Vec::new(),
        Some(Policy::Write) => to_each(config, model, |destination| {
            let profiles = offered.iter().map(|object| object.profile);
            let profile = form::chosen(&destination.form, package, profiles);
            let of_form = offered.iter().filter(|object| Some(object.profile) == profile);
            of_form.map(|object| object.id).collect()
        }),
        // A package that is gone cannot say that its results may leave by themselves.
        Some(Policy::HoldForReview | Policy::Shadow) | None => Vec::new(),
    }
}

/// One delivery for each destination that the site allows for the model, and each object for it.
pub(crate) fn to_each(
    config: &PipelineConfig,
    model: &str,
    objects_for: impl Fn(&DestinationConfig) -> Vec<ArtifactId>,
) -> Vec<NewDelivery> {
    let to = |destination: &DestinationConfig| {
        let name = destination.name.clone();
        objects_for(destination)
            .into_iter()
            .map(move |object| NewDelivery { destination: name.clone(), parcel: Parcel::Artifact(object) })
    };
    config.destinations_of(model).flat_map(to).collect()
}

/// The guard for a job whose series are whole now.
pub(crate) fn guard(planned: &PlannedJob) -> Option<ReleaseGuard> {
    planned.whole.clone().map(ReleaseGuard::Unchanged)
}

/// Releases a computed job that still asks today's question over whole series.
pub(crate) async fn release_computed(
    ledger: &Ledger,
    config: &PipelineConfig,
    package: Option<&Package>,
    job: &Job,
    guard: &ReleaseGuard,
) -> Result<(), ledger::Error> {
    let Some(result) = ledger.result_of_job(job.id).await? else { return Ok(()) };
    let artifacts = ledger.artifacts(result.id).await?;
    let offered: Vec<Offered<'_>> =
        artifacts.iter().map(|artifact| Offered { id: artifact.id, profile: &artifact.profile }).collect();
    let deliveries = deliveries(config, package, &job.model.id, &offered);
    let released = match ledger.release_job(job.id, guard, &deliveries, config.clock.now()).await {
        Ok(released) => released,
        // Another node released it, or it was superseded meanwhile.
        Err(ledger::Error::JobState { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    note(&released, job);
    Ok(())
}

/// Logs and counts what became of a result.
pub(crate) fn note(release: &Release, job: &Job) {
    let outcome = match release {
        Release::Done(released) => {
            kill_point::pass(KillPoint::Released);
            let supersedes = released.supersedes.len();
            info!(study.uid = %job.study, job.id = %job.id, model.id = %job.model.id, supersedes, "result of job {} is released", job.id);
            "released"
        }
        Release::InputChanged(_) => {
            info!(study.uid = %job.study, job.id = %job.id, "result of job {} is kept back: slices came meanwhile", job.id);
            "input-changed"
        }
        Release::Held(_) => {
            info!(study.uid = %job.study, job.id = %job.id, "result of job {} is kept back: its study is held", job.id);
            "held"
        }
        Release::LeaseLost => {
            info!(study.uid = %job.study, job.id = %job.id, "result of job {} is dropped: the job is not ours any more", job.id);
            "lease-lost"
        }
    };
    metrics::counter!("overread_results_total", "model" => job.model.id.clone(), "outcome" => outcome)
        .increment(1);
}
