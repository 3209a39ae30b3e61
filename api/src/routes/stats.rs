//! How models fare over time.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Reader,
    drift::{self, DriftView},
    error::ApiResult,
    extract::{Json, Query},
    state::AppState,
};

/// Which models are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DriftQuery {
    /// Of this model.
    model: Option<String>,
}

/// What each version was asked and answered lately, beside its first weeks. A version that is too young, or has
/// answered too little, is left out.
#[utoipa::path(get, path = "/v1/stats/drift", tag = "models", operation_id = "drift",
    params(DriftQuery), responses((status = 200, body = Vec<DriftView>)))]
pub(crate) async fn drift(
    State(state): State<AppState>,
    _reader: Reader,
    Query(query): Query<DriftQuery>,
) -> ApiResult<Json<Vec<DriftView>>> {
    Ok(Json(drift::drifts(&state, query.model.as_deref()).await?))
}
