//! The gateway in front of the model server: `/api/ml`, and `/ml/v1` for the same things.

use axum::{
    extract::{Request, State},
    response::Response,
};
use ledger::PredictionFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::rows::{self, Detail, Health, ModelInfo, Predicted, SchemaAnswer};
use crate::{
    auth::{Admin, Reader},
    error::ApiResult,
    extract::{Json, Query},
    page::PageQuery,
    request_id::RequestId,
    routes::predict::Rows,
    state::AppState,
};

/// Kept rows, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Send as `cursor` for the next page; null on the last one.
    next: Option<String>,
    #[schema(value_type = Vec<serde_json::Value>)]
    results: Vec<serde_json::Value>,
}

/// The feature names of the default model.
#[utoipa::path(get, path = "/api/ml/schema", tag = "compat", operation_id = "compat_gateway_schema",
    responses((status = 200, body = SchemaAnswer), (status = 503, body = Detail)))]
pub(crate) async fn schema(State(state): State<AppState>, _reader: Reader) -> ApiResult<Json<SchemaAnswer>> {
    rows::schema(&state)
}

/// Answers rows, and keeps each of them when a patient is named.
#[utoipa::path(post, path = "/api/ml/predict", tag = "compat", operation_id = "compat_gateway_predict",
    request_body = Rows,
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
#[utoipa::path(post, path = "/api/ml/reload", tag = "compat", operation_id = "compat_gateway_reload",
    responses((status = 200, body = Detail), (status = 500, body = Detail, description = "The old model stays")))]
pub(crate) async fn reload(
    State(state): State<AppState>,
    admin: Admin,
    id: RequestId,
) -> ApiResult<Json<Detail>> {
    rows::reload(&state, &admin, &id).await
}

/// As `/api/ml/predict`.
#[utoipa::path(post, path = "/ml/v1/predict", tag = "compat", operation_id = "compat_ml_predict",
    request_body = Rows,
    responses((status = 200, body = Predicted), (status = 400, body = Detail), (status = 503, body = Detail)))]
pub(crate) async fn predict_v1(
    State(state): State<AppState>,
    reader: Reader,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    rows::predict(&state, &reader, &id, request).await
}

/// As `/health`, for whoever signed in.
#[utoipa::path(get, path = "/ml/v1/status", tag = "compat", operation_id = "compat_ml_status",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "No default model")))]
pub(crate) async fn status(State(state): State<AppState>, _reader: Reader) -> Response {
    rows::health(&state)
}

/// The default model, described.
#[utoipa::path(get, path = "/ml/v1/model-info", tag = "compat", operation_id = "compat_ml_model_info",
    responses((status = 200, body = ModelInfo), (status = 503, body = Detail)))]
pub(crate) async fn model_info(State(state): State<AppState>, _reader: Reader) -> ApiResult<Json<ModelInfo>> {
    rows::model_info(&state)
}

/// Trains the default model again, where its package says how.
#[utoipa::path(post, path = "/ml/v1/retrain", tag = "compat", operation_id = "compat_ml_retrain",
    responses((status = 409, body = Detail, description = "The package names no command that trains it")))]
pub(crate) async fn retrain(State(state): State<AppState>, _admin: Admin) -> ApiResult<Json<Detail>> {
    Err(rows::retrain(&state))
}

/// Kept rows, newest first.
#[utoipa::path(get, path = "/ml/v1/history", tag = "compat", operation_id = "compat_ml_history",
    params(PageQuery), responses((status = 200, body = History)))]
pub(crate) async fn history(
    State(state): State<AppState>,
    reader: Reader,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<History>> {
    let page = state.ledger.predictions(&PredictionFilter::default(), &page.request()?).await?;
    let mut results: Vec<_> = page.rows.iter().map(rows::history_row).collect();
    if !reader.sees_patients() {
        for row in &mut results {
            row["patient_id"] = serde_json::Value::Null;
        }
    }
    Ok(Json(History { next: page.next, results }))
}
