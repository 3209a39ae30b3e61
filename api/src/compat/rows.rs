//! What the routes of the tabular contracts have in common.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use inference::{
    Model, Outcome,
    package::{TabularSpec, Task},
};
use ledger::CallId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    config::Plain,
    error::{ApiError, ApiResult, Code},
    extract::Json,
    request_id::RequestId,
    routes::predict::{SERVER_TIMING, header_value, reload_registry},
    state::AppState,
    tabular::{self, Kept, Question},
    view::timestamp,
};

/// `{"detail": …}`, of every refusal and of some answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    pub(crate) detail: String,
}

/// What the old servers answered for rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Predicted {
    base_features: Vec<String>,
    threshold: f64,
    /// In the order of the rows.
    pred_proba: Vec<f64>,
    /// 1 where the probability is at least the threshold.
    pred_label: Vec<u8>,
}

/// The names that a model goes by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchemaAnswer {
    algorithm: String,
    threshold: f64,
    schema: Names,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Names {
    base_features: Vec<String>,
    derived_features: Vec<String>,
    selected_features: Vec<String>,
}

/// The state of the default model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `uninitialized` while there is no default model.
    status: &'static str,
    started_at: String,
    https_required: bool,
    allowed_origins: Vec<String>,
    /// The package's name and version; no path.
    model_path: Option<String>,
    info_path: Option<String>,
    algorithm: Option<String>,
    threshold: Option<f64>,
    base_features_count: Option<usize>,
    selected_features_count: Option<usize>,
}

/// The default model, described.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    model_name: String,
    model_version: String,
    digest: String,
    description: String,
    intended_use: String,
    #[serde(flatten)]
    schema: SchemaAnswer,
}

/// A tabular model with what it takes.
pub(super) struct Tabular {
    model: Arc<Model>,
}

impl Tabular {
    fn named(state: &AppState, name: &str) -> Option<Self> {
        let model = state.registry.get(name)?;
        matches!(model.package().task, Task::Tabular(_)).then_some(Self { model })
    }

    fn default_of(state: &AppState) -> Option<Self> {
        Self::named(state, &state.http.compat.default_model)
    }

    fn spec(&self) -> ApiResult<&TabularSpec> {
        tabular::spec_of(&self.model)
    }
}

/// The model of that name; the default one, with a warning, for a name that nobody has.
fn choose(state: &AppState, name: Option<&str>, default: &str) -> ApiResult<(Tabular, Option<HeaderValue>)> {
    let default = || {
        Tabular::named(state, default).ok_or_else(|| ApiError::because(Code::Unavailable, "Model not loaded"))
    };
    let Some(name) = name else { return Ok((default()?, None)) };
    if let Some(model) = Tabular::named(state, name) {
        return Ok((model, None));
    }
    let model = default()?;
    let warning = warning(name, &model.model);
    Ok((model, Some(warning)))
}

/// Says that no model has the name and which one answered. RFC 9111 §5.5: 299 stands for a miscellaneous, persistent
/// warning.
pub(super) fn warning(name: &str, answered: &Model) -> HeaderValue {
    let plain: String = name
        .chars()
        .map(|one| if one.is_ascii_graphic() && !"\"\\".contains(one) { one } else { '?' })
        .collect();
    header_value(&format!("299 overread \"no model {plain}: {} answered\"", answered.package().full_name()))
}

pub(super) fn health(state: &AppState) -> Response {
    let model = Tabular::default_of(state);
    let spec = model.as_ref().and_then(|model| model.spec().ok());
    let name = model.as_ref().map(|model| model.model.package().full_name());
    let origins = state.http.cors_origins.iter().filter_map(|origin| origin.to_str().ok());
    let health = Health {
        status: if model.is_some() { "ok" } else { "uninitialized" },
        started_at: timestamp(state.started_at()),
        https_required: state.http.plain == Plain::LoopbackOnly,
        allowed_origins: origins.map(str::to_owned).collect(),
        model_path: name.clone(),
        info_path: name,
        algorithm: spec.map(|spec| spec.algorithm.clone()),
        threshold: spec.map(|spec| spec.threshold),
        base_features_count: spec.map(|spec| spec.features.len()),
        selected_features_count: spec.map(|spec| spec.selected.len()),
    };
    let status = match spec {
        Some(_) => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health)).into_response()
}

impl SchemaAnswer {
    fn new(spec: &TabularSpec) -> Self {
        Self {
            algorithm: spec.algorithm.clone(),
            threshold: spec.threshold,
            schema: Names {
                base_features: spec.features.iter().map(|feature| feature.name.clone()).collect(),
                derived_features: spec.derived.iter().map(|derived| derived.name.clone()).collect(),
                selected_features: spec.selected.clone(),
            },
        }
    }
}

