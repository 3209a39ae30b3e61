//! Images: classification while the caller waits, segmentation by task, feedback.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use admission::Admitted;
use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use imaging::{SeriesUid, StudyUid};
use inference::{Model, package::Task};
use ledger::{
    CallId, Ending, Job, JobState, NewPrediction, PageRequest, PredictionId, PredictionReview, ResultFilter,
    Role,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Caller, Clinician},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path},
    keeping::Keeping,
    reading::{Form, Reading, unpack},
    request_id::RequestId,
    routes::predict::{ModelVersion, SERVER_TIMING, header_value},
    state::AppState,
    tabular,
    transport::ClientAddress,
    upload::{Arrival, Upload},
    view::DicomFile,
};

const TEXT_LENGTH_MAX: usize = 4096;

/// A form with an image, in the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for bytes that are streamed")]
pub(crate) struct ImageForm {
    /// A DICOM file, or a zip archive of them; the part may be repeated.
    image: DicomFile,
    patient_id: String,
    /// `false`: without a heatmap.
    xai: Option<String>,
}

/// What a classification says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Classified {
    prediction_id: i64,
    /// `PENDING_REVIEW`.
    status: &'static str,
    patient_id: String,
    model: ModelVersion,
    class: String,
    confidence: f64,
    /// By class.
    #[schema(value_type = BTreeMap<String, f64>)]
    probabilities: serde_json::Map<String, Value>,
    /// The slice that speaks most for the class, counted from 0.
    key_slice: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmap: Option<HeatmapView>,
    /// The same bytes were answered by the same model within the last hour.
    cached: bool,
}

/// Where the model looked, in base64.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeatmapView {
    /// A picture of the key slice.
    png: String,
    /// A DICOM secondary capture.
    dicom: String,
}

/// Classifies an image while the caller waits, and keeps the answer for a doctor's review.
#[utoipa::path(post, path = "/predict/ct_classification", tag = "compat", operation_id = "compat_ct_classification",
    request_body(content = ImageForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Classified), (status = 400, description = "No usable image, or no patient")))]
pub(crate) async fn ct_classification(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    classify(&state, &clinician, &id, request).await
}

async fn classify(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
    request: Request,
) -> ApiResult<Response> {
    let model = classifier(state)?;
    let begun = Instant::now();
    let form = Arc::new(Form::read(&state.temporary, request).await?);
    let patient_id = form.fields.get("patient_id").map(String::as_str).unwrap_or_default();
    let patient_id = tabular::patient_id(patient_id)?;
    let received = begun.elapsed();
    let (reading, cached) = state.readings().read(&model, &form, state.now()).await?;
    let read = begun.elapsed();
    let prediction = keep(state, caller, id, &model, &form, &patient_id, &reading).await?;
    let stages = [
        ("receive", received),
        ("infer", read.saturating_sub(received)),
        ("store", begun.elapsed().saturating_sub(read)),
    ];
    let timing = stages.map(|(name, took)| format!("{name};dur={:.3}", took.as_secs_f64() * 1e3)).join(", ");
    let wanted = form.fields.get("xai").is_none_or(|word| word != "false");
    let heatmap = reading.heatmap.as_ref().filter(|_| wanted);
    let answer = Classified {
        prediction_id: prediction.0,
        status: status_of(&[]),
        patient_id,
        model: ModelVersion::of(&model),
        class: reading.class.clone(),
        confidence: reading.confidence,
        probabilities: reading.probabilities.clone(),
        key_slice: reading.key_slice,
        heatmap: heatmap.map(|(png, dicom)| HeatmapView { png: png.clone(), dicom: dicom.clone() }),
        cached,
    };
    Ok(([(SERVER_TIMING, header_value(&timing))], Json(answer)).into_response())
}

