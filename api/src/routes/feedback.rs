//! Feedback: how models fare with the doctors who review them.

use axum::extract::State;
use ledger::FeedbackFilter;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Reader,
    day::{day_after, midnight},
    error::ApiResult,
    extract::{Json, Query},
    feedback::{FeedbackView, groups},
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
