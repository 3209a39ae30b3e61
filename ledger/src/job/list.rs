//! Jobs for those who look on: lists, single ones, counts.

use imaging::StudyUid;

use super::{Job, JobState};
use crate::db::{Record, Row, sql};
use crate::{Error, JobId, Ledger, Millis, Page, PageRequest};

/// Which jobs are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub study: Option<StudyUid>,
    pub model_id: Option<String>,
    pub state: Option<JobState>,
}

/// How many jobs of a model are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCount {
    pub model_id: String,
    pub state: JobState,
    pub count: u64,
    /// Since when the one that came into the state first is there.
    pub oldest: Millis,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn job(&self, job: JobId) -> Result<Option<Job>, Error> {
        self.db.record(sql("select * from job where job_id = $1").bind(job)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn job_by_key(&self, key: &str) -> Result<Option<Job>, Error> {
        self.db.record(sql("select * from job where key = $1").bind(key)).await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Job>, Error> {
        let (at, id) = page.before();
        let statement = sql("select * from job
              where ($1 is null or study_uid = $1) and ($2 is null or model_id = $2) and ($3 is null or state = $3)
                and (created_at, job_id) < ($4, $5)
              order by created_at desc, job_id desc
              limit $6")
            .bind(filter.study.as_ref())
            .bind(filter.model_id.as_ref())
            .bind(filter.state)
            .bind(at)
            .bind(id)
            .bind(page.limit() + 1);
        let jobs = self.db.records(statement).await?;
        Ok(Page::cut(jobs, page, |job: &Job| (job.created_at, job.id.to_string())))
    }

    /// All jobs of a study, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs_of_study(&self, study: &StudyUid) -> Result<Vec<Job>, Error> {
        let statement = sql("select * from job where study_uid = $1 order by created_at desc, job_id desc");
        self.db.records(statement.bind(study)).await
    }

    /// Studies in which something else was released or reviewed after the model was asked last, over the study as a whole.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn studies_overtaken(&self, model_id: &str) -> Result<Vec<StudyUid>, Error> {
        let statement = sql(include_str!("../sql/studies_overtaken.sql")).bind(model_id);
        self.db.rows(statement).await?.iter().map(|row| row.parsed("study_uid")).collect()
    }

    /// Jobs whose result waits to be released, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn computed_jobs(&self, study: &StudyUid) -> Result<Vec<Job>, Error> {
        let statement =
            sql("select * from job where study_uid = $1 and state = 'computed' order by created_at, job_id");
        self.db.records(statement.bind(study)).await
    }

    /// Counts of the jobs that are not over, and of the dead.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn queue_counts(&self) -> Result<Vec<QueueCount>, Error> {
        let statement = sql("select model_id, state, count(*) as jobs, min(state_since) as oldest from job
              where state in ('queued', 'leased', 'running', 'computed', 'failed', 'dead')
              group by model_id, state
              order by model_id, state");
        self.db.records(statement).await
    }

    /// When the next job that waits for its backoff is due; nothing when none does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_job_due(&self, now: Millis) -> Result<Option<Millis>, Error> {
        let statement = sql(
            "select min(not_before) as due from job where state in ('queued', 'failed') and not_before > $1",
        );
        self.db.row(statement.bind(now)).await?.map_or(Ok(None), |row| row.millis_or_null("due"))
    }
}

impl Record for QueueCount {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            model_id: row.text("model_id")?,
            state: row.parsed("state")?,
            count: row.count("jobs")?,
            oldest: row.millis("oldest")?,
        })
    }
}