fn default_model(state: &AppState) -> ApiResult<Tabular> {
    Tabular::default_of(state)
        .ok_or_else(|| ApiError::because(Code::Unavailable, "Model metadata not loaded"))
}

pub(super) fn schema(state: &AppState) -> ApiResult<Json<SchemaAnswer>> {
    Ok(Json(SchemaAnswer::new(default_model(state)?.spec()?)))
}

pub(super) fn model_info(state: &AppState) -> ApiResult<Json<ModelInfo>> {
    let model = default_model(state)?;
    let package = model.model.package();
    Ok(Json(ModelInfo {
        model_name: package.id.to_string(),
        model_version: package.version.to_string(),
        digest: package.digest.clone(),
        description: package.description.clone(),
        intended_use: match &package.intended_use {
            inference::package::IntendedUse::Demonstration => "demonstration".to_owned(),
            inference::package::IntendedUse::Stated(sentence) => sentence.clone(),
        },
        schema: SchemaAnswer::new(model.spec()?),
    }))
}

/// Answers rows. That they could not be kept spoils no answer here: it is logged and counted.
pub(super) async fn predict(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
    request: Request,
) -> ApiResult<Response> {
    let refused = Code::Internal;
    predict_with(state, caller, id, request, &state.http.compat.default_model, refused).await
}

/// The same, where another model answers a caller who names none, and `refused` is how a row without an answer is
/// told: this shape has no place for it.
pub(super) async fn predict_with(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
    request: Request,
    default: &str,
    refused: Code,
) -> ApiResult<Response> {
    let begun = Instant::now();
    let asked = tabular::read(state.bodies(), request, state.http.limits.predict_bytes).await?;
    let (chosen, warning) = choose(state, asked.model_name.as_deref(), default)?;
    let spec = chosen.spec()?;
    let (rows, room) = tabular::feature_rows(state.bodies(), &chosen.model, &asked).await?;
    let received = begun.elapsed();
    let question = Question {
        state,
        caller,
        request: id,
        model: Arc::clone(&chosen.model),
        model_name: asked.model_name.unwrap_or_else(|| default.to_owned()),
        patient_id: asked.patient_id,
        call: CallId::generate(),
        room,
    };
    let answered = question.answer(rows).await?.map_err(|error| {
        ApiError::because(Code::Internal, format!("prediction failed: {error}")).caused_by(error)
    })?;
    if let Kept::Failed(error) = &answered.kept {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, call = %question.call, "the predictions of a call were answered and not stored");
    }
    let timing = answered.stages.header(received);
    let predicted = predicted(spec, answered.answers, refused)?;
    let mut response = ([(SERVER_TIMING, header_value(&timing))], Json(predicted)).into_response();
    if let Some(warning) = warning {
        response.headers_mut().insert(header::WARNING, warning);
    }
    Ok(response)
}

fn predicted(
    spec: &TabularSpec,
    answers: Vec<Outcome<inference::Prediction>>,
    refused: Code,
) -> ApiResult<Predicted> {
    let mut predicted = Predicted {
        base_features: spec.features.iter().map(|feature| feature.name.clone()).collect(),
        threshold: spec.threshold,
        pred_proba: Vec::with_capacity(answers.len()),
        pred_label: Vec::with_capacity(answers.len()),
    };
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Outcome::Findings(found) => {
                predicted.pred_proba.push(found.probability);
                predicted.pred_label.push(found.label);
            }
            Outcome::NotAnalysed { reason } => {
                let detail = format!("prediction failed: row {}: {reason}", index + 1);
                return Err(ApiError::because(refused, detail));
            }
        }
    }
    Ok(predicted)
}

pub(super) async fn reload(state: &AppState, caller: &Caller, id: &RequestId) -> ApiResult<Json<Detail>> {
    let failed = |reason: String| {
        ApiError::because(Code::Internal, format!("reload failed: {reason}")).caused_by(reason)
    };
    let report = reload_registry(state, caller, id).await?;
    let report = report.map_err(|_| failed("the folder of models cannot be read".to_owned()))?;
    // A package that never served is the administrator's matter; one that served has failed here.
    if let Some(refused) = report.refused.into_iter().find(|refused| refused.still_serving.is_some()) {
        return Err(failed(refused.reason));
    }
    if Tabular::default_of(state).is_none() {
        let name = &state.http.compat.default_model;
        return Err(failed(format!("there is no tabular model {name}")));
    }
    Ok(Json(Detail { detail: "reloaded".to_owned() }))
}

/// Queues a retraining of the default model; `/v1/retrainings` tells what becomes of it.
pub(super) async fn retrain(
    state: &AppState,
    caller: &Caller,
    id: &RequestId,
) -> ApiResult<(StatusCode, Json<Detail>)> {
    let run = crate::retrain::ask(state, caller, id, &state.http.compat.default_model).await?;
    Ok((StatusCode::ACCEPTED, Json(Detail { detail: format!("retraining {run} is queued") })))
}
