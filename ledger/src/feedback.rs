//! What reviews say about models: one line for each result that a doctor has decided about.

use imaging::StudyUid;
use serde_json::Value;

use crate::db::{Record, Row, Statement, sql};
use crate::{Error, JobId, Ledger, Millis, ResultId, ReviewState};

/// Which decided results are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct FeedbackFilter {
    pub model_id: Option<String>,
    /// Computed at that moment or later.
    pub from: Option<Millis>,
    /// Computed before that moment.
    pub before: Option<Millis>,
}

/// A decided result, without anything of its patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub model_id: String,
    pub model_version: String,
    pub state: ReviewState,
    pub findings: Value,
    /// What the doctor gave instead.
    pub correction: Option<Value>,
    /// Manufacturer and model of the machine that made the images; none once they are forgotten.
    pub scanner: Option<(String, String)>,
    pub computed_at: Millis,
}

/// A decided result, and where its images are.
#[derive(Debug, Clone, PartialEq)]
pub struct DecidedCase {
    pub result: ResultId,
    pub job: JobId,
    pub study: StudyUid,
    pub decided: Decided,
}

impl Ledger {
    /// As [`Ledger::decided_results`], each with where its images are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn decided_cases(&self, filter: &FeedbackFilter) -> Result<Vec<DecidedCase>, Error> {
        self.db.records(decided(filter)).await
    }

    /// All decided results, the oldest first. Superseded ones count: they were decided about.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn decided_results(&self, filter: &FeedbackFilter) -> Result<Vec<Decided>, Error> {
        self.db.records(decided(filter)).await
    }
}

fn decided(filter: &FeedbackFilter) -> Statement {
    sql(include_str!("sql/decided_results.sql"))
        .bind(filter.model_id.as_ref())
        .bind(filter.from)
        .bind(filter.before)
}

impl Record for DecidedCase {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            result: row.parsed("result_id")?,
            job: row.parsed("job_id")?,
            study: row.parsed("study_uid")?,
            decided: Decided::read(row)?,
        })
    }
}

impl Record for Decided {
    fn read(row: &Row) -> Result<Self, Error> {
        let header: Option<Value> = row.json_or_null("header")?;
        Ok(Self {
            model_id: row.text("model_id")?,
            model_version: row.text("model_version")?,
            state: row.parsed("review_state")?,
            findings: row.json("findings")?,
            correction: row.json_or_null("correction")?,
            scanner: header.map(|header| scanner(&header)),
            computed_at: row.millis("computed_at")?,
        })
    }
}

fn scanner(header: &Value) -> (String, String) {
    let text = |field: &str| header[field].as_str().unwrap_or_default().trim().to_owned();
    (text("manufacturer"), text("manufacturer_model"))
}
