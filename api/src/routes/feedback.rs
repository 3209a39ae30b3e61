//! Feedback: how models fare with the doctors who review them.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use ledger::{Artifact, DecidedCase, FeedbackFilter, PredictionId};
use serde::Deserialize;
use serde_json::json;
use spool::InstanceKey;
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use crate::{
    audit::Deeds,
    auth::{Admin, Reader},
    day::{day_after, midnight},
    error::{ApiError, ApiResult, Code},
    export::{self, Reviewed, ReviewedCase},
    extract::{Json, Query},
    feedback::{FeedbackView, groups},
    request_id::RequestId,
    state::AppState,
};

/// Cases of one export; a narrower time makes several.
const CASES_MAX: usize = 2000;
const PREDICTIONS_MAX: usize = 100_000;
const PREDICTIONS_AT_ONCE: u32 = 1000;

/// Which decided results count.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedbackQuery {
    /// Of this model.
    model: Option<String>,
    /// Computed on this day (UTC, `YYYY-MM-DD`) or later.
    from: Option<String>,
    /// Computed on this day or earlier.
    to: Option<String>,
}

/// Agreement, PPV and confusion of each model version, scanner and month.
#[utoipa::path(get, path = "/v1/feedback", tag = "reviews", operation_id = "feedback",
    params(FeedbackQuery), responses((status = 200, body = Vec<FeedbackView>)))]
pub(crate) async fn statistics(
    State(state): State<AppState>,
    _reader: Reader,
    Query(query): Query<FeedbackQuery>,
) -> ApiResult<Json<Vec<FeedbackView>>> {
    let filter = FeedbackFilter {
        model_id: query.model,
        from: query.from.as_deref().map(midnight).transpose()?,
        before: query.to.as_deref().map(day_after).transpose()?,
    };
    Ok(Json(groups(&state.ledger.decided_results(&filter).await?)))
}

/// Which reviewed cases are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// Of this model.
    model: String,
    /// Computed on this day (UTC, `YYYY-MM-DD`) or later.
    from: Option<String>,
    /// Computed on this day or earlier.
    to: Option<String>,
}

/// A zip archive, in the OpenAPI document.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it stands for bytes that are streamed")]
pub(crate) struct ZipFile(Vec<u8>);

/// Reviewed cases of a model without the people, as a zip archive: `manifest.json`, tables of what was
/// said and what is true, and the images with their segmentations.
#[utoipa::path(get, path = "/v1/feedback/export", tag = "reviews", operation_id = "export_feedback",
    params(ExportQuery), responses((status = 200, content_type = "application/zip", body = ZipFile),
        (status = 422, description = "More cases than one export takes")))]
pub(crate) async fn export(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let reviewed = gather(&state, &query).await?;
    let detail = json!({ "cases": reviewed.cases.len(), "predictions": reviewed.predictions.len() });
    Deeds::of(&state, &admin, &request).note_with("feedback.export", &query.model, detail).await?;
    let pseudonyms = state.pseudonyms.clone();
    let written =
        tokio::task::spawn_blocking(move || export::write(&reviewed, &pseudonyms, tempfile::tempfile()?));
    let file = written.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"reviewed.zip\"")),
    ];
    let chunks = ReaderStream::new(tokio::fs::File::from_std(file));
    Ok((headers, Body::from_stream(chunks)).into_response())
}

async fn gather(state: &AppState, query: &ExportQuery) -> ApiResult<Reviewed> {
    let filter = FeedbackFilter {
        model_id: Some(query.model.clone()),
        from: query.from.as_deref().map(midnight).transpose()?,
        before: query.to.as_deref().map(day_after).transpose()?,
    };
    let too_many =
        || ApiError::because(Code::Unprocessable, "too many cases for one export; narrow from and to");
    let decided = state.ledger.decided_cases(&filter).await?;
    if decided.len() > CASES_MAX {
        return Err(too_many());
    }
    let mut cases = Vec::with_capacity(decided.len());
    for case in decided {
        cases.push(with_files(state, case).await?);
    }
    let mut predictions = Vec::new();
    let mut after = PredictionId(0);
    loop {
        let rows = state.ledger.reviewed_predictions(&query.model, after, PREDICTIONS_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        after = last.prediction.id;
        let at = |one: &ledger::ReviewedPrediction| one.prediction.at;
        let wanted = |one: &ledger::ReviewedPrediction| {
            filter.from.is_none_or(|from| at(one) >= from)
                && filter.before.is_none_or(|before| at(one) < before)
        };
        predictions.extend(rows.into_iter().filter(wanted));
        if predictions.len() > PREDICTIONS_MAX {
            return Err(too_many());
        }
    }
    Ok(Reviewed { model: query.model.clone(), made_at: state.now(), predictions, cases })
}

async fn with_files(state: &AppState, case: DecidedCase) -> ApiResult<ReviewedCase> {
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
    Ok(ReviewedCase { images, segmentations: segmentations.collect(), case })
}

/// Segmentation, label map segmentation and surface segmentation (PS3.6 Annex A).
const SEGMENTATION_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.66";
