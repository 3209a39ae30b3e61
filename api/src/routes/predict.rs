//! Tabular models: what they take, what they answer, and new versions of them.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use inference::{
    Model, Outcome,
    package::{Feature, Missing, TabularSpec},
};
use ledger::{CallId, PredictionId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::models::RefusedView;
use crate::{
    audit::Deeds,
    auth::{Admin, Caller, Reader},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path, Query},
    request_id::RequestId,
    state::AppState,
    tabular::{self, ContributionsView, OwnedQuestion, Question},
};

pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a tabular model takes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchemaView {
    model: ModelVersion,
    algorithm: String,
    /// Label 1 where the probability is at least this.
    threshold: f64,
    /// What label 1 means.
    #[serde(skip_serializing_if = "Option::is_none")]
    positive: Option<String>,
    features: Vec<FeatureView>,
    derived: Vec<DerivedView>,
    /// What the model is given, in its order.
    selected: Vec<String>,
}

/// Which model it was, to the bit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelVersion {
    id: String,
    version: String,
    digest: String,
}

/// One value of a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeatureView {
    name: String,
    /// UCUM.
    #[serde(skip_serializing_if = "String::is_empty")]
    unit: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    /// What becomes of a row without it: `nan`, `refuse`, or the number that stands for it.
    missing: MissingView,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum MissingView {
    Rule(String),
    Number(f64),
}

/// A value that is computed from others.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DerivedView {
    name: String,
    expression: String,
}

impl ModelVersion {
    pub(crate) fn of(model: &Model) -> Self {
        let package = model.package();
        Self {
            id: package.id.to_string(),
            version: package.version.to_string(),
            digest: package.digest.clone(),
        }
    }
}

impl From<&Feature> for FeatureView {
    fn from(feature: &Feature) -> Self {
        Self {
            name: feature.name.clone(),
            unit: feature.unit.clone(),
            description: feature.description.clone(),
            min: feature.range.and_then(|range| range.min),
            max: feature.range.and_then(|range| range.max),
            missing: match feature.missing {
                Missing::Nan => MissingView::Rule("nan".to_owned()),
                Missing::Refuse => MissingView::Rule("refuse".to_owned()),
                Missing::Value(instead) => MissingView::Number(instead),
            },
        }
    }
}

impl SchemaView {
    fn new(model: &Model, spec: &TabularSpec) -> Self {
        let derived = spec.derived.iter();
        Self {
            model: ModelVersion::of(model),
            algorithm: spec.algorithm.clone(),
            threshold: spec.threshold,
            positive: spec.positive.as_ref().map(|positive| positive.name.clone()),
            features: spec.features.iter().map(FeatureView::from).collect(),
            derived: derived
                .map(|derived| DerivedView { name: derived.name.clone(), expression: derived.text.clone() })
                .collect(),
            selected: spec.selected.clone(),
        }
    }
}

/// Rows to be answered.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it stands for a body that is read value by value")]
pub(crate) struct Rows {
    /// Values by feature name; what the model does not know is ignored, null is missing.
    #[schema(value_type = Vec<std::collections::BTreeMap<String, f64>>, min_items = 1, max_items = 100_000)]
    data: Vec<()>,
    /// With it the rows are kept: an opaque text, or a whole number.
    #[schema(max_length = 256)]
    patient_id: Option<String>,
}

/// The answer for a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer {
    /// The rows of this request in the history.
    call: String,
    model: ModelVersion,
    threshold: f64,
    /// In the order of the request.
    rows: Vec<RowAnswer>,
}

/// The answer for a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// 1 where the probability is at least the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<u8>,
    /// Values that are missing or outside their range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_analysed: Option<String>,
    /// Where it is kept, when a patient was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction_id: Option<i64>,
    /// What each column did to the answer, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    contributions: Option<ContributionsView>,
}

impl RowAnswer {
    fn new(answer: Outcome<inference::Prediction>, number: Option<&PredictionId>) -> Self {
        let prediction_id = number.map(|number| number.0);
        match answer {
            Outcome::Findings(found) => Self {
                probability: Some(found.probability),
                label: Some(found.label),
                warnings: found.warnings,
                not_analysed: None,
                prediction_id,
                contributions: None,
            },
            Outcome::NotAnalysed { reason } => Self {
                probability: None,
                label: None,
                warnings: Vec::new(),
                not_analysed: Some(reason),
                prediction_id,
                contributions: None,
            },
        }
    }
}

/// For whom a CSV file is, which has no room to say so; and what else the answer is to tell.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CsvQuery {
    /// With a body of CSV: as `patient_id` of a body of JSON.
    patient_id: Option<String>,
    /// With a body of JSON: each row's answer tells what each column did to it; 100 rows at most, forests only.
    contributions: Option<bool>,
}

/// What changed in the folder of models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadView {
    added: Vec<String>,
    removed: Vec<String>,
    unchanged: Vec<String>,
    /// What was put there and cannot serve; what served before goes on.
    refused: Vec<RefusedView>,
}

fn model(state: &AppState, name: &str) -> ApiResult<Arc<Model>> {
    state.registry.get(name).ok_or_else(|| ApiError::no_such("model"))
}

