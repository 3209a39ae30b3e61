//! The parts of a fusion: which result of each model goes in, and what it says.

use std::{collections::BTreeMap, sync::Arc};

use imaging::StudyUid;
use inference::{
    Findings, ModelId, Outcome, Registry,
    package::{Fusion, Task},
};
use ledger::{Job, JobState, Ledger, PageRequest, ResultFilter, ResultRow, ReviewState};
use serde::{Deserialize, Serialize};

use super::{AnswerError, Options};

/// The result of a part that goes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chosen {
    /// The key of its job.
    pub(super) job: String,
    /// What a doctor decided that keeps it from being used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Refusal {
    Rejected,
    Corrected,
}

impl Refusal {
    fn of(row: &ResultRow) -> Option<Self> {
        match row.review_state {
            ReviewState::Rejected => Some(Self::Rejected),
            ReviewState::Corrected => Some(Self::Corrected),
            ReviewState::Pending
            | ReviewState::AwaitingSecond
            | ReviewState::Disputed
            | ReviewState::Accepted => None,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Corrected => "corrected",
        }
    }
}

/// For each part that answers for studies, the result that is in force; parts that are rows are run with the fusion.
pub(super) async fn chosen(
    ledger: &Ledger,
    registry: &Registry,
    fusion: &Fusion,
    study: &StudyUid,
) -> Result<BTreeMap<ModelId, Chosen>, ledger::Error> {
    let mut parts = BTreeMap::new();
    for feature in &fusion.parts {
        let Some(model) = registry.get(feature.model.as_str()) else { continue };
        if matches!(model.package().task, Task::Tabular(_)) || parts.contains_key(&feature.model) {
            continue;
        }
        if let Some((result, job)) = in_force(ledger, study, model.package().id.as_str()).await? {
            parts.insert(feature.model.clone(), Chosen { job: job.key, refused: Refusal::of(&result) });
        }
    }
    Ok(parts)
}

/// The newest released result of a model in a study that no other replaces, and its job: one with findings that no
/// doctor refused before any other. What a version that is only tried out found is not in force.
pub(crate) async fn in_force(
    ledger: &Ledger,
    study: &StudyUid,
    model_id: &str,
) -> Result<Option<(ResultRow, Job)>, ledger::Error> {
    let filter = ResultFilter {
        study: Some(study.clone()),
        model_id: Some(model_id.to_owned()),
        ..ResultFilter::default()
    };
    let mut found = ledger.results(&filter, &PageRequest::first(100)).await?.rows;
    found.retain(|result| result.superseded_by.is_none());
    // The order of the ledger, newest first, stays among equals.
    found.sort_by_key(|result| (result.outcome != ledger::Outcome::Findings, Refusal::of(result).is_some()));
    for result in found {
        match ledger.job(result.job).await? {
            Some(job) if !job.is_shadow() => return Ok(Some((result, job))),
            Some(_) | None => {}
        }
    }
    Ok(None)
}

/// The findings of one part, or why there are none.
pub(super) async fn findings(
    ledger: &Ledger,
    registry: &Registry,
    id: &ModelId,
    job: &Job,
    options: &Options,
) -> Result<Result<Findings, String>, AnswerError> {
    if let Some(chosen) = options.parts.get(id) {
        return Ok(of_result(ledger, id, chosen).await?);
    }
    let Some(model) = registry.get(id.as_str()) else { return Ok(Err(format!("{id} is not in service"))) };
    let Task::Tabular(table) = &model.package().task else {
        return Ok(Err(why_none(ledger, id, model.package().id.as_str(), &job.study).await?));
    };
    if !table.features.iter().any(|feature| options.values.contains_key(&feature.name)) {
        return Ok(Err(format!("no values for {id} were given")));
    }
    let (model, row) = (Arc::clone(&model), options.values.clone());
    let answers = tokio::task::spawn_blocking(move || model.predict(&[row])).await??;
    Ok(match answers.into_iter().next() {
        Some(Outcome::Findings(prediction)) => Ok(Findings::Tabular(prediction)),
        Some(Outcome::NotAnalysed { reason }) => Err(format!("{id} was not analysed: {reason}")),
        None => Err(format!("{id} gave no answer")),
    })
}

async fn of_result(
    ledger: &Ledger,
    id: &ModelId,
    chosen: &Chosen,
) -> Result<Result<Findings, String>, ledger::Error> {
    if let Some(refusal) = chosen.refused {
        return Ok(Err(format!("a doctor {} the result of {id}", refusal.verb())));
    }
    let result = match ledger.job_by_key(&chosen.job).await? {
        Some(job) => ledger.result_of_job(job.id).await?,
        None => None,
    };
    Ok(match result {
        Some(result) if result.outcome == ledger::Outcome::Findings => {
            serde_json::from_value(result.findings).map_err(|error| format!("the findings of {id}: {error}"))
        }
        Some(result) => {
            let reason = result.findings["reason"].as_str().unwrap_or("it gave no reason");
            Err(format!("{id} was not analysed: {reason}"))
        }
        None => Err(format!("{id} has no result any more")),
    })
}

/// Nothing was released of a part: was it never asked, is it on its way, did it fail?
async fn why_none(
    ledger: &Ledger,
    id: &ModelId,
    model_id: &str,
    study: &StudyUid,
) -> Result<String, ledger::Error> {
    let jobs = ledger.jobs_of_study(study).await?;
    let of_part = || jobs.iter().filter(|job| job.model.id == model_id && !job.is_shadow());
    Ok(if of_part().any(|job| !job.state.is_final()) {
        format!("{id} has no result in this study yet")
    } else if of_part().any(|job| job.state == JobState::Dead) {
        format!("{id} failed in this study")
    } else {
        format!("{id} has no result in this study")
    })
}
