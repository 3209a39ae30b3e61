//! What people decide about jobs.

use serde_json::json;

use super::{Job, JobState, Priority};
use crate::db::{Statement, Tx, sql};
use crate::event::{self, NewEvent};
use crate::{Error, JobId, Ledger, Millis, Topic};

impl Ledger {
    /// queued, leased, running, computed, failed → cancelled. A worker that has it learns so at its next report.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::JobState`] when the job is over; or when the database does not carry it out.
    pub async fn cancel_job(
        &self,
        job: JobId,
        by: &str,
        request_id: Option<&str>,
        now: Millis,
    ) -> Result<(), Error> {
        let statement = sql("update job
              set state = 'cancelled', state_since = $2,
                  worker_id = null, node_id = null, boot_id = null, lease_until = null
              where job_id = $1 and state in ('queued', 'leased', 'running', 'computed', 'failed')
              returning *");
        let event = NewEvent::new("job.cancelled", now).by(by).request(request_id);
        self.decide(job, "cancel", statement.bind(job).bind(now), event).await
    }

    /// dead, cancelled → queued, with all its tries before it.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::JobState`] when the job is neither; or when the database does not carry it out.
    pub async fn requeue_job(
        &self,
        job: JobId,
        by: &str,
        request_id: Option<&str>,
        now: Millis,
    ) -> Result<(), Error> {
        let statement = sql("update job
              set state = 'queued', state_since = $2, not_before = $2, attempts = 0, lost_leases = 0, progress_permille = 0,
                  failure_kind = null, failure = null
              where job_id = $1 and state in ('dead', 'cancelled')
                and not exists (select 1 from result where result.job_id = $1)
              returning *");
        let event = NewEvent::new("job.requeued", now).by(by).request(request_id);
        self.decide(job, "requeue", statement.bind(job).bind(now), event).await
    }

    /// Changes the priority of a job that waits.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::JobState`] when the job does not wait; or when the database does not carry it out.
    pub async fn prioritize_job(
        &self,
        job: JobId,
        priority: Priority,
        by: &str,
        now: Millis,
    ) -> Result<(), Error> {
        let statement = sql(
            "update job set priority = $2 where job_id = $1 and state in ('queued', 'failed') returning *",
        );
        let event = NewEvent::new("job.prioritized", now).by(by).detail(json!({ "priority": priority }));
        self.decide(job, "prioritize", statement.bind(job).bind(priority.as_number()), event).await
    }

    async fn decide(
        &self,
        job: JobId,
        action: &'static str,
        statement: Statement,
        event: NewEvent,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let Some(changed) = tx.record::<Job>(statement).await? else {
            return Err(refusal(&mut tx, job, action).await?);
        };
        event::append(&mut tx, event.study(&changed.study).job(job)).await?;
        self.commit(tx, &[Topic::Jobs]).await
    }
}

async fn refusal(tx: &mut Tx, job: JobId, action: &'static str) -> Result<Error, Error> {
    let row = tx.row(sql("select state from job where job_id = $1").bind(job)).await?;
    let Some(row) = row else { return Ok(Error::NoSuchJob(job)) };
    let state: JobState = row.parsed("state")?;
    Ok(Error::JobState { job, state, action })
}