/// What a tabular model takes: features with unit and range, formulas, threshold.
#[utoipa::path(get, path = "/v1/models/{id}/schema", tag = "models", operation_id = "model_schema",
    params(("id" = String, Path)),
    responses((status = 200, body = SchemaView), (status = 422, description = "The model takes no rows")))]
pub(crate) async fn schema(
    State(state): State<AppState>,
    _caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<SchemaView>> {
    let model = model(&state, &id)?;
    Ok(Json(SchemaView::new(&model, tabular::spec_of(&model)?)))
}

/// Answers rows, as JSON or CSV; those of a named patient are kept before they are answered.
///
/// CSV: the first line names the features. The answer is CSV as well, in the order of the
/// rows, and comes while the file is still being sent.
#[utoipa::path(post, path = "/v1/models/{id}/predict", tag = "models", operation_id = "predict",
    params(("id" = String, Path), CsvQuery),
    request_body(content((Rows = "application/json"), (String = "text/csv"))),
    responses(
        (status = 200, content((Answer = "application/json"), (String = "text/csv"))),
        (status = 413, description = "More than 100 000 rows or 5 000 000 values, or a longer body than allowed"),
        (status = 422, description = "The model takes no rows, or a value is no number")))]
pub(crate) async fn predict(
    State(state): State<AppState>,
    reader: Reader,
    id: RequestId,
    Path(name): Path<String>,
    Query(query): Query<CsvQuery>,
    request: Request,
) -> ApiResult<Response> {
    let model = model(&state, &name)?;
    tabular::spec_of(&model)?;
    let bytes_max = state.http.limits.predict_bytes;
    let caller = reader.into_caller();
    let explains = query.contributions == Some(true);
    if is_csv(request.headers())? {
        if explains {
            return Err(ApiError::because(Code::Unprocessable, "contributions are told of rows in JSON"));
        }
        let patient_id = query.patient_id.as_deref().map(tabular::patient_id).transpose()?;
        let call = CallId::generate();
        let question =
            OwnedQuestion { state, caller, request: id, model, model_name: name, patient_id, call };
        return tabular::answer_csv(question, request.into_body(), bytes_max).await;
    }
    let begun = Instant::now();
    let asked = tabular::read(state.bodies(), request, bytes_max).await?;
    let (rows, room) = tabular::feature_rows(state.bodies(), &model, &asked).await?;
    let received = begun.elapsed();
    // Before anything is kept: what cannot be explained is refused whole.
    let explained = if explains { tabular::explain(&model, rows.clone()).await? } else { Vec::new() };
    let question = Question {
        state: &state,
        caller: &caller,
        request: &id,
        model: Arc::clone(&model),
        model_name: name,
        patient_id: asked.patient_id,
        call: CallId::generate(),
        room,
    };
    let mut answered = question.answer(rows).await?.map_err(ApiError::internal)?;
    let numbers = answered.numbers()?;
    let timing = answered.stages.header(received);
    let mut explained = explained.into_iter();
    let row = |(index, answer)| RowAnswer {
        contributions: explained.next().flatten(),
        ..RowAnswer::new(answer, numbers.get(index))
    };
    let answer = Answer {
        call: question.call.to_string(),
        model: ModelVersion::of(&model),
        threshold: tabular::spec_of(&model)?.threshold,
        rows: answered.answers.into_iter().enumerate().map(row).collect(),
    };
    Ok(([(SERVER_TIMING, header_value(&timing))], Json(answer)).into_response())
}

pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn is_csv(headers: &HeaderMap) -> ApiResult<bool> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(false),
        "text/csv" => Ok(true),
        _ => Err(ApiError::because(Code::UnsupportedMediaType, "send application/json or text/csv")),
    }
}

/// Reads the folder of models again. What serves goes on serving until the new version has
/// passed its self-test, and after that too if it did not.
#[utoipa::path(post, path = "/v1/models/reload", tag = "models", operation_id = "reload_models",
    responses((status = 200, body = ReloadView), (status = 503, description = "The folder cannot be read; nothing changed")))]
pub(crate) async fn reload(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
) -> ApiResult<Json<ReloadView>> {
    let report = reload_registry(&state, &admin, &request).await?;
    let report = report.map_err(|error| {
        ApiError::because(Code::Unavailable, "the folder of models cannot be read").caused_by(error)
    })?;
    Ok(Json(ReloadView {
        added: report.added,
        removed: report.removed,
        unchanged: report.unchanged,
        refused: report.refused.into_iter().map(RefusedView::from).collect(),
    }))
}

/// Reloads, and notes who did it and what came of it.
pub(crate) async fn reload_registry(
    state: &AppState,
    caller: &Caller,
    request: &RequestId,
) -> ApiResult<Result<inference::Reloaded, inference::RegistryError>> {
    let registry = Arc::clone(&state.registry);
    let report = tokio::task::spawn_blocking(move || registry.reload()).await.map_err(ApiError::internal)?;
    let detail = match &report {
        Ok(report) => json!({
            "added": report.added, "removed": report.removed, "refused": report.refused.len(),
        }),
        Err(_) => json!({ "failed": true }),
    };
    Deeds::of(state, caller, request).note_with("models.reload", "models", detail).await?;
    Ok(report)
}
