//! How a job ends: with a result that is kept, then released; or with a failure.

use imaging::{SeriesUid, StudyUid};
use serde_json::{Value, json};

use super::{ATTEMPTS_MAX, FailureKind, Job, JobState, Lease};
use crate::db::{Tx, sql};
use crate::event::{self, NewEvent};
use crate::{
    Error, JobId, Ledger, Millis, NewArtifact, NewDelivery, Outcome, ResultId, Topic, artifact, delivery,
    hold, result, series, study,
};

/// What a model found. The bytes of the artifacts are in the spool before it is handed over.
#[derive(Debug, Clone)]
pub struct NewResult {
    pub outcome: Outcome,
    pub findings: Value,
    pub artifacts: Vec<NewArtifact>,
}

/// What has to be so for a result to leave.
#[derive(Debug, Clone)]
pub enum ReleaseGuard {
    /// Nothing has come for these series since they were found whole.
    Unchanged(Vec<SeriesAt>),
    /// Somebody answers for it, whatever came since.
    AllowedBy(String),
}

/// A series as it was found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesAt {
    pub series: SeriesUid,
    /// [`crate::SeriesRow::revision`] at that time.
    pub revision: i64,
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The job is done, its deliveries are in the outbox.
    Done(Released),
    /// Kept, and the job is computed: something came for its series meanwhile.
    InputChanged(ResultId),
    /// Kept, and the job is computed: the study is held.
    Held(ResultId),
    /// Nothing was kept: the job is somebody else's, cancelled or superseded.
    LeaseLost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub result: ResultId,
    /// Released results over an older input of the same series, which this one supersedes.
    pub supersedes: Vec<ResultId>,
}

/// Why a worker gives up.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: FailureKind,
    /// A sentence for people, without patient data.
    pub reason: String,
    /// When to try again, if it may pass and has not failed too often.
    pub retry_at: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    Retry { attempts: u32 },
    Dead,
    LeaseLost,
}

impl Ledger {
    /// leased, running → computed: keeps the result, which nobody sees before it is released.
    /// Gives nothing when the lease was lost, and keeps nothing then.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn compute_job(
        &self,
        lease: Lease,
        new: &NewResult,
        now: Millis,
    ) -> Result<Option<ResultId>, Error> {
        let mut tx = self.db.begin().await?;
        let Some((_, result)) = keep(&mut tx, lease, new, now).await? else { return Ok(None) };
        self.commit(tx, &[Topic::Jobs]).await?;
        Ok(Some(result))
    }

    /// computed → done, with the deliveries, if the guard holds and the study is not held.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::JobState`] when the job is not computed; or when the
    /// database does not carry it out.
    pub async fn release_job(
        &self,
        job: JobId,
        guard: &ReleaseGuard,
        deliveries: &[NewDelivery],
        now: Millis,
    ) -> Result<Release, Error> {
        let Some(found) = self.job(job).await? else { return Err(Error::NoSuchJob(job)) };
        let mut tx = self.db.begin().await?;
        // The study before the job: the order in which everybody locks.
        study::lock(&mut tx, &found.study).await?;
        let found = locked(&mut tx, job).await?;
        if found.state != JobState::Computed {
            return Err(Error::JobState { job, state: found.state, action: "release" });
        }
        let result = result::of_job(&mut tx, job).await?;
        let release = release(&mut tx, &found, result, guard, deliveries, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Deliveries]).await?;
        Ok(release)
    }

    /// leased, running → done in one step: result, artifacts, deliveries and events in one
    /// transaction. Where the result may not leave now the job stays computed.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn complete_job(
        &self,
        lease: Lease,
        new: &NewResult,
        guard: &ReleaseGuard,
        deliveries: &[NewDelivery],
        now: Millis,
    ) -> Result<Release, Error> {
        let Some(found) = self.job(lease.job).await? else { return Err(Error::NoSuchJob(lease.job)) };
        let mut tx = self.db.begin().await?;
        study::lock(&mut tx, &found.study).await?;
        let Some((job, result)) = keep(&mut tx, lease, new, now).await? else {
            return Ok(Release::LeaseLost);
        };
        let release = release(&mut tx, &job, result, guard, deliveries, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Deliveries]).await?;
        Ok(release)
    }

    /// leased, running → failed, and tried again later; or → dead, when it cannot pass or has failed too often.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn fail_job(&self, lease: Lease, failure: &Failure, now: Millis) -> Result<Failed, Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("update job
              set state = case when $3 = 'cannot-pass' or attempts + 1 >= $6 then 'dead' else 'failed' end,
                  attempts = attempts + 1, failure_kind = $3, failure = $4, not_before = $5, state_since = $7,
                  worker_id = null, node_id = null, boot_id = null, lease_until = null
              where job_id = $1 and lease_number = $2 and state in ('leased', 'running')
              returning *")
        .bind(lease.job)
        .bind(lease.number)
        .bind(failure.kind)
        .bind(&failure.reason)
        .bind(failure.retry_at)
        .bind(ATTEMPTS_MAX)
        .bind(now);
        let Some(job) = tx.record::<Job>(statement).await? else { return Ok(Failed::LeaseLost) };
        let kind = if job.state == JobState::Dead { "job.dead" } else { "job.failed" };
        let detail = json!({ "kind": failure.kind, "reason": failure.reason, "attempts": job.attempts });
        let event = NewEvent::new(kind, now).study(&job.study).job(job.id);
        event::append(&mut tx, event.request(job.request_id.as_deref()).detail(detail)).await?;
        self.commit(tx, &[Topic::Jobs]).await?;
        Ok(if job.state == JobState::Dead { Failed::Dead } else { Failed::Retry { attempts: job.attempts } })
    }
}

