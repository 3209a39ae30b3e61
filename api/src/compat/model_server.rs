//! The tabular model server: `/health`, `/schema`, `/predict`, `/reload`. The gateway in front of
//! it, and the second naming of both, are other addresses of the same handlers.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::rows::{self, Detail, Health, ModelInfo, Predicted, SchemaAnswer};
use crate::{
    auth::{Admin, Reader},
    error::ApiResult,
    extract::Json,
    request_id::RequestId,
    routes::predict::Rows,
    state::AppState,
};

/// Whether the default tabular model is loaded; a contract, not a probe.
#[utoipa::path(get, path = "/health", tag = "compat", operation_id = "compat_health",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "No default model")))]
pub(crate) async fn health(State(state): State<AppState>) -> Response {
    rows::health(&state)
}

/// The feature names of the default model.
#[utoipa::path(get, path = "/schema", tag = "compat", operation_id = "compat_schema",
    responses((status = 200, body = SchemaAnswer), (status = 503, body = Detail)))]
pub(crate) async fn schema(State(state): State<AppState>, _reader: Reader) -> ApiResult<Json<SchemaAnswer>> {
    rows::schema(&state)
}

/// Answers rows, and keeps each of them when a patient is named.
#[utoipa::path(post, path = "/predict", tag = "compat", operation_id = "compat_predict", request_body = Rows,
    responses((status = 200, body = Predicted), (status = 400, body = Detail), (status = 503, body = Detail)))]
pub(crate) async fn predict(
    State(state): State<AppState>,
    reader: Reader,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    rows::predict(&state, &reader, &id, request).await
}

/// Reads the folder of models again.
#[utoipa::path(post, path = "/reload", tag = "compat", operation_id = "compat_reload",
    responses((status = 200, body = Detail), (status = 500, body = Detail, description = "The old model stays")))]
pub(crate) async fn reload(
    State(state): State<AppState>,
    admin: Admin,
    id: RequestId,
) -> ApiResult<Json<Detail>> {
    rows::reload(&state, &admin, &id).await
}

/// As `/health`, for whoever is signed in.
#[utoipa::path(get, path = "/api/v1/status", tag = "compat", operation_id = "compat_v1_status",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "No default model")))]
pub(crate) async fn status(State(state): State<AppState>, _reader: Reader) -> Response {
    rows::health(&state)
}

/// The default model, described.
#[utoipa::path(get, path = "/api/v1/model-info", tag = "compat", operation_id = "compat_v1_model_info",
    responses((status = 200, body = ModelInfo), (status = 503, body = Detail)))]
pub(crate) async fn model_info(State(state): State<AppState>, _reader: Reader) -> ApiResult<Json<ModelInfo>> {
    rows::model_info(&state)
}

/// Trains the default model again, where its package says how.
#[utoipa::path(post, path = "/api/v1/retrain", tag = "compat", operation_id = "compat_v1_retrain",
    responses((status = 202, body = Detail),
              (status = 409, body = Detail, description = "The package names no command, or this site does not allow it")))]
pub(crate) async fn retrain(
    State(state): State<AppState>,
    admin: Admin,
    id: RequestId,
) -> ApiResult<(StatusCode, Json<Detail>)> {
    rows::retrain(&state, &admin, &id).await
}
