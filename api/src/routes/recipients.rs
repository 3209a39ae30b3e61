//! Who is told by push messages: doctors' devices, and the apps of patients.
//!
//! What the push service knows an app by is a secret: it comes in here, goes to the push service, and is in no
//! answer, event, audit row or log line.

use axum::{extract::State, http::StatusCode};
use ledger::{AccountId, DicomPatient, Ledger, PushToken};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Caller, Clinician, Who},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path},
    request_id::RequestId,
    state::AppState,
    tabular,
};

/// Telephones of one person.
const TOKENS_MAX: usize = 10;
const TOKEN_LENGTH_MAX: usize = 4096;
/// Names that images have for one patient.
const SAME_MAX: usize = 10;
/// PS3.5 §6.2, LO.
const DICOM_TEXT_LENGTH_MAX: usize = 64;

/// A registration token of the push service.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 4096)]
struct Token(PushToken);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_sane =
            (1..=TOKEN_LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        // The text itself is not repeated.
        let bad = "a token is 1 to 4096 visible ASCII characters";
        if is_sane { Ok(Self(PushToken::new(text))) } else { Err(serde::de::Error::custom(bad)) }
    }
}

/// All devices of the caller; none: no more messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicesBody {
    #[schema(value_type = Vec<String>, max_items = 10)]
    tokens: Vec<Token>,
}

/// All apps of the patient; none: no more messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipientsBody {
    #[schema(value_type = Vec<String>, max_items = 10)]
    tokens: Vec<Token>,
    /// Whom images call the same person. The caller answers for it; nothing is guessed.
    #[serde(default)]
    #[schema(max_items = 10)]
    dicom: Vec<DicomPatientBody>,
}

/// A patient as images name him.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomPatientBody {
    /// Patient ID (0010,0020).
    #[schema(max_length = 64)]
    patient_id: String,
    /// Issuer of Patient ID (0010,0021); empty where images have none.
    #[serde(default)]
    #[schema(max_length = 64)]
    issuer: String,
}

/// Sets where the caller, a doctor, is told that a diagnosis is ready. A device is one account's: who had it
/// before has it no more.
#[utoipa::path(put, path = "/v1/me/devices", tag = "auth", operation_id = "set_devices", request_body = DevicesBody,
    responses((status = 204), (status = 422, description = "Too many devices")))]
pub(crate) async fn set_devices(
    State(state): State<AppState>,
    clinician: Clinician,
    request: RequestId,
    Json(body): Json<DevicesBody>,
) -> ApiResult<StatusCode> {
    let tokens = tokens(body.tokens)?;
    let account = account_of(&clinician)?;
    let deeds = Deeds::of(&state, &clinician, &request);
    let row = deeds.row("account.devices", &clinician.name, json!({ "devices": tokens.len() }));
    let set = async |ledger: Ledger| ledger.set_devices(account, &tokens, state.now()).await;
    deeds.carry_out([row], set).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets where a patient is told that a doctor has confirmed a diagnosis: of predictions under this `patient_id`, and of
/// studies of the patients named in `dicom`.
#[utoipa::path(put, path = "/v1/patients/{patient_id}/recipients", tag = "people", operation_id = "set_recipients",
    params(("patient_id" = String, Path, description = "As predictions have it: an opaque text")),
    request_body = RecipientsBody,
    responses((status = 204), (status = 422, description = "Too many apps or names, or a name that images cannot have")))]
pub(crate) async fn set_recipients(
    State(state): State<AppState>,
    clinician: Clinician,
    request: RequestId,
    Path(patient_id): Path<String>,
    Json(body): Json<RecipientsBody>,
) -> ApiResult<StatusCode> {
    let patient_id = tabular::patient_id(&patient_id)?;
    let (tokens, same) = (tokens(body.tokens)?, same(body.dicom)?);
    let (by, now) = (clinician.actor(), state.now());
    let deeds = Deeds::of(&state, &clinician, &request);
    // The trail names no patient.
    let detail = json!({ "apps": tokens.len(), "dicom": same.len() });
    let row = deeds.row("patient.recipients", "patient", detail);
    let set =
        async |ledger: Ledger| ledger.set_patient_recipients(&patient_id, &tokens, &same, &by, now).await;
    deeds.carry_out([row], set).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn account_of(caller: &Caller) -> ApiResult<AccountId> {
    match caller.who {
        Who::Account { account, .. } | Who::Gateway { account: Some(account) } => Ok(account),
        Who::Key(_) | Who::Gateway { account: None } | Who::Program { .. } => {
            Err(ApiError::because(Code::Forbidden, "devices are those of an account, not of a key"))
        }
    }
}

fn tokens(tokens: Vec<Token>) -> ApiResult<Vec<PushToken>> {
    if tokens.len() > TOKENS_MAX {
        return Err(ApiError::because(
            Code::Unprocessable,
            format!("these are more than {TOKENS_MAX} tokens"),
        ));
    }
    Ok(tokens.into_iter().map(|token| token.0).collect())
}

fn same(patients: Vec<DicomPatientBody>) -> ApiResult<Vec<DicomPatient>> {
    let fits = |text: &str| text.chars().count() <= DICOM_TEXT_LENGTH_MAX && !text.contains(char::is_control);
    let is_sane =
        |one: &DicomPatientBody| !one.patient_id.is_empty() && fits(&one.patient_id) && fits(&one.issuer);
    if patients.len() > SAME_MAX || !patients.iter().all(is_sane) {
        let detail =
            format!("dicom holds up to {SAME_MAX} Patient IDs of 1 to {DICOM_TEXT_LENGTH_MAX} letters");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    Ok(patients.into_iter().map(|one| DicomPatient { id: one.patient_id, issuer: one.issuer }).collect())
}
