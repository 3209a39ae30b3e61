//! `POST /v1/studies`: DICOM files over HTTP.

use std::collections::BTreeSet;

use admission::Admitted;
use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request, State, multipart::MultipartError},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use imaging::Header;
use ledger::Ending;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::Clinician,
    error::{ApiError, ApiResult, Code},
    extract::{Json, body_refusal},
    request_id::{self, RequestId},
    state::AppState,
    transport::ClientAddress,
    upload::{Arrival, Upload},
    view::DicomFile,
};

const CONFLICT: &str = "conflict";
/// More files than this in one request are several requests.
const FILES_MAX: usize = 10_000;

/// A form of files, in the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for bytes that are streamed")]
pub(crate) struct FilesForm {
    files: Vec<DicomFile>,
}

/// What became of an upload.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct UploadView {
    /// Studies that something was stored for, or had been before.
    study_uids: BTreeSet<String>,
    /// One for each file, in order.
    files: Vec<FileView>,
}

/// What became of one file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileView {
    /// `stored`; `duplicate`: the very same instance was there; `replaced`: it has taken the
    /// place of another one with its UID (`dicom.same_uid`); `conflict`: another one has
    /// its UID, this one is set aside; `quarantined`: it cannot be used and is set aside;
    /// `refused`: it is no DICOM file and is not kept.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    study_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sop_instance_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl FileView {
    fn kept(outcome: &'static str, header: &Header) -> Self {
        Self {
            outcome,
            study_uid: Some(header.study.to_string()),
            series_uid: Some(header.series.to_string()),
            sop_instance_uid: Some(header.sop_instance.to_string()),
            reason: None,
        }
    }

    fn other(outcome: &'static str, sop_instance_uid: Option<String>, reason: String) -> Self {
        Self { outcome, study_uid: None, series_uid: None, sop_instance_uid, reason: Some(reason) }
    }
}

impl From<Arrival> for FileView {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Admitted(Admitted::Stored(header)) => Self::kept("stored", &header),
            Arrival::Admitted(Admitted::Duplicate(header)) => Self::kept("duplicate", &header),
            Arrival::Admitted(Admitted::Replaced(header)) => Self::kept("replaced", &header),
            Arrival::Admitted(Admitted::Conflict(uid)) => {
                let reason = "another instance with this UID is in service; this one is set aside".to_owned();
                Self::other(CONFLICT, Some(uid.to_string()), reason)
            }
            Arrival::Admitted(Admitted::Unusable(reason)) => Self::other("quarantined", None, reason),
            Arrival::Refused(reason) => Self::other("refused", None, reason),
        }
    }
}

impl UploadView {
    fn add(&mut self, arrival: Arrival) {
        let file = FileView::from(arrival);
        self.study_uids.extend(file.study_uid.clone());
        self.files.push(file);
    }
}

/// Takes DICOM Part 10 files: one as `application/dicom`, or any number as parts of
/// `multipart/form-data`. An answer means that each file is kept as durably as one that
/// came by C-STORE.
#[utoipa::path(post, path = "/v1/studies", tag = "studies", operation_id = "upload",
    request_body(content((DicomFile = "application/dicom"), (FilesForm = "multipart/form-data"))),
    responses(
        (status = 200, body = UploadView, description = "At least one file was stored, or had been before"),
        (status = 400, description = "None of the files can be used"),
        (status = 409, description = "Other instances have the UIDs of these files, which are set aside"),
        (status = 507, description = "The disk is full or below its watermark")))]
pub(crate) async fn upload(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    axum::Extension(ClientAddress(address)): axum::Extension<ClientAddress>,
    request: Request,
) -> ApiResult<(StatusCode, Json<UploadView>)> {
    state.spool.check_space()?;
    let kind = BodyKind::of(request.headers())?;
    let upload = Upload::begin(state.clone(), clinician.actor(), address.to_string()).await?;
    let caller = clinician.into_caller();
    // A task of its own: what was received whole is recorded even if the caller hangs up.
    let work = tokio::spawn(request_id::same(async move {
        let mut view = UploadView::default();
        let read = match kind {
            BodyKind::Dicom => take_one(&state, &upload, &mut view, request).await,
            BodyKind::Form => take_parts(&upload, &mut view, request).await,
        };
        let ended = upload.end(if read.is_ok() { Ending::Released } else { Ending::Aborted }).await;
        // Also what came whole before the rest was cut off.
        let deeds = Deeds::of(&state, &caller, &id);
        for study in &view.study_uids {
            deeds.note("study.upload", study.as_str()).await?;
        }
        ended?;
        read.map(|()| view)
    }));
    let view = work.await.map_err(ApiError::internal)??;
    if view.study_uids.is_empty() {
        return Err(nothing_usable(&view));
    }
    Ok((StatusCode::OK, Json(view)))
}

fn nothing_usable(view: &UploadView) -> ApiError {
    match view.files.as_slice() {
        [] => ApiError::because(Code::BadRequest, "the request holds no file"),
        [first, ..] => {
            let code = if first.outcome == CONFLICT { Code::Conflict } else { Code::InvalidDicom };
            ApiError::because(code, first.reason.clone().unwrap_or_default())
        }
    }
}

enum BodyKind {
    Dicom,
    Form,
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> ApiResult<Self> {
        let media_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "application/dicom" => Ok(Self::Dicom),
            "multipart/form-data" => Ok(Self::Form),
            _ => Err(ApiError::because(
                Code::UnsupportedMediaType,
                "send application/dicom, or multipart/form-data with files",
            )),
        }
    }
}

async fn take_one(
    state: &AppState,
    upload: &Upload,
    view: &mut UploadView,
    request: Request,
) -> ApiResult<()> {
    let chunks = limited(request.into_body(), state.http.limits.upload_bytes);
    view.add(upload.take(chunks).await?);
    Ok(())
}

/// The body's chunks, up to `bytes_max` in all.
fn limited(body: Body, bytes_max: usize) -> impl Stream<Item = ApiResult<Bytes>> {
    let mut left = bytes_max;
    body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(|error| body_refusal(StatusCode::BAD_REQUEST, error))?;
        left = left.checked_sub(chunk.len()).ok_or_else(|| ApiError::new(Code::BodyTooLarge))?;
        Ok(chunk)
    })
}

/// The route's body limit holds for the whole form.
async fn take_parts(upload: &Upload, view: &mut UploadView, request: Request) -> ApiResult<()> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|rejection| ApiError::because(Code::BadRequest, rejection.body_text()))?;
    while let Some(part) = form.next_field().await? {
        // Text fields of a form are not files.
        if part.file_name().is_none() && part.content_type() != Some("application/dicom") {
            continue;
        }
        if view.files.len() == FILES_MAX {
            return Err(ApiError::because(
                Code::BodyTooLarge,
                format!("at most {FILES_MAX} files in one request"),
            ));
        }
        view.add(upload.take(part).await?);
    }
    Ok(())
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        body_refusal(error.status(), error)
    }
}
