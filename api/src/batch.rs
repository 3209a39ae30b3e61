//! Carries batches out: asks for one study after the other, never faster than the rate limit of
//! predictions lets one caller ask, and notes what became of each.
//!
//! Everything that it goes by is in the ledger: a process that ends leaves a batch that the next
//! one goes on with, and two that do the same do no harm, as the same question is one job.

use std::time::Duration;

use imaging::StudyUid;
use ledger::{BatchItem, BatchItemState, Job, JobState, Outcome, StudyRow, Topic};

use crate::{limits::PerMinute, state::AppState};

/// Items that are looked at in one round.
const AT_ONCE: u32 = 500;
/// A round at most so often, however much happens.
const BETWEEN: Duration = Duration::from_millis(200);
/// The net under lost wake-ups, and how soon the rate limit is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Works on batches until the service stops.
pub async fn run_batches(state: AppState) {
    let pace = PerMinute::new(state.http.limits.predicts_per_minute);
    let mut changes = state.ledger.changed(Topic::Events);
    while !state.shutdown.is_cancelled() {
        if let Err(error) = round(&state, &pace).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "batches stand still, trying again: the ledger did not answer");
        }
        tokio::time::sleep(BETWEEN).await;
        tokio::select! {
            () = state.shutdown.cancelled() => {}
            () = changes.next() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn round(state: &AppState, pace: &PerMinute<String>) -> Result<(), ledger::Error> {
    for item in state.ledger.open_batch_items(BatchItemState::Running, AT_ONCE).await? {
        if let Some(outcome) = outcome(state, &item).await? {
            let outcome = outcome.as_ref().copied().map_err(String::as_str);
            state.ledger.settle_batch_item(&item, outcome, state.now()).await?;
        }
    }
    for item in state.ledger.open_batch_items(BatchItemState::Waiting, AT_ONCE).await? {
        if pace.take(&item.actor).is_ok() {
            start(state, &item).await?;
        }
    }
    Ok(())
}

/// Says that the item's study is whole; a study that is gone is no reason to stop.
async fn start(state: &AppState, item: &BatchItem) -> Result<(), ledger::Error> {
    let gone = "the study is not here any more";
    let Some(study) = &item.study else {
        return state.ledger.settle_batch_item(item, Err(gone), state.now()).await;
    };
    match state.ledger.force_study(study, &item.actor, None, state.now()).await {
        Ok(()) => {}
        Err(ledger::Error::NoSuchStudy(_)) => {
            return state.ledger.settle_batch_item(item, Err(gone), state.now()).await;
        }
        Err(error) => return Err(error),
    }
    let revision = state.ledger.study(study).await?.map_or(0, |study| study.revision);
    state.ledger.start_batch_item(item, revision, state.now()).await
}

/// What became of an item; nothing while it is open.
async fn outcome(state: &AppState, item: &BatchItem) -> Result<Option<Result<(), String>>, ledger::Error> {
    let study = match &item.study {
        Some(study) => state.ledger.study(study).await?,
        None => None,
    };
    let Some(study) = study else { return Ok(Some(Err("the study is not here any more".to_owned()))) };
    let jobs = state.ledger.jobs_of_study(&study.study).await?;
    match settled(&study, &jobs, item.revision.unwrap_or(0)) {
        Some(Ok(())) => {
            unanswered(state, &jobs, &study.study).await.map(|reason| Some(reason.map_or(Ok(()), Err)))
        }
        other => Ok(other),
    }
}

/// Whether the jobs of a study are over, and how they ended.
fn settled(study: &StudyRow, jobs: &[Job], revision: i64) -> Option<Result<(), String>> {
    if study.forgotten_at.is_some() {
        return Some(Err("the images were deleted".to_owned()));
    }
    if study.is_held {
        return Some(Err("held: a person must release the study".to_owned()));
    }
    if study.looked_revision < revision {
        return None;
    }
    let mut jobs = jobs.iter().filter(|job| job.state != JobState::Superseded).peekable();
    if jobs.peek().is_none() {
        return Some(Err("no model suits the study; its routing says why".to_owned()));
    }
    let mut failure = None;
    for job in jobs {
        let reason = job.failure.as_ref().map_or("no reason is known", |(_, reason)| reason.as_str());
        match job.state {
            JobState::Done | JobState::Superseded => {}
            JobState::Dead => failure = Some(format!("{}: {reason}", job.model.id)),
            JobState::Cancelled => failure = Some(format!("{}: cancelled", job.model.id)),
            JobState::Queued
            | JobState::Leased
            | JobState::Running
            | JobState::Computed
            | JobState::Failed => {
                return None;
            }
        }
    }
    Some(failure.map_or(Ok(()), Err))
}

/// Why a model that was run gave no answer, if one did not.
async fn unanswered(
    state: &AppState,
    jobs: &[Job],
    study: &StudyUid,
) -> Result<Option<String>, ledger::Error> {
    for job in jobs.iter().filter(|job| job.state == JobState::Done) {
        let result = state.ledger.result_of_job(job.id).await?;
        if let Some(result) = result.filter(|result| result.outcome == Outcome::NotAnalysed) {
            let reason = result.findings.get("reason").and_then(serde_json::Value::as_str);
            let reason = reason.unwrap_or("not analysed");
            tracing::debug!(study.uid = %study, model.id = %job.model.id, "a study of a batch was not analysed");
            return Ok(Some(format!("{}: {reason}", job.model.id)));
        }
    }
    Ok(None)
}
