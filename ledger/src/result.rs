//! Results: what a model found for a job, and whether anybody may see it.

use imaging::StudyUid;
use serde_json::Value;

use crate::db::{Record, Row, Tx, sql};
use crate::job::{Job, NewResult};
use crate::text_enum::text_enum;
use crate::{Error, JobId, Ledger, Millis, Page, PageRequest, Priority, ResultId, ReviewState};

text_enum! {
    pub enum Outcome {
        Findings = "findings",
        /// The model was not run, or its answer is not to be used; the findings say why.
        NotAnalysed = "not-analysed",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ResultRow {
    pub id: ResultId,
    pub job: JobId,
    pub study: StudyUid,
    pub model_id: String,
    pub model_version: String,
    pub outcome: Outcome,
    pub findings: Value,
    pub computed_at: Millis,
    /// Nobody sees a result before it is released.
    pub released_at: Option<Millis>,
    pub superseded_by: Option<ResultId>,
    pub review_state: ReviewState,
    /// How many reviews it has had; the next one has to say this number.
    pub review_number: u32,
}

/// Which released results are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct ResultFilter {
    pub study: Option<StudyUid>,
    pub model_id: Option<String>,
    pub outcome: Option<Outcome>,
    pub review_state: Option<ReviewState>,
    /// Of jobs that were that urgent.
    pub priority: Option<Priority>,
    /// Computed at that moment or later.
    pub from: Option<Millis>,
    /// Computed before that moment.
    pub before: Option<Millis>,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn result(&self, result: ResultId) -> Result<Option<ResultRow>, Error> {
        self.db.record(sql("select * from result where result_id = $1").bind(result)).await
    }

    /// The result of a job, released or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn result_of_job(&self, job: JobId) -> Result<Option<ResultRow>, Error> {
        self.db.record(sql("select * from result where job_id = $1").bind(job)).await
    }

    /// A page of released results, newest first, superseded ones included.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn results(&self, filter: &ResultFilter, page: &PageRequest) -> Result<Page<ResultRow>, Error> {
        let (at, id) = page.before();
        let statement = sql(include_str!("sql/results.sql"))
            .bind(filter.study.as_ref())
            .bind(filter.model_id.as_ref())
            .bind(filter.outcome)
            .bind(at)
            .bind(id)
            .bind(page.limit() + 1)
            .bind(filter.review_state)
            .bind(filter.priority.map(Priority::as_number))
            .bind(filter.from)
            .bind(filter.before);
        let results = self.db.records(statement).await?;
        Ok(Page::cut(results, page, |row: &ResultRow| (row.computed_at, row.id.to_string())))
    }

    /// The released result that is in force for a question ([`Job::question`]); a newer one will supersede it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn result_in_force(&self, question: &str) -> Result<Option<ResultRow>, Error> {
        let statement = sql("select * from result
              where question = $1 and released_at is not null and superseded_by is null
              order by released_at desc, result_id desc limit 1");
        self.db.record(statement.bind(question)).await
    }
}

/// Keeps a result, unreleased.
pub(crate) async fn insert(tx: &mut Tx, job: &Job, new: &NewResult, now: Millis) -> Result<ResultId, Error> {
    let result = ResultId::generate();
    let statement = sql("insert into result
                 (result_id, job_id, study_uid, question, model_id, model_version, outcome, findings, computed_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(result)
        .bind(job.id)
        .bind(&job.study)
        .bind(&job.question)
        .bind(&job.model.id)
        .bind(&job.model.version)
        .bind(new.outcome)
        .bind_json(&new.findings)?
        .bind(now);
    tx.execute(statement).await?;
    Ok(result)
}

/// Releases a result; gives the ones that it supersedes.
pub(crate) async fn release(
    tx: &mut Tx,
    job: &Job,
    result: ResultId,
    now: Millis,
) -> Result<Vec<ResultId>, Error> {
    let statement = sql("update result set released_at = $2 where result_id = $1");
    tx.execute(statement.bind(result).bind(now)).await?;
    let statement = sql("update result set superseded_by = $1
          where question = $2 and released_at is not null and superseded_by is null and result_id <> $1
          returning result_id");
    let rows = tx.rows(statement.bind(result).bind(&job.question)).await?;
    rows.iter().map(|row| row.parsed("result_id")).collect()
}

pub(crate) async fn of_job(tx: &mut Tx, job: JobId) -> Result<ResultId, Error> {
    let row = tx.row(sql("select result_id from result where job_id = $1").bind(job)).await?;
    row.ok_or(Error::NoSuchJob(job))?.parsed("result_id")
}

impl Record for ResultRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("result_id")?,
            job: row.parsed("job_id")?,
            study: row.parsed("study_uid")?,
            model_id: row.text("model_id")?,
            model_version: row.text("model_version")?,
            outcome: row.parsed("outcome")?,
            findings: row.json("findings")?,
            computed_at: row.millis("computed_at")?,
            released_at: row.millis_or_null("released_at")?,
            superseded_by: row.parsed_or_null("superseded_by")?,
            review_state: row.parsed("review_state")?,
            review_number: row.count("review_number")?,
        })
    }
}
