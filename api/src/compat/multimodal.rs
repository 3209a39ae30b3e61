//! The multimodal model: what a segmentation found, what an expression says, and clinical values.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use imaging::StudyUid;
use inference::{
    Findings, Model, Outcome, Row,
    package::{Fusion, ModelId, Part, Task},
};
use ledger::{CallId, NewPrediction, PredictionId, ReviewState};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};
use utoipa::ToSchema;

use crate::{
    auth::Clinician,
    error::{ApiError, ApiResult, Code},
    extract::Json,
    keeping::Keeping,
    request_id::RequestId,
    routes::predict::ModelVersion,
    state::AppState,
    tabular,
};

const MODEL: &str = "mm-fusion";

/// Numbers as they were written; null is missing.
type Values = BTreeMap<String, Option<Number>>;

/// What the model is to be told.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MultimodalBody {
    /// With it the answer is kept: an opaque text, or a whole number.
    #[schema(value_type = Option<String>, max_length = 256)]
    patient_id: Option<PatientWord>,
    /// Whose images: the caller answers for this being the patient's study.
    #[schema(value_type = Option<String>)]
    study_uid: Option<StudyUid>,
    /// An answer about an expression that was kept for the same patient.
    prediction_id: Option<i64>,
    /// The expression itself, by gene; instead of `prediction_id`.
    #[schema(value_type = Option<BTreeMap<String, Option<f64>>>)]
    expression: Option<Values>,
    /// Values by name, such as `age`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Option<f64>>)]
    clinical: Values,
    /// Another multimodal model.
    #[schema(max_length = 256)]
    model_name: Option<String>,
}

/// `"12"`, or 12.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PatientWord {
    Text(String),
    Number(i64),
}

/// What the model says, and what it says it from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MultimodalAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    model: ModelVersion,
    probability: f64,
    /// 1 where the probability is at least the threshold.
    label: u8,
    threshold: f64,
    /// Values that are missing or outside their range.
    warnings: Vec<String>,
    /// By model: the result or prediction that was used.
    #[schema(value_type = BTreeMap<String, Object>)]
    sources: BTreeMap<String, Value>,
}

/// Answers from what other models found and from clinical values.
#[utoipa::path(post, path = "/api/v1/mm/inference", tag = "compat", operation_id = "compat_mm",
    request_body = MultimodalBody,
    responses((status = 200, body = MultimodalAnswer),
        (status = 400, body = super::rows::Detail, description = "A finding or value that the model needs is not there"),
        (status = 503, body = super::rows::Detail)))]
pub(crate) async fn mm(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    Json(body): Json<MultimodalBody>,
) -> ApiResult<Response> {
    let name = body.model_name.clone().unwrap_or_else(|| MODEL.to_owned());
    let named = state.registry.get(&name);
    let is_named = named.is_some();
    let model = named.or_else(|| state.registry.get(MODEL));
    let model = model.ok_or_else(|| ApiError::because(Code::Unavailable, "Model not loaded"))?;
    let Task::Fusion(fusion) = &model.package().task else {
        return Err(ApiError::because(Code::Unprocessable, format!("{name} is no multimodal model")));
    };
    let patient_id = body.patient_id.as_ref().map(PatientWord::checked).transpose()?;
    let gathered = gather(&state, fusion, &body, patient_id.as_deref()).await?;
    let row = numbers(&body.clinical);
    let (asked, findings) = (Arc::clone(&model), gathered.findings);
    let fused = tokio::task::spawn_blocking(move || asked.fuse(&findings, &row)).await;
    let outcome = fused.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    let found = match &outcome {
        Outcome::Findings(found) => found,
        Outcome::NotAnalysed { reason } => {
            return Err(ApiError::because(Code::Unprocessable, format!("prediction failed: {reason}")));
        }
    };
    let keeping = Keeping {
        state: &state,
        caller: &clinician,
        request: &id,
        package: model.package(),
        model_name: &name,
        call: CallId::generate(),
    };
    let input = json!({ "clinical": body.clinical, "sources": gathered.sources });
    let row = NewPrediction { number: 1, input, label: Some(found.label), answer: json!(outcome) };
    let kept = patient_id.as_ref().map(|patient_id| keeping.rows(patient_id, vec![row]));
    let audit = keeping.audit(json!({ "rows": 1, "patient": patient_id.is_some() }));
    let numbers = state.ledger.record_call(&state.audit_key, Some(audit), kept).await?;
    let answer = MultimodalAnswer {
        prediction_id: numbers.first().map(|number| number.0),
        patient_id,
        model: ModelVersion::of(&model),
        probability: found.probability,
        label: found.label,
        threshold: found.threshold,
        warnings: found.warnings.clone(),
        sources: gathered.sources,
    };
    let mut response = Json(answer).into_response();
    if !is_named {
        response.headers_mut().insert(header::WARNING, super::rows::warning(&name, &model));
    }
    Ok(response)
}

