//! Reviews: what doctors decide about results, and have decided.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    http::StatusCode,
    response::{AppendHeaders, IntoResponse, Response},
};
use imaging::Code as Coded;
use ledger::{RejectionReason, ResultId, Reviewed, Reviewer};
use pipeline::{GivenFile, ReviewDecision, ReviewError, ReviewOrder, SegmentationFile};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::results::released;
use crate::{
    audit::Deeds,
    auth::{Doctor, Reader},
    error::{ApiError, ApiResult, Code},
    etag::{IfMatch, etag, overtaken},
    extract::{Json, Path},
    request_id::RequestId,
    state::AppState,
    view::{DicomFile, ReviewView},
};

const COMMENT_LENGTH_MAX: usize = 2000;
/// PS3.5 §6.2: SH and LO.
const CODE_VALUE_LENGTH_MAX: usize = 16;
const CODE_MEANING_LENGTH_MAX: usize = 64;
const DICOM_MAGIC: std::ops::Range<usize> = 128..132;
/// UTF-8 needs no more for a letter.
const COMMENT_BYTES_MAX: usize = 4 * COMMENT_LENGTH_MAX;
const MASKS_AT_ONCE: usize = 2;

/// Room for masks: whoever waits for it has not been read yet.
#[derive(Debug)]
pub(crate) struct Masks(Arc<Semaphore>);

impl Default for Masks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MASKS_AT_ONCE)))
    }
}

impl Masks {
    async fn room(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.map_err(ApiError::internal)
    }
}

/// What a doctor says about a result.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "decision", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum DecisionBody {
    /// It is right.
    Accept { comment: Option<String> },
    /// It is not to be used.
    Reject {
        /// `quality` or `patient-safety`, as the note to the archives is titled.
        #[schema(value_type = String)]
        reason: RejectionReason,
        comment: Option<String>,
    },
    /// A classifier's answer should have been another one.
    Correct { class: ClassBody, comment: Option<String> },
    /// Where two doctors have to agree: what the first one said is right.
    Agree { comment: Option<String> },
    /// The last decision is taken back; it stays in the history.
    Undo { comment: Option<String> },
}

/// A coded class, such as (274100004, SCT, Cerebral haemorrhage).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassBody {
    value: String,
    scheme: String,
    meaning: String,
}

/// A form, in the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for a form that is read part by part")]
pub(crate) struct SegmentationForm {
    /// A DICOM SEG, or a NIfTI label map on the grid of the images.
    file: DicomFile,
    comment: Option<String>,
}

impl DecisionBody {
    fn parts(self) -> ApiResult<(ReviewDecision, Option<String>)> {
        Ok(match self {
            Self::Accept { comment } => (ReviewDecision::Accept, comment),
            Self::Reject { reason, comment } => (ReviewDecision::Reject(reason), comment),
            Self::Correct { class, comment } => (ReviewDecision::CorrectClass(class.code()?), comment),
            Self::Agree { comment } => (ReviewDecision::Agree, comment),
            Self::Undo { comment } => (ReviewDecision::Undo, comment),
        })
    }
}

impl ClassBody {
    fn code(self) -> ApiResult<Coded> {
        check_text("value", &self.value, CODE_VALUE_LENGTH_MAX)?;
        check_text("scheme", &self.scheme, CODE_VALUE_LENGTH_MAX)?;
        check_text("meaning", &self.meaning, CODE_MEANING_LENGTH_MAX)?;
        Ok(Coded { value: self.value, scheme: self.scheme, meaning: self.meaning })
    }
}

fn check_text(name: &str, text: &str, length_max: usize) -> ApiResult<()> {
    let bad = |letter: char| letter.is_control() || letter == '\\';
    if text.trim().is_empty() || text.chars().count() > length_max || text.contains(bad) {
        let detail = format!("the class's {name} has 1 to {length_max} letters and no backslash");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    Ok(())
}

/// The history of a result, the first review first.
#[utoipa::path(get, path = "/v1/results/{id}/reviews", tag = "reviews", operation_id = "list_reviews",
    params(("id" = String, Path)), responses((status = 200, body = Vec<ReviewView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Path(id): Path<ResultId>,
) -> ApiResult<Response> {
    let row = released(&state, id).await?;
    Deeds::of(&state, &reader, &request).note("review.list", id.to_string()).await?;
    let reviews = state.ledger.reviews(id).await?;
    let views: Vec<_> = reviews.into_iter().map(|review| ReviewView::new(review, &reader)).collect();
    Ok((AppendHeaders([etag(row.review_number)]), Json(views)).into_response())
}

/// Accepts, rejects or corrects a result, or takes the last decision back. The documents that
/// say so are kept, and on their way to the archives, when this is answered.
#[utoipa::path(post, path = "/v1/results/{id}/reviews", tag = "reviews", operation_id = "review_result",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The ETag of the result as it was seen")),
    request_body = DecisionBody,
    responses((status = 201, body = ReviewView),
              (status = 200, body = ReviewView, description = "The same was said before"),
              (status = 409, description = "Not possible where the result stands now"),
              (status = 412, description = "Somebody decided meanwhile"),
              (status = 422, description = "The correction does not suit the result"),
              (status = 428, description = "If-Match is missing")))]
