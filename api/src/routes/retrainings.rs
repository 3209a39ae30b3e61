//! Retrainings: new versions of models from reviewed cases, and which of them may serve.

use axum::{
    extract::State,
    http::StatusCode,
    response::{AppendHeaders, IntoResponse, Response},
};
use ledger::{Retraining, RetrainingDecided, RetrainingId, RetrainingState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Admin,
    error::{ApiError, ApiResult, Code},
    etag::{IfMatch, etag},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    retrain::{self, Promotion},
    state::AppState,
    view::timestamp,
};

/// A run of a package's training command, and what became of what it made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetrainingView {
    id: String,
    model_id: String,
    /// The version that it begins with, and that its report compares with.
    base_version: String,
    new_version: String,
    requested_by: String,
    created_at: String,
    /// `queued`, `running`, `shadow` (a new version is in service and only watches), `promoted`, `discarded`
    /// or `failed`.
    #[schema(value_type = String)]
    state: RetrainingState,
    state_since: String,
    /// Grows with every change; the ETag.
    number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// A retraining with its report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetrainingDetail {
    #[serde(flatten)]
    retraining: RetrainingView,
    /// `comparison`: old against new version on the reviewed cases, all of them and those of patients that
    /// were kept from the training; `output`: the end of what the command printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

/// Which retrainings are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RetrainingQuery {
    /// Of this model.
    model: Option<String>,
}

impl From<Retraining> for RetrainingView {
    fn from(run: Retraining) -> Self {
        Self {
            id: run.id.to_string(),
            model_id: run.model_id,
            base_version: run.base_version,
            new_version: run.new_version,
            requested_by: run.actor,
            created_at: timestamp(run.created_at),
            state: run.state,
            state_since: timestamp(run.state_since),
            number: run.number,
            failure: run.failure,
        }
    }
}

fn answer(status: StatusCode, mut run: Retraining) -> Response {
    let tag = etag(run.number);
    let report = run.report.take();
    let detail = RetrainingDetail { retraining: run.into(), report };
    (status, AppendHeaders([tag]), Json(detail)).into_response()
}

/// Trains a model anew from its reviewed cases, by the command of its package. The run outlives a restart;
/// what it makes is in service only to watch, until it is promoted.
#[utoipa::path(post, path = "/v1/models/{id}/retrain", tag = "models", operation_id = "retrain_model",
    params(("id" = String, Path)),
    responses((status = 202, body = RetrainingDetail),
              (status = 409, description = "The package names no command, the site does not allow it, there are too \
                                            few reviewed cases, or a run is on its way")))]
pub(crate) async fn ask(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let id = retrain::ask(&state, &admin, &request, &name).await?;
    Ok(answer(StatusCode::ACCEPTED, found(&state, id).await?))
}

/// Retrainings, newest first.
#[utoipa::path(get, path = "/v1/retrainings", tag = "models", operation_id = "list_retrainings",
    params(RetrainingQuery, PageQuery), responses((status = 200, body = Page<RetrainingView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _admin: Admin,
    Query(query): Query<RetrainingQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<RetrainingView>>> {
    let runs = state.ledger.retrainings(query.model.as_deref(), &page.request()?).await?;
    Ok(Json(Page::of(runs, RetrainingView::from)))
}

/// One retraining with its report.
#[utoipa::path(get, path = "/v1/retrainings/{id}", tag = "models", operation_id = "get_retraining",
    params(("id" = String, Path)), responses((status = 200, body = RetrainingDetail)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    _admin: Admin,
    Path(id): Path<RetrainingId>,
) -> ApiResult<Response> {
    Ok(answer(StatusCode::OK, found(&state, id).await?))
}

/// Lets the new version serve in place of the old one, which stays beside it.
#[utoipa::path(post, path = "/v1/retrainings/{id}/promote", tag = "models", operation_id = "promote_retraining",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The ETag of the retraining as it was seen")),
    responses((status = 200, body = RetrainingDetail),
              (status = 409, description = "There is no version that watches, or it cannot be put in service"),
              (status = 412, description = "Something changed meanwhile"),
              (status = 428, description = "If-Match is missing")))]
pub(crate) async fn promote(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Path(id): Path<RetrainingId>,
    seen: IfMatch,
) -> ApiResult<Response> {
    match retrain::promote(&state, &admin, &request, id, seen.0).await? {
        Promotion::Decided(decided) => told(decided),
        Promotion::Refused(reason) => {
            let detail = format!("the version cannot be put in service and goes on watching: {reason}");
            Err(ApiError::because(Code::Conflict, detail))
        }
        Promotion::NoSuch => Err(ApiError::no_such("retraining")),
    }
}

/// Takes the new version out of service and deletes it.
#[utoipa::path(post, path = "/v1/retrainings/{id}/discard", tag = "models", operation_id = "discard_retraining",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The ETag of the retraining as it was seen")),
    responses((status = 200, body = RetrainingDetail),
              (status = 409, description = "There is no version that watches"),
              (status = 412, description = "Something changed meanwhile"),
              (status = 428, description = "If-Match is missing")))]
pub(crate) async fn discard(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Path(id): Path<RetrainingId>,
    seen: IfMatch,
) -> ApiResult<Response> {
    let decided = retrain::discard(&state, &admin, &request, id, seen.0).await?;
    told(decided.ok_or_else(|| ApiError::no_such("retraining"))?)
}

async fn found(state: &AppState, id: RetrainingId) -> ApiResult<Retraining> {
    state.ledger.retraining(id).await?.ok_or_else(|| ApiError::no_such("retraining"))
}

fn told(decided: RetrainingDecided) -> ApiResult<Response> {
    match decided {
        RetrainingDecided::Done(run) => Ok(answer(StatusCode::OK, *run)),
        RetrainingDecided::Overtaken(number) => {
            let (name, value) = etag(number);
            let detail = "something changed meanwhile: read the retraining again, then decide";
            Err(ApiError::because(Code::PreconditionFailed, detail).with_header(name, value))
        }
        RetrainingDecided::Impossible(state) => {
            let detail = format!("the retraining is {state}: only a version that watches is decided about");
            Err(ApiError::because(Code::Conflict, detail))
        }
    }
}