/// The classification in service that is for CT.
fn classifier(state: &AppState) -> ApiResult<Arc<Model>> {
    let is_for_ct = |model: &Arc<Model>| {
        let package = model.package();
        let modality = package
            .applies_to
            .as_ref()
            .is_some_and(|rules| rules.modality.iter().flatten().any(|one| one == "CT"));
        matches!(package.task, Task::Classification(_)) && modality
    };
    let model = state.registry.active().into_iter().find(is_for_ct);
    model.ok_or_else(|| ApiError::because(Code::Unavailable, "no classification of CT is in service"))
}

async fn keep(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
    model: &Model,
    form: &Form,
    patient_id: &str,
    reading: &Reading,
) -> ApiResult<PredictionId> {
    let keeping = Keeping {
        state,
        caller,
        request: id,
        package: model.package(),
        model_name: model.package().id.as_str(),
        call: CallId::generate(),
    };
    let audit = keeping.audit(json!({ "files": form.files.len() }));
    let row = NewPrediction {
        number: 1,
        input: json!({ "files": form.files.len(), "sha256": form.digest }),
        label: None,
        answer: reading.findings.clone(),
    };
    let kept = keeping.rows(patient_id, vec![row]);
    let numbers = state.ledger.record_call(&state.audit_key, Some(audit), Some(kept)).await?;
    numbers.first().copied().ok_or_else(|| ApiError::internal("a kept row has no number"))
}

/// What reviews make of a prediction: the last word of a doctor counts.
pub(crate) fn status_of(reviews: &[PredictionReview]) -> &'static str {
    match reviews.iter().rev().find(|review| review.doctor.is_some()) {
        None => "PENDING_REVIEW",
        Some(review) if review.correct => "CONFIRMED",
        Some(_) => "REJECTED",
    }
}

/// What somebody says about a prediction.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FeedbackBody {
    prediction_id: i64,
    correct: bool,
    /// What it really was.
    actual_class: Option<String>,
    #[serde(alias = "doctor_feedback")]
    feedback: Option<String>,
}

/// What became of the feedback.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedbackAnswer {
    prediction_id: i64,
    /// `PENDING_REVIEW` until a doctor has spoken, then `CONFIRMED` or `REJECTED`.
    status: &'static str,
    verified_by_doctor: bool,
    doctor_feedback: Option<String>,
    verified_at: Option<String>,
}

/// Agrees with a prediction, or says what it really was. Every word is kept; the last one of a doctor counts.
#[utoipa::path(post, path = "/feedback", tag = "compat", operation_id = "compat_feedback",
    request_body = FeedbackBody, responses((status = 200, body = FeedbackAnswer)))]
pub(crate) async fn feedback(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    Json(body): Json<FeedbackBody>,
) -> ApiResult<Json<FeedbackAnswer>> {
    let texts = [&body.actual_class, &body.feedback];
    if texts.into_iter().flatten().any(|text| text.len() > TEXT_LENGTH_MAX) {
        return Err(ApiError::because(
            Code::Unprocessable,
            format!("a text has at most {TEXT_LENGTH_MAX} bytes"),
        ));
    }
    let prediction = PredictionId(body.prediction_id);
    let review = PredictionReview {
        at: state.now(),
        actor: clinician.actor(),
        doctor: (clinician.role == Role::Doctor).then(|| clinician.account_name()).flatten(),
        request_id: Some(id.to_string()),
        correct: body.correct,
        actual_class: body.actual_class,
        feedback: body.feedback,
    };
    let deeds = Deeds::of(&state, &clinician, &id);
    let row = deeds.row("prediction.review", prediction.to_string(), json!({ "correct": review.correct }));
    let add = async |ledger: ledger::Ledger| ledger.review_prediction(prediction, &review).await;
    if !deeds.carry_out_if([row], add).await? {
        return Err(ApiError::no_such("prediction"));
    }
    let reviews = state.ledger.prediction_reviews(prediction).await?;
    let verified = reviews.iter().rev().find(|review| review.doctor.is_some());
    Ok(Json(FeedbackAnswer {
        prediction_id: body.prediction_id,
        status: status_of(&reviews),
        verified_by_doctor: verified.is_some(),
        doctor_feedback: verified.and_then(|review| review.feedback.clone()),
        verified_at: verified.map(|review| crate::view::timestamp(review.at)),
    }))
}

