//! Series for programs outside that ask for work: a GPU machine that can only call out.
//!
//! They bring what they find to Orthanc themselves; here stands only who has which series, and
//! how far it is. Nothing of this is there unless `compat.polling_workers` names who may.

use std::{net::IpAddr, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use ledger::{RequestState, SegmentationRequest, SegmentationRequestId, Topic, WorkerReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::{
    audit::Deeds,
    auth::{self, Clinician, Who},
    config::PollingWorker,
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path, Query},
    page::PageQuery,
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

/// Old workers say nothing while they compute, which takes up to twenty minutes.
const LEASE: Duration = Duration::from_secs(30 * 60);
/// How long a worker that asks waits for a series, unless it says.
const WAIT_DEFAULT: u64 = 5;
const WAIT_MAX: u64 = 25;
/// The net under lost wake-ups, and how late a lease that ran out is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const SERIES_LENGTH_MAX: usize = 64;
const REASON_LENGTH_MAX: usize = 1000;

/// The worker that calls.
#[derive(Debug, Clone)]
pub(crate) struct PollingWorkerName(pub(crate) String);

impl PollingWorkerName {
    /// Who calls, if he is one of those that are named.
    pub(crate) async fn of(state: &AppState, address: IpAddr, headers: &HeaderMap) -> ApiResult<Self> {
        let named = &state.http.compat.polling_workers;
        are_there(state)?;
        let is_here =
            |worker: &PollingWorker| matches!(worker, PollingWorker::Address(net) if net.contains(&address));
        if named.iter().any(is_here) {
            return Ok(Self(format!("address:{address}")));
        }
        let caller = auth::identify(state, headers).await?;
        let has_key =
            |worker: &PollingWorker| matches!(worker, PollingWorker::Key(key) if *key == caller.name);
        if matches!(caller.who, Who::Key(_)) && named.iter().any(has_key) {
            return Ok(Self(caller.actor()));
        }
        Err(ApiError::because(Code::Forbidden, "this caller is not named in compat.polling_workers"))
    }
}

/// Without anybody who could carry a request out, there are none.
fn are_there(state: &AppState) -> ApiResult<()> {
    if state.http.compat.polling_workers.is_empty() {
        return Err(ApiError::because(
            Code::NotFound,
            "no polling workers are named in compat.polling_workers; overread runs its models itself",
        ));
    }
    Ok(())
}

/// One series, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestView {
    request_id: i64,
    series_id: String,
    /// `pending`, `processing`, `completed` or `failed`.
    #[schema(value_type = String)]
    status: RequestState,
    /// In per cent.
    progress: u32,
    worker: Option<String>,
    requested_by: String,
    created_at: String,
    updated_at: String,
    /// What the worker handed in.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    error: Option<String>,
}

impl From<SegmentationRequest> for RequestView {
    fn from(row: SegmentationRequest) -> Self {
        Self {
            request_id: row.id.0,
            series_id: row.series,
            status: row.state,
            progress: row.progress,
            worker: row.worker,
            requested_by: row.requested_by,
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.changed_at),
            result: row.outcome,
            error: row.failure,
        }
    }
}

/// That it was done, and how the request stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestAnswer {
    success: bool,
    #[serde(flatten)]
    request: RequestView,
}

/// Requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestList {
    success: bool,
    count: usize,
    requests: Vec<RequestView>,
    /// Send as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Asks for the segmentation of a series. One that is asked for already stays the one request.
#[utoipa::path(post, path = "/api/mri/segmentation/series/{series_id}/segment", tag = "compat",
    operation_id = "compat_request_segmentation",
    params(("series_id" = String, Path, max_length = 64, pattern = "^[A-Za-z0-9.-]+$",
        description = "Series Instance UID, or Orthanc's identifier of the series")),
    responses((status = 200, body = RequestAnswer), (status = 404, description = "No polling workers are named")))]
pub(crate) async fn request(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    Path(series): Path<String>,
) -> ApiResult<Json<RequestAnswer>> {
    are_there(&state)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if series.len() > SERIES_LENGTH_MAX || !series.bytes().all(plain) {
        return Err(ApiError::because(
            Code::InvalidParameter,
            "series_id is a UID or an identifier of Orthanc",
        ));
    }
    let (by, now, deeds) = (clinician.actor(), state.now(), Deeds::of(&state, &clinician, &id));
    // The request that is added is its subject.
    let row = deeds.row("segmentation.request", "", json!({}));
    let named = Some(id.as_str());
    let ask = async |ledger: ledger::Ledger| ledger.request_segmentation(&series, &by, named, now).await;
    let asked = deeds.try_to([row], ask).await?;
    if !asked.left.is_empty() {
        // Nothing was added: it was asked before.
        deeds.note("segmentation.request", asked.outcome.id.to_string()).await?;
    }
    Ok(Json(RequestAnswer { success: true, request: asked.outcome.into() }))
}

/// All requests, newest first.
#[utoipa::path(get, path = "/api/mri/segmentation/requests", tag = "compat",
    operation_id = "compat_segmentation_requests", params(PageQuery),
    responses((status = 200, body = RequestList), (status = 404, description = "No polling workers are named")))]
pub(crate) async fn requests(
    State(state): State<AppState>,
    _clinician: Clinician,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<RequestList>> {
    are_there(&state)?;
    let page = state.ledger.segmentation_requests(&page.request()?).await?;
    let requests: Vec<_> = page.rows.into_iter().map(RequestView::from).collect();
    Ok(Json(RequestList { success: true, count: requests.len(), requests, next: page.next }))
}

/// How long a worker waits.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// Seconds until the answer is that there is nothing; 5 unless told.
    #[param(minimum = 0, maximum = 25)]
    wait: Option<u64>,
}

