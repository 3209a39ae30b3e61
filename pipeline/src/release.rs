//! Whether a result may leave, and where it goes.
//!
//! The only place that makes deliveries of results. The guard that it hands to the ledger
//! is checked again inside the transaction: what came since the series were found whole
//! keeps the result back, unseen.

use inference::{Package, package::Policy};
use ledger::{ArtifactId, Job, Ledger, NewDelivery, Parcel, Release, ReleaseGuard};
use tracing::info;

use crate::{
    config::PipelineConfig,
    kill_point::{self, KillPoint},
    plan::PlannedJob,
};

/// The deliveries of a result under the policy of its package.
pub(crate) fn deliveries(
    config: &PipelineConfig,
    package: Option<&Package>,
    model: &str,
    artifacts: impl IntoIterator<Item = ArtifactId>,
) -> Vec<NewDelivery> {
    match package.map(|package| package.writes.policy) {
        Some(Policy::Write) => to_all(config, model, artifacts),
        // A package that is gone cannot say that its results may leave by themselves.
        Some(Policy::HoldForReview | Policy::Shadow) | None => Vec::new(),
    }
}

/// One delivery for each object and each destination that the site allows for the model.
pub(crate) fn to_all(
    config: &PipelineConfig,
    model: &str,
    artifacts: impl IntoIterator<Item = ArtifactId>,
) -> Vec<NewDelivery> {
    let rule = config.site_rules.iter().find(|rule| rule.model == model);
    let allowed = |name: &str| {
        let listed = rule.and_then(|rule| rule.destinations.as_ref());
        listed.is_none_or(|listed| listed.iter().any(|one| one == name))
    };
    let destinations: Vec<&str> = config
        .destinations
        .iter()
        .map(|destination| destination.name.as_str())
        .filter(|name| allowed(name))
        .collect();
    let to_each = |artifact: ArtifactId| {
        destinations
            .iter()
            .map(move |name| NewDelivery {
                destination: (*name).to_owned(),
                parcel: Parcel::Artifact(artifact),
            })
            .collect::<Vec<_>>()
    };
    artifacts.into_iter().flat_map(to_each).collect()
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
    let deliveries = deliveries(config, package, &job.model.id, artifacts.iter().map(|artifact| artifact.id));
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