/// What is to be segmented: a study, or the one that a series is of.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StudyBody {
    #[schema(value_type = Option<String>)]
    study_uid: Option<StudyUid>,
    #[schema(value_type = Option<String>)]
    series_uid: Option<SeriesUid>,
}

impl StudyBody {
    async fn study(self, state: &AppState) -> ApiResult<StudyUid> {
        let Some(series) = self.series_uid else {
            let missing = || ApiError::because(Code::BadRequest, "study_uid or series_uid is needed");
            return self.study_uid.ok_or_else(missing);
        };
        // A series UID is one study's alone; where two claim it, the caller has to say which.
        match (state.ledger.studies_with_series(&series).await?.as_slice(), self.study_uid) {
            ([], _) => Err(ApiError::no_such("series")),
            (all, Some(named)) if all.contains(&named) => Ok(named),
            ([only], None) => Ok(only.clone()),
            (_, Some(_)) => Err(ApiError::because(Code::BadRequest, "the series is of another study")),
            (_, None) => {
                Err(ApiError::because(Code::BadRequest, "several studies have the series: name study_uid"))
            }
        }
    }
}

/// Where to ask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskId {
    task_id: String,
}

/// Segments a study that is here, or files of one; the answer is where to ask.
#[utoipa::path(post, path = "/predict/mri_segmentation/async", tag = "compat",
    operation_id = "compat_mri_segmentation",
    request_body(content((StudyBody = "application/json"), (ImageForm = "multipart/form-data"))),
    responses((status = 202, body = TaskId), (status = 404, description = "No such study")))]
pub(crate) async fn mri_segmentation(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    axum::Extension(address): axum::Extension<ClientAddress>,
    request: Request,
) -> ApiResult<(StatusCode, Json<TaskId>)> {
    segment(&state, &clinician, &id, address, request).await
}

async fn segment(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
    address: ClientAddress,
    request: Request,
) -> ApiResult<(StatusCode, Json<TaskId>)> {
    let study = if is_json(request.headers()) {
        Json::<StudyBody>::from_request(request, state).await?.0.study(state).await?
    } else {
        store(state, caller, address, Form::read(&state.temporary, request).await?).await?
    };
    let (by, now, deeds) = (caller.actor(), state.now(), Deeds::of(state, caller, id));
    let row = deeds.row("study.segment", study.as_str(), json!({}));
    let named = Some(id.as_str());
    deeds.carry_out([row], async |ledger| ledger.force_study(&study, &by, named, now).await).await?;
    // Its study is its task: it survives a restart, and a second request is the same task.
    Ok((StatusCode::ACCEPTED, Json(TaskId { task_id: study.to_string() })))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    kind.trim_start().to_ascii_lowercase().starts_with("application/json")
}

/// Keeps the files of a form like any other upload; they must be of one study.
async fn store(state: &AppState, caller: &Caller, address: ClientAddress, form: Form) -> ApiResult<StudyUid> {
    state.spool.check_space()?;
    let form = Arc::new(form);
    let held = Arc::clone(&form);
    let unpacked = tokio::task::spawn_blocking(move || unpack(held.folder.path(), &held.files));
    let files = unpacked.await.map_err(ApiError::internal)??;
    let upload = Upload::begin(state.clone(), caller.actor(), address.0.to_string()).await?;
    let mut studies = BTreeMap::new();
    let mut first_reason = None;
    for path in files {
        let file = tokio::fs::File::open(path).await.map_err(ApiError::internal)?;
        let chunks =
            futures_util::StreamExt::map(ReaderStream::new(file), |chunk| chunk.map_err(ApiError::internal));
        match upload.take(chunks).await? {
            Arrival::Admitted(
                Admitted::Stored(header) | Admitted::Duplicate(header) | Admitted::Replaced(header),
            ) => {
                studies.insert(header.study.to_string(), header.study.clone());
            }
            Arrival::Admitted(Admitted::Conflict(uid)) => {
                first_reason.get_or_insert(format!("another instance has the UID {uid}"));
            }
            Arrival::Admitted(Admitted::Unusable(reason)) | Arrival::Refused(reason) => {
                first_reason.get_or_insert(reason);
            }
        }
    }
    upload.end(Ending::Released).await?;
    let mut studies = studies.into_values();
    match (studies.next(), studies.next()) {
        (Some(study), None) => Ok(study),
        (Some(_), Some(_)) => Err(ApiError::because(Code::InvalidDicom, "the files are of several studies")),
        (None, _) => Err(ApiError::because(
            Code::InvalidDicom,
            first_reason.unwrap_or_else(|| "no usable file".to_owned()),
        )),
    }
}

