//! Feedback: how models fare with the doctors who review them.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use ledger::FeedbackFilter;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::{
    audit::Deeds,
    auth::{Admin, Reader},
    day::{day_after, midnight},
    error::ApiResult,
    export,
    extract::{Json, Query},
    feedback::{FeedbackView, groups},
    request_id::RequestId,
    state::AppState,
};

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
        (status = 422, description = "More cases than one export takes"),
        (status = 503, description = "Another export is being written")))]
pub(crate) async fn export(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let filter = FeedbackFilter {
        model_id: Some(query.model.clone()),
        from: query.from.as_deref().map(midnight).transpose()?,
        before: query.to.as_deref().map(day_after).transpose()?,
    };
    let place = state.exports().begin()?;
    let reviewed = export::gather(&state, &query.model, &filter).await?;
    let detail = json!({ "cases": reviewed.cases.len(), "predictions": reviewed.predictions.len() });
    Deeds::of(&state, &admin, &request).note_with("feedback.export", &query.model, detail).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"reviewed.zip\"")),
    ];
    let archive = export::streamed(reviewed, state.pseudonyms.clone(), place);
    Ok((headers, Body::from_stream(archive)).into_response())
}
