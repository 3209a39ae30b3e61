//! Batches: many studies at once, with a live tally and what failed why.

use axum::{extract::State, http::StatusCode};
use imaging::StudyUid;
use ledger::{Batch, BatchId, BatchItem, BatchItemState, NewBatch, NewBatchItem, PageRequest, StudyFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Operator, Reader},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

/// Studies and patients of one request.
const ENTRIES_MAX: usize = 1000;
/// Studies of one batch, whoever's they are.
const ITEMS_MAX: usize = 10_000;
/// Studies of one patient that are asked for.
const STUDIES_OF_PATIENT_MAX: u32 = 1000;

/// Which studies are to be analysed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// Study Instance UIDs.
    #[serde(default)]
    #[schema(max_items = 1000)]
    studies: Vec<String>,
    /// Patient IDs as the images have them: all studies of each.
    #[serde(default)]
    #[schema(max_items = 1000)]
    patients: Vec<String>,
}

/// A batch, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchView {
    id: String,
    requested_by: String,
    created_at: String,
    /// When the last study was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    tally: TallyView,
}

/// How many studies are in each state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TallyView {
    /// For their turn under the rate limit.
    waiting: u32,
    running: u32,
    succeeded: u32,
    failed: u32,
}

/// A batch with what failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchDetail {
    #[serde(flatten)]
    batch: BatchView,
    failures: Vec<BatchFailure>,
}

/// What failed, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchFailure {
    /// Which entry of the request it was, counted from 1: studies first, then patients.
    position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    study_uid: Option<String>,
    reason: String,
}

impl From<Batch> for BatchView {
    fn from(batch: Batch) -> Self {
        let tally = batch.tally;
        Self {
            id: batch.id.to_string(),
            requested_by: batch.actor,
            created_at: timestamp(batch.created_at),
            finished_at: batch.finished_at.map(timestamp),
            tally: TallyView {
                waiting: tally.waiting,
                running: tally.running,
                succeeded: tally.succeeded,
                failed: tally.failed,
            },
        }
    }
}

impl From<BatchItem> for BatchFailure {
    fn from(item: BatchItem) -> Self {
        Self {
            position: item.position,
            study_uid: item.study.map(|study| study.to_string()),
            reason: item.reason.unwrap_or_default(),
        }
    }
}

/// Asks for many studies at once. They are analysed one after the other, under the rate limit of
/// predictions; the batch outlives a restart, and ends with what succeeded and what failed why.
#[utoipa::path(post, path = "/v1/batches", tag = "batches", operation_id = "add_batch", request_body = BatchBody,
    responses((status = 202, body = BatchDetail), (status = 422, description = "Nothing is asked for, or too much")))]
pub(crate) async fn add(
    State(state): State<AppState>,
    operator: Operator,
    request: RequestId,
    Json(body): Json<BatchBody>,
) -> ApiResult<(StatusCode, Json<BatchDetail>)> {
    let entries = body.studies.len() + body.patients.len();
    if !(1..=ENTRIES_MAX).contains(&entries) {
        let detail = format!("name 1 to {ENTRIES_MAX} studies and patients");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    let items = items(&state, &body).await?;
    let new = NewBatch { actor: operator.actor(), request_id: Some(request.to_string()), items };
    let (now, deeds) = (state.now(), Deeds::of(&state, &operator, &request));
    // The batch that is made is its subject.
    let row = deeds.row("batch.add", "", json!({ "entries": entries, "studies": new.items.len() }));
    let id = deeds.carry_out([row], async |ledger| ledger.add_batch(&new, now).await).await?;
    Ok((StatusCode::ACCEPTED, Json(detail_of(&state, id).await?)))
}

async fn items(state: &AppState, body: &BatchBody) -> ApiResult<Vec<NewBatchItem>> {
    let mut items = Vec::new();
    let mut positions = 1_u32..;
    for (text, position) in body.studies.iter().zip(&mut positions) {
        let parsed = StudyUid::parse(text).map_err(|_| "this is no Study Instance UID".to_owned());
        let study = match parsed {
            Ok(study) if state.ledger.study(&study).await?.is_none() => {
                Err("there is no such study here".to_owned())
            }
            other => other,
        };
        items.push(NewBatchItem { position, study });
    }
    for (patient, position) in body.patients.iter().zip(&mut positions) {
        let filter = StudyFilter { patient_id: Some(patient.clone()), ..StudyFilter::default() };
        let page = state.ledger.studies(&filter, &PageRequest::first(STUDIES_OF_PATIENT_MAX)).await?;
        if page.rows.is_empty() {
            items.push(NewBatchItem { position, study: Err("no study of this patient is here".to_owned()) });
        }
        items.extend(page.rows.into_iter().map(|row| NewBatchItem { position, study: Ok(row.study) }));
        if items.len() > ITEMS_MAX {
            let detail = format!("these are more than {ITEMS_MAX} studies; ask for fewer patients at once");
            return Err(ApiError::because(Code::Unprocessable, detail));
        }
    }
    Ok(items)
}

async fn detail_of(state: &AppState, id: BatchId) -> ApiResult<BatchDetail> {
    let batch = state.ledger.batch(id).await?.ok_or_else(|| ApiError::no_such("batch"))?;
    let failures = state.ledger.batch_items(id, BatchItemState::Failed).await?;
    Ok(BatchDetail { batch: batch.into(), failures: failures.into_iter().map(BatchFailure::from).collect() })
}

/// Batches, newest first.
#[utoipa::path(get, path = "/v1/batches", tag = "batches", operation_id = "list_batches", params(PageQuery),
    responses((status = 200, body = Page<BatchView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _reader: Reader,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<BatchView>>> {
    let batches = state.ledger.batches(&page.request()?).await?;
    Ok(Json(Page::of(batches, BatchView::from)))
}

/// One batch: how many studies are in each state, and what failed why.
#[utoipa::path(get, path = "/v1/batches/{id}", tag = "batches", operation_id = "get_batch",
    params(("id" = String, Path)), responses((status = 200, body = BatchDetail)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    _reader: Reader,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<BatchDetail>> {
    Ok(Json(detail_of(&state, id).await?))
}