/// How far a segmentation is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskView {
    /// `PENDING`, `PROCESSING`, `COMPLETED` or `FAILED`.
    status: &'static str,
    /// In per cent.
    progress: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl TaskView {
    fn of(job: Option<&Job>) -> Self {
        let (status, progress) = match job.map(|job| job.state) {
            None | Some(JobState::Queued | JobState::Failed) => ("PENDING", 0),
            Some(JobState::Leased | JobState::Running | JobState::Computed) => {
                ("PROCESSING", job.map_or(0, |job| job.progress_permille / 10))
            }
            Some(JobState::Done) => ("COMPLETED", 100),
            Some(JobState::Dead | JobState::Cancelled | JobState::Superseded) => ("FAILED", 0),
        };
        let failure = job.filter(|_| status == "FAILED").and_then(|job| job.failure.clone());
        Self { status, progress, result: None, error: failure.map(|(_, reason)| reason) }
    }
}

/// How far a segmentation is, and what it found: volumes, and where the mask is.
#[utoipa::path(get, path = "/task/{id}", tag = "compat", operation_id = "compat_task",
    params(("id" = String, Path)), responses((status = 200, body = TaskView)))]
pub(crate) async fn task(
    State(state): State<AppState>,
    clinician: Clinician,
    request: RequestId,
    Path(id): Path<String>,
) -> ApiResult<Json<TaskView>> {
    let study = StudyUid::parse(&id).map_err(|_| ApiError::no_such("task"))?;
    state.ledger.evidence(&study).await?.ok_or_else(|| ApiError::no_such("task"))?;
    let jobs = state.ledger.jobs_of_study(&study).await?;
    let wanted = |job: &&Job| !is_other_task(&state, &job.model.id);
    let job = jobs.iter().filter(wanted).find(|job| job.state != JobState::Superseded).or(jobs.first());
    let mut view = TaskView::of(job);
    if let Some(job) = job.filter(|job| job.state == JobState::Done) {
        let filter = ResultFilter {
            study: Some(study),
            model_id: Some(job.model.id.clone()),
            ..ResultFilter::default()
        };
        let results = state.ledger.results(&filter, &PageRequest::first(100)).await?;
        if let Some(result) = results.rows.into_iter().find(|result| result.job == job.id) {
            Deeds::of(&state, &clinician, &request).note("result.read", result.id.to_string()).await?;
            view.result = Some(json!({
                "result_id": result.id,
                "findings": result.findings,
                "mask": format!("/v1/results/{}/artifacts", result.id),
            }));
        }
    }
    Ok(Json(view))
}

/// A model of the study that does something else, such as classifying it.
fn is_other_task(state: &AppState, model: &str) -> bool {
    let model = state.registry.get(model);
    model.is_some_and(|model| !matches!(model.package().task, Task::Segmentation(_)))
}

/// Gene expression: rows of the model `mg-expression`.
#[utoipa::path(post, path = "/api/v1/mg/inference", tag = "compat", operation_id = "compat_mg",
    request_body = crate::routes::predict::Rows,
    responses((status = 200, body = super::rows::Predicted), (status = 400, body = super::rows::Detail)))]
pub(crate) async fn mg(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    super::rows::predict_with(&state, &clinician, &id, request, MG_MODEL, Code::Unprocessable).await
}

const MG_MODEL: &str = "mg-expression";