impl PatientWord {
    fn checked(&self) -> ApiResult<String> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        Ok(tabular::patient_id(&text)?)
    }
}

fn numbers(values: &Values) -> Row {
    values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.as_f64()?))).collect()
}

/// What other models found, by the id that the fusion uses; and where that is kept.
#[derive(Debug, Default)]
struct Gathered {
    findings: BTreeMap<ModelId, Findings>,
    sources: BTreeMap<String, Value>,
}

async fn gather(
    state: &AppState,
    fusion: &Fusion,
    body: &MultimodalBody,
    patient_id: Option<&str>,
) -> ApiResult<Gathered> {
    let mut gathered = Gathered::default();
    for part in &fusion.parts {
        if gathered.findings.contains_key(&part.model) {
            continue;
        }
        let needed = part.model.as_str();
        let model = state.registry.get(needed);
        let (findings, source) = match (&part.part, model) {
            (Part::Segment(_) | Part::Class(_), model) => {
                let id = model.as_ref().map_or(needed, |model| model.package().id.as_str());
                of_study(state, id, body).await?
            }
            (Part::Row, Some(model)) => of_expression(state, &model, body, patient_id).await?,
            (Part::Row, None) => {
                let detail = format!("{needed}, whose answer is needed, is not loaded");
                return Err(ApiError::because(Code::Unavailable, detail));
            }
        };
        gathered.findings.insert(part.model.clone(), findings);
        gathered.sources.insert(needed.to_owned(), source);
    }
    Ok(gathered)
}

/// The result that is in force, unless a doctor refused it.
async fn of_study(state: &AppState, id: &str, body: &MultimodalBody) -> ApiResult<(Findings, Value)> {
    let study = body.study_uid.as_ref().ok_or_else(|| {
        ApiError::because(Code::Unprocessable, format!("study_uid is needed for the findings of {id}"))
    })?;
    let newest = state.pipeline.in_force(study, id).await?.ok_or_else(|| {
        ApiError::because(Code::Unprocessable, format!("the study has no result of {id} yet"))
    })?;
    let refused = match newest.review_state {
        ReviewState::Rejected => Some("rejected"),
        ReviewState::Corrected => Some("corrected"),
        ReviewState::Pending
        | ReviewState::AwaitingSecond
        | ReviewState::Disputed
        | ReviewState::Accepted => None,
    };
    if let Some(refused) = refused {
        return Err(ApiError::because(Code::Unprocessable, format!("a doctor {refused} the result of {id}")));
    }
    let findings = serde_json::from_value(newest.findings)
        .map_err(|_| ApiError::because(Code::Unprocessable, format!("the study was not analysed by {id}")))?;
    Ok((findings, json!({ "result_id": newest.id, "model_version": newest.model_version })))
}

async fn of_expression(
    state: &AppState,
    model: &Arc<Model>,
    body: &MultimodalBody,
    patient_id: Option<&str>,
) -> ApiResult<(Findings, Value)> {
    let id = &model.package().id;
    if let Some(number) = body.prediction_id {
        let kept = state.ledger.prediction(PredictionId(number)).await?;
        // Another patient's answer is as good as none, and is not told from none.
        let kept = kept
            .filter(|kept| Some(kept.patient_id.as_str()) == patient_id && kept.model.id == id.as_str())
            .ok_or_else(|| {
                let detail = format!("there is no prediction {number} of {id} for this patient");
                ApiError::because(Code::Unprocessable, detail)
            })?;
        let outcome = serde_json::from_value(kept.answer).map_err(ApiError::internal)?;
        let source = json!({ "prediction_id": number, "model_version": kept.model.version });
        return Ok((answered(outcome)?, source));
    }
    let expression = body.expression.as_ref().ok_or_else(|| {
        let detail = format!("expression or prediction_id is needed for the answer of {id}");
        ApiError::because(Code::Unprocessable, detail)
    })?;
    let (asked, row) = (Arc::clone(model), numbers(expression));
    let answers = tokio::task::spawn_blocking(move || asked.predict(&[row])).await;
    let answers = answers.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    let outcome = answers.into_iter().next().ok_or_else(|| ApiError::internal("a row has no answer"))?;
    let source = json!({ "expression": expression, "model_version": model.package().version.to_string() });
    Ok((answered(outcome)?, source))
}

fn answered(outcome: Outcome<inference::Prediction>) -> ApiResult<Findings> {
    match outcome {
        Outcome::Findings(found) => Ok(Findings::Tabular(found)),
        Outcome::NotAnalysed { reason } => Err(ApiError::because(Code::Unprocessable, reason)),
    }
}
