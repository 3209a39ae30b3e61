//! Results: what was found, and the DICOM objects that hold it.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use imaging::StudyUid;
use ledger::{Artifact, ArtifactId, Outcome, Priority, ResultFilter, ResultId, ResultRow, ReviewState};
use serde::Deserialize;
use serde_json::json;
use spool::InstanceKey;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use crate::{
    audit::Deeds,
    auth::{Clinician, Reader},
    day::{day_after, midnight},
    error::{ApiError, ApiResult},
    etag::etag,
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    view::{ArtifactView, DicomFile, ResultDetail, ResultView},
};

/// Which results are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResultQuery {
    /// Of this study.
    #[param(value_type = Option<String>)]
    study: Option<StudyUid>,
    /// Of this model.
    model: Option<String>,
    /// `findings` or `not-analysed`.
    #[param(value_type = Option<String>)]
    outcome: Option<Outcome>,
    /// Where its review stands: `pending`, `accepted`, `rejected` or `corrected`.
    #[param(value_type = Option<String>)]
    review: Option<ReviewState>,
    /// How urgent its job was: `routine` or `stat`.
    #[param(value_type = Option<String>)]
    urgency: Option<Priority>,
    /// Computed on this day (UTC, `YYYY-MM-DD`) or later.
    from: Option<String>,
    /// Computed on this day or earlier.
    to: Option<String>,
}

impl ResultQuery {
    fn filter(self) -> ApiResult<ResultFilter> {
        Ok(ResultFilter {
            study: self.study,
            model_id: self.model,
            outcome: self.outcome,
            review_state: self.review,
            priority: self.urgency,
            from: self.from.as_deref().map(midnight).transpose()?,
            before: self.to.as_deref().map(day_after).transpose()?,
        })
    }
}

/// Released results, newest first, superseded ones included.
#[utoipa::path(get, path = "/v1/results", tag = "results", operation_id = "list_results",
    params(ResultQuery, PageQuery), responses((status = 200, body = Page<ResultView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Query(query): Query<ResultQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<ResultView>>> {
    let results = state.ledger.results(&query.filter()?, &page.request()?).await?;
    let listed = json!({ "listed": results.rows.len() });
    Deeds::of(&state, &reader, &request).note_with("result.list", "results", listed).await?;
    Ok(Json(Page::of(results, ResultView::from)))
}

/// One result: the findings, and the objects that hold them.
#[utoipa::path(get, path = "/v1/results/{id}", tag = "results", operation_id = "get_result",
    params(("id" = String, Path)), responses((status = 200, body = ResultDetail)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Path(id): Path<ResultId>,
) -> ApiResult<Response> {
    let row = released(&state, id).await?;
    Deeds::of(&state, &reader, &request).note("result.read", id.to_string()).await?;
    let artifacts = state.ledger.artifacts(id).await?;
    let tag = etag(row.review_number);
    Ok((AppendHeaders([tag]), Json(ResultDetail::new(row, artifacts))).into_response())
}

/// The DICOM objects of a result.
#[utoipa::path(get, path = "/v1/results/{id}/artifacts", tag = "results", operation_id = "list_artifacts",
    params(("id" = String, Path)), responses((status = 200, body = Vec<ArtifactView>)))]
pub(crate) async fn artifacts(
    State(state): State<AppState>,
    _reader: Reader,
    Path(id): Path<ResultId>,
) -> ApiResult<Json<Vec<ArtifactView>>> {
    released(&state, id).await?;
    Ok(Json(state.ledger.artifacts(id).await?.into_iter().map(ArtifactView::from).collect()))
}

/// The bytes of an object, as a DICOM Part 10 file: the same that were delivered.
#[utoipa::path(get, path = "/v1/results/{id}/artifacts/{artifact_id}", tag = "results",
    operation_id = "download_artifact", params(("id" = String, Path), ("artifact_id" = String, Path)),
    responses((status = 200, content_type = "application/dicom", body = DicomFile)))]
pub(crate) async fn download(
    State(state): State<AppState>,
    clinician: Clinician,
    request: RequestId,
    Path((id, artifact_id)): Path<(ResultId, ArtifactId)>,
) -> ApiResult<Response> {
    released(&state, id).await?;
    let artifact = state.ledger.artifact(artifact_id).await?.filter(|artifact| artifact.result == id);
    let artifact = artifact.ok_or_else(|| ApiError::no_such("artifact"))?;
    let file = open(&state, &artifact).await?;
    let length = file.metadata().await.map_err(ApiError::internal)?.len();
    let subject = artifact.sop_instance.as_str();
    Deeds::of(&state, &clinician, &request).note("artifact.download", subject).await?;
    let name = format!("attachment; filename=\"{subject}.dcm\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/dicom")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(ApiError::internal)?),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// Nobody sees a result before it is released, not even that there is one.
pub(super) async fn released(state: &AppState, id: ResultId) -> ApiResult<ResultRow> {
    let row = state.ledger.result(id).await?.filter(|row| row.released_at.is_some());
    row.ok_or_else(|| ApiError::no_such("result"))
}

async fn open(state: &AppState, artifact: &Artifact) -> ApiResult<tokio::fs::File> {
    let key = InstanceKey {
        study: artifact.study.clone(),
        series: artifact.series.clone(),
        sop_instance: artifact.sop_instance.clone(),
    };
    let (spool, path) = (state.spool.clone(), state.spool.path_of(&key));
    let whole = tokio::task::spawn_blocking(move || spool.holds(&key)).await.map_err(ApiError::internal)?;
    if !whole.map_err(ApiError::internal)? {
        return Err(ApiError::internal(format!("the spool has lost object {}", artifact.sop_instance)));
    }
    tokio::fs::File::open(path).await.map_err(ApiError::internal)
}
