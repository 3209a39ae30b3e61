//! What the gateway kept for its patients: `/ml/v1/history`.

use axum::extract::State;
use ledger::PredictionFilter;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    auth::Reader,
    error::ApiResult,
    extract::{Json, Query},
    page::PageQuery,
    request_id::RequestId,
    routes::predictions::note_list,
    state::AppState,
    view::timestamp,
};

/// Kept rows, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Send as `cursor` for the next page; null on the last one.
    next: Option<String>,
    #[schema(value_type = Vec<Value>)]
    results: Vec<Value>,
}

/// Kept rows, newest first.
#[utoipa::path(get, path = "/ml/v1/history", tag = "compat", operation_id = "compat_ml_history",
    params(PageQuery), responses((status = 200, body = History)))]
pub(crate) async fn history(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<History>> {
    let page = state.ledger.predictions(&PredictionFilter::default(), &page.request()?).await?;
    note_list(&state, &reader, &request, page.rows.len()).await?;
    let mut results: Vec<_> = page.rows.iter().map(history_row).collect();
    if !reader.sees_patients() {
        for row in &mut results {
            row["patient_id"] = Value::Null;
        }
    }
    Ok(Json(History { next: page.next, results }))
}

/// A page of kept rows, as the gateway lists them.
fn history_row(row: &ledger::Prediction) -> Value {
    json!({
        "id": row.id.0,
        "patient_id": row.patient_id,
        "doctor": row.doctor,
        "user": row.actor,
        "model_name": row.model_name,
        "model_version": row.model.version,
        "input": row.input,
        "label": row.label,
        "probability": row.answer.get("probability"),
        "created_at": timestamp(row.at),
    })
}
