//! Studies: what arrived, what it waits for, and what became of it.

pub(super) mod fusion;
pub(super) mod upload;

use axum::{extract::State, http::StatusCode};
use imaging::StudyUid;
use ledger::{PageRequest, ResultFilter, StudyFilter};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    audit::Deeds,
    auth::{Operator, Reader, Releaser},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    view::{JobView, ResultView, StudyDetail, StudyView},
};

/// Newest results that a study shows; `/v1/results?study=` pages through all.
const RESULTS_SHOWN: u32 = 100;

/// Which studies are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StudyQuery {
    /// Only for roles that see patients.
    patient_id: Option<String>,
    /// Only for roles that see patients.
    accession_number: Option<String>,
    /// Studies with a series of this modality.
    modality: Option<String>,
    /// `YYYYMMDD`, the first day.
    study_date_from: Option<String>,
    /// `YYYYMMDD`, the last day.
    study_date_to: Option<String>,
}

impl StudyQuery {
    fn filter(self, reader: &Reader) -> ApiResult<StudyFilter> {
        let names_patient = self.patient_id.is_some() || self.accession_number.is_some();
        if names_patient && !reader.sees_patients() {
            return Err(ApiError::because(Code::Forbidden, "this role cannot look for patients"));
        }
        for date in [&self.study_date_from, &self.study_date_to].into_iter().flatten() {
            if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ApiError::because(Code::InvalidParameter, "a date is written YYYYMMDD"));
            }
        }
        Ok(StudyFilter {
            patient_id: self.patient_id,
            accession_number: self.accession_number,
            modality: self.modality,
            study_date_from: self.study_date_from,
            study_date_to: self.study_date_to,
        })
    }
}

/// Studies, the one that came last first.
#[utoipa::path(get, path = "/v1/studies", tag = "studies", operation_id = "list_studies",
    params(StudyQuery, PageQuery), responses((status = 200, body = Page<StudyView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Query(query): Query<StudyQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<StudyView>>> {
    let studies = state.ledger.studies(&query.filter(&reader)?, &page.request()?).await?;
    if reader.sees_patients() {
        let listed = json!({ "listed": studies.rows.len() });
        Deeds::of(&state, &reader, &request).note_with("study.list", "studies", listed).await?;
    }
    Ok(Json(Page::of(studies, |row| StudyView::new(row, &reader))))
}

/// One study: its series and the evidence that they are whole, its jobs and results.
#[utoipa::path(get, path = "/v1/studies/{uid}", tag = "studies", operation_id = "get_study",
    params(("uid" = String, Path, description = "Study Instance UID")),
    responses((status = 200, body = StudyDetail)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Path(uid): Path<StudyUid>,
) -> ApiResult<Json<StudyDetail>> {
    let study = detail(&state, &uid, &reader).await?;
    Deeds::of(&state, &reader, &request).note("study.read", uid.as_str()).await?;
    Ok(Json(study))
}

async fn detail(state: &AppState, uid: &StudyUid, reader: &crate::auth::Caller) -> ApiResult<StudyDetail> {
    let evidence = state.ledger.evidence(uid).await?.ok_or_else(|| ApiError::no_such("study"))?;
    let jobs = state.ledger.jobs_of_study(uid).await?.into_iter().map(JobView::from).collect();
    let filter = ResultFilter { study: Some(uid.clone()), ..ResultFilter::default() };
    let results = state.ledger.results(&filter, &PageRequest::first(RESULTS_SHOWN)).await?;
    let results = results.rows.into_iter().map(ResultView::from).collect();
    Ok(StudyDetail::new(evidence, jobs, results, reader))
}

/// Says that the study is whole as it is now: its series are analysed without waiting for
/// more evidence. What has been computed already is not computed again.
#[utoipa::path(post, path = "/v1/studies/{uid}/analyse", tag = "studies", operation_id = "analyse_study",
    params(("uid" = String, Path, description = "Study Instance UID")),
    responses((status = 202, body = StudyDetail, description = "Taken note of; the events tell what follows")))]
pub(crate) async fn analyse(
    State(state): State<AppState>,
    operator: Operator,
    request: RequestId,
    Path(uid): Path<StudyUid>,
) -> ApiResult<(StatusCode, Json<StudyDetail>)> {
    let (by, now, deeds) = (operator.actor(), state.now(), Deeds::of(&state, &operator, &request));
    let row = deeds.row("study.analyse", uid.as_str(), json!({}));
    let named = Some(request.as_str());
    deeds.carry_out([row], async |ledger| ledger.force_study(&uid, &by, named, now).await).await?;
    Ok((StatusCode::ACCEPTED, Json(detail(&state, &uid, &operator).await?)))
}

/// Releases a study that is held: a person has looked, and answers for the images being of one
/// patient. What was computed may leave then.
#[utoipa::path(post, path = "/v1/studies/{uid}/release", tag = "studies", operation_id = "release_study",
    params(("uid" = String, Path, description = "Study Instance UID")),
    responses((status = 200, body = StudyDetail), (status = 409, description = "It is not held")))]
pub(crate) async fn release(
    State(state): State<AppState>,
    person: Releaser,
    request: RequestId,
    Path(uid): Path<StudyUid>,
) -> ApiResult<Json<StudyDetail>> {
    if state.ledger.study(&uid).await?.is_some_and(|study| !study.is_held) {
        return Err(ApiError::because(Code::Conflict, "the study is not held"));
    }
    let (by, now, deeds) = (person.actor(), state.now(), Deeds::of(&state, &person, &request));
    let row = deeds.row("study.release", uid.as_str(), json!({}));
    let named = Some(request.as_str());
    deeds.carry_out([row], async |ledger| ledger.release_holds(&uid, &by, named, now).await).await?;
    Ok(Json(detail(&state, &uid, &person).await?))
}

/// Which models suit the study's series and which do not: the first condition that fails,
/// with the value seen, and what each series still waits for.
#[utoipa::path(get, path = "/v1/studies/{uid}/routing", tag = "studies", operation_id = "explain_study",
    params(("uid" = String, Path, description = "Study Instance UID")),
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn routing(
    State(state): State<AppState>,
    reader: Reader,
    Path(uid): Path<StudyUid>,
) -> ApiResult<Json<pipeline::Explanation>> {
    let explanation = state.pipeline.explain(&uid).await?;
    let explanation = explanation.ok_or_else(|| ApiError::no_such("study"))?;
    Ok(Json(if reader.sees_patients() { explanation } else { explanation.without_free_text() }))
}
