//! What the ledger and the spool know of reviewed cases.

use ledger::{Artifact, DecidedCase, FeedbackFilter, PredictionId};
use spool::InstanceKey;

use super::{Reviewed, ReviewedCase};
use crate::{
    error::{ApiError, Code},
    state::AppState,
};

/// Cases of one export; a narrower time makes several.
const CASES_MAX: usize = 2000;
const PREDICTIONS_MAX: usize = 100_000;
const PREDICTIONS_AT_ONCE: u32 = 1000;
/// Segmentation, label map segmentation and surface segmentation (PS3.6 Annex A).
const SEGMENTATION_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.66";

/// Why reviewed cases could not be brought together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error(
        "these are more than {CASES_MAX} cases or {PREDICTIONS_MAX} rows, which is what one export takes"
    )]
    TooMany,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl From<GatherError> for ApiError {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::TooMany => {
                Self::because(Code::Unprocessable, "too many cases for one export; narrow from and to")
            }
            GatherError::Ledger(error) => error.into(),
        }
    }
}

/// The reviewed cases of a model, the oldest first.
pub(crate) async fn gather(
    state: &AppState,
    model: &str,
    filter: &FeedbackFilter,
) -> Result<Reviewed, GatherError> {
    let decided = state.ledger.decided_cases(filter).await?;
    if decided.len() > CASES_MAX {
        return Err(GatherError::TooMany);
    }
    let mut cases = Vec::with_capacity(decided.len());
    for case in decided {
        cases.push(with_files(state, case).await?);
    }
    let mut predictions = Vec::new();
    let mut after = PredictionId(0);
    loop {
        let rows = state.ledger.reviewed_predictions(model, after, PREDICTIONS_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        after = last.prediction.id;
        let at = |one: &ledger::ReviewedPrediction| one.prediction.at;
        let wanted = |one: &ledger::ReviewedPrediction| {
            filter.from.is_none_or(|from| at(one) >= from)
                && filter.before.is_none_or(|before| at(one) < before)
        };
        predictions.extend(rows.into_iter().filter(wanted));
        if predictions.len() > PREDICTIONS_MAX {
            return Err(GatherError::TooMany);
        }
    }
    Ok(Reviewed { model: model.to_owned(), made_at: state.now(), predictions, cases })
}

async fn with_files(state: &AppState, case: DecidedCase) -> Result<ReviewedCase, ledger::Error> {
    let study = &case.study;
    let inputs = state.ledger.job_inputs(case.job).await?;
    let images = inputs.iter().flat_map(|input| {
        input.instances.iter().map(|instance| InstanceKey {
            study: study.clone(),
            series: input.series.clone(),
            sop_instance: instance.clone(),
        })
    });
    let images = images.map(|key| state.spool.path_of(&key)).collect();
    let is_segmentation = |artifact: &Artifact| artifact.sop_class.as_str().starts_with(SEGMENTATION_STORAGE);
    let artifacts = state.ledger.artifacts(case.result).await?;
    let segmentations = artifacts.into_iter().filter(is_segmentation).map(|artifact| {
        let key = InstanceKey {
            study: artifact.study,
            series: artifact.series,
            sop_instance: artifact.sop_instance,
        };
        (artifact.role, state.spool.path_of(&key))
    });
    let patient = state.ledger.study(study).await?.map(|row| row.patient);
    let patient = patient.filter(|patient| !patient.id.is_empty());
    let patient =
        patient.map_or_else(|| study.to_string(), |patient| format!("{} {}", patient.issuer, patient.id));
    Ok(ReviewedCase { images, patient, segmentations: segmentations.collect(), case })
}