pub(crate) async fn decide(
    State(state): State<AppState>,
    doctor: Doctor,
    request: RequestId,
    Path(id): Path<ResultId>,
    seen: IfMatch,
    Json(body): Json<DecisionBody>,
) -> ApiResult<Response> {
    let (decision, comment) = body.parts()?;
    carry_out(&state, &doctor, &request, (id, seen), decision, comment, None).await
}

/// Corrects a segmentation with a mask: a DICOM SEG, which is kept as it is, or a NIfTI label map
/// on the grid of the images with the values of the model's labels.
#[utoipa::path(post, path = "/v1/results/{id}/reviews/segmentation", tag = "reviews",
    operation_id = "correct_segmentation",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The ETag of the result as it was seen")),
    request_body(content((SegmentationForm = "multipart/form-data"))),
    responses((status = 201, body = ReviewView),
              (status = 200, body = ReviewView, description = "The same was said before"),
              (status = 409, description = "Not possible where the result stands now"),
              (status = 412, description = "Somebody decided meanwhile"),
              (status = 413, description = "The mask or the comment is too long"),
              (status = 422, description = "The mask does not suit the result"),
              (status = 428, description = "If-Match is missing")))]
pub(crate) async fn correct(
    State(state): State<AppState>,
    doctor: Doctor,
    request: RequestId,
    Path(id): Path<ResultId>,
    seen: IfMatch,
    body: Request,
) -> ApiResult<Response> {
    refuse_what_no_mask_changes(&state, &doctor, id, seen).await?;
    let room = state.masks().room().await?;
    let (file, comment) = read_form(&state, body).await?;
    let decision = ReviewDecision::CorrectSegmentation(file);
    carry_out(&state, &doctor, &request, (id, seen), decision, comment, Some(room)).await
}

/// Before a byte of the mask is read. What the doctor said last may be what he says again.
async fn refuse_what_no_mask_changes(
    state: &AppState,
    doctor: &Doctor,
    id: ResultId,
    seen: IfMatch,
) -> ApiResult<()> {
    let row = released(state, id).await?;
    if row.review_number == seen.0 {
        return match row.superseded_by {
            Some(newer) => Err(refusal(&Reviewed::Superseded(newer))),
            None => Ok(()),
        };
    }
    let last = state.ledger.reviews(id).await?.pop();
    let is_own = last.is_some_and(|last| {
        Some(last.number) == seen.0.checked_add(1) && last.reviewer.account == doctor.account()
    });
    if is_own { Ok(()) } else { Err(overtaken(row.review_number)) }
}

async fn read_form(state: &AppState, request: Request) -> ApiResult<(SegmentationFile, Option<String>)> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|rejection| ApiError::because(Code::UnsupportedMediaType, rejection.body_text()))?;
    let (mut file, mut comment) = (None, None);
    while let Some(part) = form.next_field().await? {
        match part.name() {
            Some("file") => file = Some(take_file(state, part).await?),
            Some("comment") => comment = Some(take_comment(part).await?),
            _ => {}
        }
    }
    let file = file.ok_or_else(|| ApiError::because(Code::BadRequest, "the form has no part named file"))?;
    Ok((file, comment))
}

/// The mask goes to the disk as it comes; only its beginning is looked at.
async fn take_file(state: &AppState, mut part: Field<'_>) -> ApiResult<SegmentationFile> {
    let (file, path) = state.temporary.file()?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let (mut hash, mut front) = (Sha256::new(), Vec::with_capacity(DICOM_MAGIC.end));
    let each = |chunk: &[u8]| {
        hash.update(chunk);
        let wanted = (DICOM_MAGIC.end - front.len()).min(chunk.len());
        front.extend_from_slice(&chunk[..wanted]);
    };
    let bytes_max = state.http.limits.mask_bytes;
    let too_long = |length| {
        let detail = || format!("a mask has at most {bytes_max} bytes");
        (length > bytes_max).then(|| ApiError::because(Code::BodyTooLarge, detail()))
    };
    state.temporary.receive(&mut part, &mut file, each, too_long).await?;
    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let given = GivenFile::new(path, digest);
    Ok(match front.get(DICOM_MAGIC) {
        Some(b"DICM") => SegmentationFile::Dicom(given),
        _ => SegmentationFile::Nifti(given),
    })
}

