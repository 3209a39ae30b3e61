//! `POST /v1/studies/{uid}/fusions`: a model over what others found in a study and values that are stated.

use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode};
use imaging::StudyUid;
use pipeline::{FusionError, FusionOrder};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::Clinician,
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path},
    request_id::RequestId,
    state::AppState,
    view::JobView,
};

/// A model of several parts, and the values that no image shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FusionBody {
    /// Id or alias of a fusion.
    #[schema(max_length = 256, example = "mm-fusion")]
    model: String,
    /// By name: the model's own values, such as `age`, and those of its parts that are rows, such as genes. Null is missing.
    #[serde(default)]
    values: BTreeMap<String, Option<f64>>,
}

/// Asks a fusion over the results that are in force in the study. What is missing is an answer ("not analysed:
/// reason") and is made good by itself when it comes; the same again gives the same job.
#[utoipa::path(post, path = "/v1/studies/{uid}/fusions", tag = "studies", operation_id = "fuse_study",
    params(("uid" = String, Path, description = "Study Instance UID")), request_body = FusionBody,
    responses((status = 202, body = JobView, description = "Asked; the job and the events tell what follows"),
        (status = 422, description = "The model is no fusion")))]
pub(crate) async fn fuse(
    State(state): State<AppState>,
    clinician: Clinician,
    request: RequestId,
    Path(uid): Path<StudyUid>,
    Json(body): Json<FusionBody>,
) -> ApiResult<(StatusCode, Json<JobView>)> {
    let order = FusionOrder {
        study: uid.clone(),
        model: body.model,
        values: body.values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        actor: clinician.actor(),
        request_id: Some(request.to_string()),
    };
    let deeds = Deeds::of(&state, &clinician, &request);
    let detail = json!({ "model": order.model, "values": order.values.len() });
    let row = deeds.row("study.fuse", uid.as_str(), detail.clone());
    let asked =
        deeds.try_to([row], async |ledger| state.pipeline.fuse_through(&ledger, &order).await).await?;
    let job = asked.outcome;
    if !asked.left.is_empty() {
        // Nothing was added: the same was asked before.
        let mut detail = detail;
        detail["job"] = json!(job);
        deeds.note_with("study.fuse", uid.as_str(), detail).await?;
    }
    let job = state.ledger.job(job).await?.ok_or_else(|| ApiError::no_such("job"))?;
    Ok((StatusCode::ACCEPTED, Json(JobView::from(job))))
}

impl From<FusionError> for ApiError {
    fn from(error: FusionError) -> Self {
        match error {
            FusionError::Ledger(error) => error.into(),
            FusionError::NoSuchStudy => Self::no_such("study"),
            FusionError::NoSuchModel(_) => Self::no_such("model"),
            FusionError::NoFusion(_) => Self::because(Code::Unprocessable, error.to_string()),
        }
    }
}
