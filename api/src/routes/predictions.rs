//! The history of predictions.

use axum::extract::State;
use ledger::{CallId, Millis, Prediction, PredictionFilter, PredictionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::{IntoParams, ToSchema};

use crate::{
    audit::Deeds,
    auth::{Caller, Reader},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    tabular::{self, ContributionsView},
    view::timestamp,
};

/// Which predictions are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PredictionQuery {
    /// Only for roles that see patients.
    patient_id: Option<String>,
    /// The id of the model.
    model: Option<String>,
    /// The account of the doctor who asked.
    doctor: Option<String>,
    /// Who asked: `account:NAME` or `key:NAME`.
    actor: Option<String>,
    /// Rows of one request.
    #[param(value_type = Option<String>, format = Uuid)]
    call: Option<CallId>,
    /// 0 or 1.
    #[param(minimum = 0, maximum = 1)]
    label: Option<u8>,
    /// RFC 3339: at or after this moment.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339: before this moment.
    #[param(format = DateTime)]
    to: Option<String>,
}

impl PredictionQuery {
    pub(crate) fn filter(self, caller: &Caller) -> ApiResult<PredictionFilter> {
        if self.patient_id.is_some() && !caller.sees_patients() {
            return Err(ApiError::because(Code::Forbidden, "this role cannot look for patients"));
        }
        if self.label.is_some_and(|label| label > 1) {
            return Err(ApiError::because(Code::InvalidParameter, "label is 0 or 1"));
        }
        Ok(PredictionFilter {
            patient_id: self.patient_id,
            model_id: self.model,
            doctor: self.doctor,
            actor: self.actor,
            call: self.call,
            label: self.label,
            from: self.from.as_deref().map(moment).transpose()?,
            before: self.to.as_deref().map(moment).transpose()?,
        })
    }
}

fn moment(text: &str) -> ApiResult<Millis> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        ApiError::because(Code::InvalidParameter, "a moment is written as 2026-11-20T09:30:00Z")
    })?;
    let millis = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000));
    millis.map(Millis).map_err(ApiError::internal)
}

/// One answered row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PredictionView {
    id: i64,
    call: String,
    /// Counted from 1 within the call.
    row: u32,
    at: String,
    model_id: String,
    model_version: String,
    model_digest: String,
    /// What the caller called the model.
    model_name: String,
    /// Only for roles that see patients.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doctor: Option<String>,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The values that the model knows, as they were asked.
    input: Value,
    /// What was answered: `outcome`, and probability, label, threshold and warnings, or the reason.
    answer: Value,
    /// What each column did to the answer, when that was asked for: computed anew from what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    contributions: Option<ContributionsView>,
}

/// What else a prediction is to tell.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ToldQuery {
    /// What each column did to the answer; forests only, while that very version is in service.
    contributions: Option<bool>,
}

impl PredictionView {
    fn new(row: Prediction, caller: &Caller) -> Self {
        Self {
            id: row.id.0,
            call: row.call.to_string(),
            row: row.row_number,
            at: timestamp(row.at),
            model_id: row.model.id,
            model_version: row.model.version,
            model_digest: row.model.digest,
            model_name: row.model_name,
            patient_id: caller.sees_patients().then_some(row.patient_id),
            doctor: row.doctor,
            actor: row.actor,
            request_id: row.request_id,
            input: row.input,
            answer: row.answer,
            contributions: None,
        }
    }
}

/// Answered rows of named patients, newest first.
#[utoipa::path(get, path = "/v1/predictions", tag = "models", operation_id = "list_predictions",
    params(PredictionQuery, PageQuery), responses((status = 200, body = Page<PredictionView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Query(query): Query<PredictionQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<PredictionView>>> {
    let rows = state.ledger.predictions(&query.filter(&reader)?, &page.request()?).await?;
    note_list(&state, &reader, &request, rows.rows.len()).await?;
    Ok(Json(Page::of(rows, |row| PredictionView::new(row, &reader))))
}

/// Whoever sees patients in a list has seen them.
pub(crate) async fn note_list(
    state: &AppState,
    reader: &Caller,
    request: &RequestId,
    listed: usize,
) -> ApiResult<()> {
    if !reader.sees_patients() {
        return Ok(());
    }
    let listed = json!({ "listed": listed });
    Deeds::of(state, reader, request).note_with("prediction.list", "predictions", listed).await
}

/// One answered row, with what was asked: enough to ask again.
#[utoipa::path(get, path = "/v1/predictions/{id}", tag = "models", operation_id = "get_prediction",
    params(("id" = i64, Path), ToldQuery),
    responses((status = 200, body = PredictionView),
              (status = 409, description = "The version that answered is not in service any more"),
              (status = 422, description = "Its contributions cannot be told")))]
pub(crate) async fn get(
    State(state): State<AppState>,
    reader: Reader,
    request: RequestId,
    Path(id): Path<i64>,
    Query(told): Query<ToldQuery>,
) -> ApiResult<Json<PredictionView>> {
    let row = state.ledger.prediction(PredictionId(id)).await?;
    let row = row.ok_or_else(|| ApiError::no_such("prediction"))?;
    let contributions = match told.contributions {
        Some(true) => contributions(&state, &row).await?,
        Some(false) | None => None,
    };
    Deeds::of(&state, &reader, &request).note("prediction.read", id.to_string()).await?;
    Ok(Json(PredictionView { contributions, ..PredictionView::new(row, &reader) }))
}

async fn contributions(state: &AppState, row: &Prediction) -> ApiResult<Option<ContributionsView>> {
    let name = format!("{}@{}", row.model.id, row.model.version);
    let model = state.registry.get(&name).filter(|model| model.package().digest == row.model.digest);
    let model = model.ok_or_else(|| {
        ApiError::because(Code::Conflict, format!("{name}, which answered, is not in service as it was then"))
    })?;
    let value = |name: &str| row.input[name].as_f64().unwrap_or(f64::NAN);
    let features = tabular::spec_of(&model)?.features.iter();
    let values = features.map(|feature| value(&feature.name)).collect();
    Ok(tabular::explain(&model, vec![values]).await?.pop().flatten())
}