/// Stores the result and drops the lease; nothing when the lease was lost.
async fn keep(
    tx: &mut Tx,
    lease: Lease,
    new: &NewResult,
    now: Millis,
) -> Result<Option<(Job, ResultId)>, Error> {
    let statement = sql("update job
          set state = 'computed', state_since = $3, progress_permille = 1000, failure_kind = null, failure = null,
              worker_id = null, node_id = null, boot_id = null, lease_until = null
          where job_id = $1 and lease_number = $2 and state in ('leased', 'running')
          returning *")
        .bind(lease.job)
        .bind(lease.number)
        .bind(now);
    let Some(job) = tx.record::<Job>(statement).await? else { return Ok(None) };
    let result = result::insert(tx, &job, new, now).await?;
    for new in &new.artifacts {
        artifact::insert(tx, result, &job.study, new).await?;
    }
    let detail = json!({ "outcome": new.outcome, "artifacts": new.artifacts.len() });
    let event = NewEvent::new("job.computed", now).study(&job.study).job(job.id).result(result);
    event::append(tx, event.request(job.request_id.as_deref()).detail(detail)).await?;
    Ok(Some((job, result)))
}

async fn release(
    tx: &mut Tx,
    job: &Job,
    result: ResultId,
    guard: &ReleaseGuard,
    deliveries: &[NewDelivery],
    now: Millis,
) -> Result<Release, Error> {
    if hold::is_held(tx, &job.study).await? {
        return Ok(Release::Held(result));
    }
    if !holds(tx, &job.study, guard).await? {
        return Ok(Release::InputChanged(result));
    }
    let statement = sql("update job set state = 'done', state_since = $2 where job_id = $1");
    tx.execute(statement.bind(job.id).bind(now)).await?;
    let supersedes = result::release(tx, job, result, now).await?;
    for new in deliveries {
        delivery::insert(tx, new, Some(result), now).await?;
    }
    let by = match guard {
        ReleaseGuard::Unchanged(_) => "overread",
        ReleaseGuard::AllowedBy(name) => name,
    };
    let detail = json!({ "deliveries": deliveries.len(), "supersedes": supersedes });
    let event = NewEvent::new("job.done", now).study(&job.study).job(job.id).result(result).by(by);
    event::append(tx, event.request(job.request_id.as_deref()).detail(detail)).await?;
    Ok(Release::Done(Released { result, supersedes }))
}

async fn holds(tx: &mut Tx, study: &StudyUid, guard: &ReleaseGuard) -> Result<bool, Error> {
    let ReleaseGuard::Unchanged(whole) = guard else { return Ok(true) };
    for at in whole {
        if series::revision(tx, study, &at.series).await? != Some(at.revision) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn locked(tx: &mut Tx, job: JobId) -> Result<Job, Error> {
    let statement = sql("update job set state = state where job_id = $1 returning *").bind(job);
    tx.record(statement).await?.ok_or(Error::NoSuchJob(job))
}
