//! Runs a model over rows, and keeps what it answered before anybody hears it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use inference::{
    InferenceError, Model, Outcome, Prediction,
    package::{TabularSpec, Task},
};
use ledger::{CallId, NewAudit, NewPrediction, NewPredictions, PredictionId};
use serde_json::{Value, json};

use super::{
    body::Room,
    table::{Table, by_name},
};
use crate::{
    auth::Caller,
    error::{ApiError, ApiResult, Code},
    keeping::Keeping,
    request_id::RequestId,
    state::AppState,
};

/// So many rows of a model in this process take less than waking a thread to compute them.
const QUICK_ROWS: usize = 16;

/// Who asks which model, for whom.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) state: &'a AppState,
    pub(crate) caller: &'a Caller,
    pub(crate) request: &'a RequestId,
    pub(crate) model: Arc<Model>,
    /// What the caller called it.
    pub(crate) model_name: String,
    pub(crate) patient_id: Option<String>,
    pub(crate) call: CallId,
    pub(crate) room: Room,
}

/// What became of the rows in the ledger.
#[derive(Debug)]
pub(crate) enum Kept {
    /// In the order of the rows; empty when no patient was named.
    Rows(Vec<PredictionId>),
    /// The answer stands, and nobody will find it again.
    Failed(ledger::Error),
}

/// How long each stage took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages {
    pub(crate) predicted: Duration,
    pub(crate) stored: Duration,
}

#[derive(Debug)]
pub(crate) struct Answered {
    /// In the order of the rows.
    pub(crate) answers: Vec<Outcome<Prediction>>,
    pub(crate) kept: Kept,
    pub(crate) stages: Stages,
}

impl Stages {
    /// W3C Server Timing.
    pub(crate) fn header(&self, received: Duration) -> String {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        format!(
            "receive;dur={:.3}, predict;dur={:.3}, store;dur={:.3}",
            milliseconds(received),
            milliseconds(self.predicted),
            milliseconds(self.stored)
        )
    }
}

impl Answered {
    /// The numbers of the rows that were kept; an error when they could not be.
    pub(crate) fn numbers(&mut self) -> ApiResult<Vec<PredictionId>> {
        match std::mem::replace(&mut self.kept, Kept::Rows(Vec::new())) {
            Kept::Rows(numbers) => Ok(numbers),
            Kept::Failed(error) => Err(error.into()),
        }
    }
}

/// What the model is told about rows, or why it takes none.
pub(crate) fn spec_of(model: &Model) -> ApiResult<&TabularSpec> {
    match &model.package().task {
        Task::Tabular(spec) => Ok(spec),
        Task::Segmentation(_) | Task::Classification(_) | Task::Fusion(_) => {
            let (id, task) = (&model.package().id, model.package().task.name());
            let detail = format!("{id} is a {task} model, and takes no rows");
            Err(ApiError::because(Code::Unprocessable, detail))
        }
    }
}

/// The rows as the model wants them.
pub(super) fn ordered(model: &Model, table: &Table) -> ApiResult<Vec<Vec<f64>>> {
    let rows = table.ordered(spec_of(model)?);
    rows.map_err(|bad| ApiError::because(Code::Unprocessable, bad.to_string()))
}

impl Question<'_> {
    /// Answers rows that are all of the call.
    pub(crate) async fn answer(&self, rows: Vec<Vec<f64>>) -> ApiResult<Result<Answered, InferenceError>> {
        let audit = self.audit(json!({ "rows": rows.len(), "patient": self.patient_id.is_some() }));
        self.answer_part(rows, 0, Some(audit)).await
    }

    /// Answers rows that follow `before` others of the same call.
    pub(super) async fn answer_part(
        &self,
        rows: Vec<Vec<f64>>,
        before: usize,
        audit: Option<NewAudit>,
    ) -> ApiResult<Result<Answered, InferenceError>> {
        let begun = Instant::now();
        let is_quick = rows.len() <= QUICK_ROWS && self.model.computes_rows_in_process();
        let (model, keep) = (Arc::clone(&self.model), self.patient_id.is_some());
        let room = self.room.clone();
        let computing = move || {
            // Also when the caller has gone meanwhile.
            let _room = room;
            let kept = if keep { rows.clone() } else { Vec::new() };
            model.predict_ordered(rows).map(|answers| (answers, kept))
        };
        let computed = if is_quick {
            computing()
        } else {
            tokio::task::spawn_blocking(computing).await.map_err(ApiError::internal)?
        };
        let (answers, rows) = match computed {
            Ok(computed) => computed,
            Err(error) => return Ok(Err(error)),
        };
        let predicted = begun.elapsed();
        let kept = self.keep(&rows, &answers, before, audit).await;
        let stages = Stages { predicted, stored: begun.elapsed().saturating_sub(predicted) };
        Ok(Ok(Answered { answers, kept, stages }))
    }

    pub(super) fn audit(&self, detail: Value) -> NewAudit {
        self.keeping().audit(detail)
    }

    fn keeping(&self) -> Keeping<'_> {
        Keeping {
            state: self.state,
            caller: self.caller,
            request: self.request,
            package: self.model.package(),
            model_name: &self.model_name,
            call: self.call,
        }
    }

    async fn keep(
        &self,
        rows: &[Vec<f64>],
        answers: &[Outcome<Prediction>],
        before: usize,
        audit: Option<NewAudit>,
    ) -> Kept {
        let kept = self.patient_id.as_ref().map(|patient_id| self.rows_of(patient_id, rows, answers, before));
        if audit.is_none() && kept.is_none() {
            return Kept::Rows(Vec::new());
        }
        match self.state.ledger.record_call(&self.state.audit_key, audit, kept).await {
            Ok(numbers) => Kept::Rows(numbers),
            Err(error) => {
                metrics::counter!("overread_predictions_not_stored_total").increment(1);
                Kept::Failed(error)
            }
        }
    }

    fn rows_of(
        &self,
        patient_id: &str,
        rows: &[Vec<f64>],
        answers: &[Outcome<Prediction>],
        before: usize,
    ) -> NewPredictions {
        let package = self.model.package();
        let spec = match &package.task {
            Task::Tabular(spec) => Some(spec),
            Task::Segmentation(_) | Task::Classification(_) | Task::Fusion(_) => None,
        };
        let row = |(index, (row, answer)): (usize, (&Vec<f64>, &Outcome<Prediction>))| NewPrediction {
            number: u32::try_from(before + index + 1).unwrap_or(u32::MAX),
            input: spec.map(|spec| by_name(spec, row)).unwrap_or_default(),
            label: match answer {
                Outcome::Findings(found) => Some(found.label),
                Outcome::NotAnalysed { .. } => None,
            },
            answer: json!(answer),
        };
        self.keeping().rows(patient_id, rows.iter().zip(answers).enumerate().map(row).collect())
    }
}