/// Hands one series that nobody has to the caller, for half an hour. Waits for one to come.
#[utoipa::path(get, path = "/api/mri/segmentation/pending-requests", tag = "compat",
    operation_id = "compat_pending_segmentations", params(WaitQuery),
    responses((status = 200, body = RequestList), (status = 404, description = "No polling workers are named")))]
pub(crate) async fn pending(
    State(state): State<AppState>,
    Extension(worker): Extension<PollingWorkerName>,
    Query(query): Query<WaitQuery>,
) -> ApiResult<Json<RequestList>> {
    let wait = query.wait.unwrap_or(WAIT_DEFAULT);
    if wait > WAIT_MAX {
        return Err(ApiError::because(Code::InvalidParameter, format!("wait is 0 to {WAIT_MAX} seconds")));
    }
    let until = Instant::now() + Duration::from_secs(wait);
    // Before the first look, so that nothing falls between.
    let mut changes = state.ledger.changed(Topic::Events);
    loop {
        let claimed = state.ledger.claim_segmentation(&worker.0, LEASE, state.now()).await?;
        if claimed.is_some() || Instant::now() >= until {
            let handed_out = |request: SegmentationRequest| RequestView {
                // So the workers know a series that they may take.
                status: RequestState::Pending,
                ..request.into()
            };
            let requests: Vec<_> = claimed.into_iter().map(handed_out).collect();
            return Ok(Json(RequestList { success: true, count: requests.len(), requests, next: None }));
        }
        let look = (Instant::now() + LOOK_AGAIN).min(until);
        tokio::select! {
            () = state.shutdown.cancelled() => {
                return Ok(Json(RequestList { success: true, count: 0, requests: Vec::new(), next: None }));
            }
            () = changes.next() => {}
            () = tokio::time::sleep_until(look) => {}
        }
    }
}

/// How far a worker is.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StatusBody {
    /// `processing` or `failed`.
    #[schema(pattern = "^(processing|failed)$")]
    status: String,
    /// In per cent.
    #[schema(minimum = 0, maximum = 100)]
    progress: Option<u32>,
    /// Why it failed.
    #[serde(alias = "error_message", alias = "message")]
    error: Option<String>,
}

/// Says how far a series is, and keeps it for another half hour.
#[utoipa::path(post, path = "/api/mri/segmentation/update-status/{request_id}", tag = "compat",
    operation_id = "compat_update_segmentation", params(("request_id" = i64, Path)), request_body = StatusBody,
    responses((status = 200, body = RequestAnswer), (status = 409, description = "The request is over, or another worker has it")))]
pub(crate) async fn update(
    State(state): State<AppState>,
    Extension(worker): Extension<PollingWorkerName>,
    Path(id): Path<i64>,
    Json(body): Json<StatusBody>,
) -> ApiResult<Response> {
    let report = match body.status.as_str() {
        "processing" => WorkerReport::Progress(body.progress.unwrap_or(0).min(100)),
        "failed" => WorkerReport::Failed(reason(body.error)),
        _ => return Err(ApiError::because(Code::Unprocessable, "status is processing or failed")),
    };
    take_down(&state, &worker, id, &report).await
}

/// What a worker found: an object of its own words, or that it found nothing.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompletedBody {
    /// `false`: it failed.
    success: Option<bool>,
    #[serde(alias = "error_message")]
    error: Option<String>,
    /// Where the segmentation lies, and whatever else the worker has to say.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    result: serde_json::Map<String, Value>,
}

/// Hands in what was found. A series is handed in once: who comes second hears 409.
#[utoipa::path(post, path = "/api/mri/segmentation/complete-request/{request_id}", tag = "compat",
    operation_id = "compat_complete_segmentation", params(("request_id" = i64, Path)), request_body = CompletedBody,
    responses((status = 200, body = RequestAnswer), (status = 409, description = "The request is over")))]
pub(crate) async fn complete(
    State(state): State<AppState>,
    Extension(worker): Extension<PollingWorkerName>,
    Path(id): Path<i64>,
    Json(body): Json<CompletedBody>,
) -> ApiResult<Response> {
    let report = match body.success {
        Some(false) => WorkerReport::Failed(reason(body.error)),
        Some(true) | None => WorkerReport::Completed(Value::Object(body.result)),
    };
    take_down(&state, &worker, id, &report).await
}

fn reason(text: Option<String>) -> String {
    let text = text.unwrap_or_else(|| "the worker gives no reason".to_owned());
    text.chars().filter(|one| !one.is_control()).take(REASON_LENGTH_MAX).collect()
}

async fn take_down(
    state: &AppState,
    worker: &PollingWorkerName,
    id: i64,
    report: &WorkerReport,
) -> ApiResult<Response> {
    let id = SegmentationRequestId(id);
    let row = state.ledger.report_segmentation(id, &worker.0, report, LEASE, state.now()).await?;
    let row = row.ok_or_else(|| ApiError::no_such("request"))?;
    let is_taken = match report {
        WorkerReport::Progress(_) => {
            row.state == RequestState::Processing && row.worker.as_ref() == Some(&worker.0)
        }
        // The same once more, after an answer that got lost, is as good.
        WorkerReport::Completed(outcome) => row.outcome.as_ref() == Some(outcome),
        WorkerReport::Failed(reason) => row.failure.as_ref() == Some(reason),
    };
    if is_taken {
        return Ok(Json(RequestAnswer { success: true, request: row.into() }).into_response());
    }
    let refusal = match row.state {
        RequestState::Processing => format!("another worker has request {id}"),
        over => format!("request {id} is over: {over}"),
    };
    Ok((StatusCode::CONFLICT, Json(json!({ "success": false, "error": refusal }))).into_response())
}