async fn take_comment(mut part: Field<'_>) -> ApiResult<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > COMMENT_BYTES_MAX {
            let detail = format!("a comment has at most {COMMENT_LENGTH_MAX} letters");
            return Err(ApiError::because(Code::BodyTooLarge, detail));
        }
    }
    String::from_utf8(bytes).map_err(|_| ApiError::because(Code::BadRequest, "the comment is not UTF-8"))
}

async fn carry_out(
    state: &AppState,
    doctor: &Doctor,
    request: &RequestId,
    (result, seen): (ResultId, IfMatch),
    decision: ReviewDecision,
    comment: Option<String>,
    room: Option<OwnedSemaphorePermit>,
) -> ApiResult<Response> {
    let order = ReviewOrder {
        result,
        after: seen.0,
        decision,
        comment: checked(comment)?,
        reviewer: reviewer(state, doctor).await?,
        request_id: Some(request.to_string()),
    };
    let handle = (state.pipeline.clone(), state.spool.clone(), state.audit_key.clone());
    // A task of its own: a caller who hangs up half-way leaves no half of a review.
    let work = tokio::spawn(async move {
        let _room = room;
        handle.0.review(&handle.1, &handle.2, &order).await
    });
    let (status, review) = match work.await.map_err(ApiError::internal)?? {
        Reviewed::Added(review) => (StatusCode::CREATED, review),
        Reviewed::Repeated(review) => (StatusCode::OK, review),
        refused => return Err(refusal(&refused)),
    };
    let tag = etag(review.number);
    Ok((status, AppendHeaders([tag]), Json(ReviewView::new(review, doctor))).into_response())
}

fn checked(comment: Option<String>) -> ApiResult<Option<String>> {
    let comment = comment.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if comment.as_ref().is_some_and(|text| text.chars().count() > COMMENT_LENGTH_MAX) {
        let detail = format!("a comment has at most {COMMENT_LENGTH_MAX} letters");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    Ok(comment)
}

/// The account, as it is now, says who decides; the request has no say in it.
async fn reviewer(state: &AppState, doctor: &Doctor) -> ApiResult<Reviewer> {
    let account = state.ledger.account(doctor.account()).await?;
    let account = account.ok_or_else(|| ApiError::new(Code::Unauthenticated))?;
    Ok(Reviewer {
        account: account.id,
        login: account.name,
        full_name: account.full_name,
        organization: account.organization,
    })
}

fn refusal(refused: &Reviewed) -> ApiError {
    match refused {
        Reviewed::Overtaken(number) => overtaken(*number),
        Reviewed::Impossible(state) => ApiError::because(
            Code::Conflict,
            format!("the result is {state}: a decision is taken once, and undone before another one"),
        ),
        Reviewed::SameDoctor => ApiError::because(
            Code::Conflict,
            "you gave the first opinion: another doctor has to give the second, or you take yours back with undo",
        ),
        Reviewed::OthersOpinion => ApiError::because(
            Code::Conflict,
            "the first opinion is another doctor's to take back: agree with it, or decide otherwise",
        ),
        Reviewed::Superseded(newer) => ApiError::because(
            Code::Conflict,
            format!("result {newer} has replaced this one: review that one"),
        ),
        Reviewed::StudyHeld => ApiError::because(
            Code::Conflict,
            "the study is held: a person has to release it first, POST /v1/studies/{uid}/release",
        ),
        Reviewed::Added(_) | Reviewed::Repeated(_) => ApiError::new(Code::Internal),
    }
}

impl From<ReviewError> for ApiError {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Ledger(error) => error.into(),
            ReviewError::Unsuitable(sentence) => Self::because(Code::Unprocessable, sentence),
            ReviewError::Keep(pipeline::KeepObjectsError::Taken(uid)) => Self::because(
                Code::Conflict,
                format!("another object has the UID {uid}: save the segmentation as a new object"),
            ),
            ReviewError::Keep(pipeline::KeepObjectsError::Unusable(_)) => {
                Self::because(Code::Unprocessable, "the segmentation is cut off or cannot be parsed")
            }
            error => Self::internal(error),
        }
    }
}
