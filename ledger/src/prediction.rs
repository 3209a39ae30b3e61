//! What tabular models answered for a patient: asked what, by whom, of which model.
//!
//! A call is one request; each of its rows is kept by itself. The rows are on the disk, and
//! the call is in the audit trail, before anybody is told an answer. Calls that wait at the
//! same time share one transaction; those of which no row is kept go through the journal.

mod group;
mod list;
mod review;

use serde_json::Value;

pub(crate) use group::Group;
pub use list::PredictionFilter;
pub use review::{PredictionReview, ReviewedPrediction};

use crate::db::{Record, Row, Tx, sql};
use crate::{
    AuditKey, CallId, Error, Ledger, Millis, ModelRef, NewAudit, NewEvent, PredictionId, Topic, audit, event,
};

/// Rows that one statement inserts.
const ROWS_AT_ONCE: usize = 1000;

/// The answers of one call that are kept.
#[derive(Debug, Clone)]
pub struct NewPredictions {
    pub call: CallId,
    pub at: Millis,
    pub model: ModelRef,
    /// What the caller called the model.
    pub model_name: String,
    pub patient_id: String,
    /// The account of the doctor who asked.
    pub doctor: Option<String>,
    pub actor: String,
    pub request_id: Option<String>,
    pub rows: Vec<NewPrediction>,
}

#[derive(Debug, Clone)]
pub struct NewPrediction {
    /// Counted from 1 within the call.
    pub number: u32,
    /// The values as they were asked, by name.
    pub input: Value,
    /// None: the row was not analysed.
    pub label: Option<u8>,
    pub answer: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub id: PredictionId,
    pub call: CallId,
    pub row_number: u32,
    pub at: Millis,
    pub model: ModelRef,
    pub model_name: String,
    pub patient_id: String,
    pub doctor: Option<String>,
    pub actor: String,
    pub request_id: Option<String>,
    pub input: Value,
    pub label: Option<u8>,
    pub answer: Value,
}

impl Ledger {
    /// Notes a call in the audit trail and keeps its answers, where there is something to note
    /// or keep; gives their numbers in the order of the rows.
    ///
    /// # Errors
    /// When the database does not carry it out; then nothing of the call is kept.
    pub async fn record_call(
        &self,
        key: &AuditKey,
        audit: Option<NewAudit>,
        kept: Option<NewPredictions>,
    ) -> Result<Vec<PredictionId>, Error> {
        let audit = match (audit, &kept, self.journal.get()) {
            (Some(audit), None, Some(journal)) => match journal.note(audit).await? {
                None => return Ok(Vec::new()),
                refused => refused,
            },
            (audit, _, _) => audit,
        };
        self.group.record(self, key, audit, kept).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn prediction(&self, id: PredictionId) -> Result<Option<Prediction>, Error> {
        self.db.record(sql("select * from prediction where prediction_id = $1").bind(id)).await
    }
}

/// One call, as it waits for the transaction.
#[derive(Debug)]
pub(crate) struct Call {
    audit: Option<NewAudit>,
    kept: Option<NewPredictions>,
}

/// Writes all calls or none.
async fn write(ledger: &Ledger, key: &AuditKey, calls: &[Call]) -> Result<Vec<Vec<PredictionId>>, Error> {
    let mut tx = ledger.db.begin().await?;
    let mut numbers = Vec::with_capacity(calls.len());
    for call in calls {
        numbers.push(match &call.kept {
            Some(kept) => keep(&mut tx, kept).await?,
            None => Vec::new(),
        });
    }
    audit::append_all(&mut tx, key, calls.iter().filter_map(|call| call.audit.as_ref())).await?;
    if calls.iter().all(|call| call.kept.is_none()) {
        tx.commit().await?;
    } else {
        ledger.commit(tx, &[Topic::Events]).await?;
    }
    Ok(numbers)
}

async fn keep(tx: &mut Tx, kept: &NewPredictions) -> Result<Vec<PredictionId>, Error> {
    let mut numbers = Vec::with_capacity(kept.rows.len());
    for rows in kept.rows.chunks(ROWS_AT_ONCE) {
        numbers.extend(insert(tx, kept, rows).await?);
    }
    let detail = serde_json::json!({
        "call": kept.call, "model": kept.model.id, "version": kept.model.version, "rows": kept.rows.len(),
    });
    let event = NewEvent::new("prediction.stored", kept.at)
        .by(&kept.actor)
        .request(kept.request_id.as_deref())
        .detail(detail);
    event::append(tx, event).await?;
    Ok(numbers)
}

async fn insert(
    tx: &mut Tx,
    kept: &NewPredictions,
    rows: &[NewPrediction],
) -> Result<Vec<PredictionId>, Error> {
    let values: Vec<_> = rows
        .iter()
        .map(|row| (row.number, row.input.to_string(), row.label, row.answer.to_string()))
        .collect();
    let statement = sql(tx.dialect().insert_predictions)
        .bind(kept.call)
        .bind(kept.at)
        .bind(&kept.model.id)
        .bind(&kept.model.version)
        .bind(&kept.model.digest)
        .bind(&kept.model_name)
        .bind(&kept.patient_id)
        .bind(kept.doctor.as_ref())
        .bind(&kept.actor)
        .bind(kept.request_id.as_ref())
        .bind_json(&values)?;
    // The order of what `returning` gives is nobody's promise.
    let mut numbered: Vec<(i64, PredictionId)> = Vec::with_capacity(rows.len());
    for row in tx.rows(statement).await? {
        numbered.push((row.int("row_number")?, PredictionId(row.int("prediction_id")?)));
    }
    numbered.sort_unstable();
    Ok(numbered.into_iter().map(|(_, id)| id).collect())
}

impl Record for Prediction {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: PredictionId(row.int("prediction_id")?),
            call: row.parsed("call_id")?,
            row_number: row.count("row_number")?,
            at: row.millis("at")?,
            model: ModelRef {
                id: row.text("model_id")?,
                version: row.text("model_version")?,
                digest: row.text("model_digest")?,
            },
            model_name: row.text("model_name")?,
            patient_id: row.text("patient_id")?,
            doctor: row.text_or_null("doctor")?,
            actor: row.text("actor")?,
            request_id: row.text_or_null("request_id")?,
            input: row.json("input")?,
            label: row.int_or_null("label")?.map(|label| u8::from(label == 1)),
            answer: row.json("answer")?,
        })
    }
}
