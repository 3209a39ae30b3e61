//! Jobs: what the models are asked, and how far they are.

use axum::extract::State;
use imaging::StudyUid;
use ledger::{JobFilter, JobId, JobState};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    audit::Deeds,
    auth::{Operator, Reader},
    error::{ApiError, ApiResult},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    view::JobView,
};

/// Which jobs are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobQuery {
    /// Of this study.
    #[param(value_type = Option<String>)]
    study: Option<StudyUid>,
    /// Of this model.
    model: Option<String>,
    /// In this state.
    #[param(value_type = Option<String>)]
    state: Option<JobState>,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", operation_id = "list_jobs", params(JobQuery, PageQuery),
    responses((status = 200, body = Page<JobView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _reader: Reader,
    Query(query): Query<JobQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<JobView>>> {
    let filter = JobFilter { study: query.study, model_id: query.model, state: query.state };
    let jobs = state.ledger.jobs(&filter, &page.request()?).await?;
    Ok(Json(Page::of(jobs, JobView::from)))
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = String, Path)), responses((status = 200, body = JobView)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    _reader: Reader,
    Path(id): Path<JobId>,
) -> ApiResult<Json<JobView>> {
    view(&state, id).await
}

/// Ends a job that is not over. Whoever computes it stops at its next report.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
    params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 409, description = "The job is over")))]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    operator: Operator,
    request: RequestId,
    Path(id): Path<JobId>,
) -> ApiResult<Json<JobView>> {
    let (by, now, deeds) = (operator.actor(), state.now(), Deeds::of(&state, &operator, &request));
    let row = deeds.row("job.cancel", id.to_string(), json!({}));
    let named = Some(request.as_str());
    deeds.carry_out([row], async |ledger| ledger.cancel_job(id, &by, named, now).await).await?;
    view(&state, id).await
}

/// Puts a dead or cancelled job into the queue again, with all its tries before it.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retry_job",
    params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 409, description = "The job is neither dead nor cancelled")))]
pub(crate) async fn retry(
    State(state): State<AppState>,
    operator: Operator,
    request: RequestId,
    Path(id): Path<JobId>,
) -> ApiResult<Json<JobView>> {
    let (by, now, deeds) = (operator.actor(), state.now(), Deeds::of(&state, &operator, &request));
    let row = deeds.row("job.retry", id.to_string(), json!({}));
    let named = Some(request.as_str());
    deeds.carry_out([row], async |ledger| ledger.requeue_job(id, &by, named, now).await).await?;
    view(&state, id).await
}

async fn view(state: &AppState, id: JobId) -> ApiResult<Json<JobView>> {
    let job = state.ledger.job(id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    Ok(Json(job.into()))
}
