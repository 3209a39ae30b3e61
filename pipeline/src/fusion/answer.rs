//! The job of a fusion: its parts' findings in, one answer out.

use std::{collections::BTreeMap, sync::Arc};

use inference::{InferenceError, Model, Outcome, Registry, package::Fusion};
use ledger::{Job, JobInput, Ledger};

use super::{Options, part::findings};
use crate::analysis::Answer;

/// Why a fusion has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the options of the job cannot be read")]
    Options(#[from] serde_json::Error),
    #[error(transparent)]
    Model(#[from] InferenceError),
    #[error("the thread of the model ended early")]
    Thread(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// The series that the report of a fusion stands beside: those of its first part that has a result.
pub(crate) async fn inputs(
    ledger: &Ledger,
    fusion: &Fusion,
    job: &Job,
) -> Result<Vec<JobInput>, AnswerError> {
    let options = Options::of(job)?;
    let mut key = fusion.parts.iter().find_map(|feature| options.parts.get(&feature.model)).cloned();
    while let Some(chosen) = key {
        let Some(part) = ledger.job_by_key(&chosen.job).await? else { return Ok(Vec::new()) };
        let inputs = ledger.job_inputs(part.id).await?;
        if !inputs.is_empty() {
            return Ok(inputs);
        }
        // A part that is a fusion itself has no series either, but one of its own parts may.
        key = Options::of(&part).ok().and_then(|options| options.parts.into_values().next());
    }
    Ok(Vec::new())
}

/// Runs the fusion of a job over the results that it names.
pub(crate) async fn answer(
    ledger: &Ledger,
    registry: &Registry,
    model: &Arc<Model>,
    fusion: &Fusion,
    job: &Job,
) -> Result<Answer, AnswerError> {
    let options = Options::of(job)?;
    let mut found = BTreeMap::new();
    for feature in &fusion.parts {
        if found.contains_key(&feature.model) {
            continue;
        }
        match findings(ledger, registry, &feature.model, job, &options).await? {
            Ok(findings) => found.insert(feature.model.clone(), findings),
            Err(reason) => return Ok(Answer::NotAnalysed { reason }),
        };
    }
    let model = Arc::clone(model);
    let fused = tokio::task::spawn_blocking(move || model.fuse(&found, &options.values)).await?;
    Ok(match fused? {
        Outcome::Findings(prediction) => Answer::Prediction(Box::new(prediction)),
        Outcome::NotAnalysed { reason } => Answer::NotAnalysed { reason },
    })
}
