//! Leases: who holds a job proves to be alive, and loses it otherwise.

use imaging::StudyUid;
use serde_json::json;

use super::{JobState, LOST_LEASES_MAX};
use crate::db::{Row, Statement, Tx, sql};
use crate::event::{self, NewEvent};
use crate::{BootId, Error, JobId, Ledger, Millis, NodeId, Topic};

/// The right to report on a job, as long as nobody has a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub job: JobId,
    /// The number of the claim; a later claim has a greater one.
    pub number: i64,
}

/// Whether the job is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a worker that has lost its job must stop"]
pub enum Heartbeat {
    Mine,
    /// It was given to somebody else, cancelled or superseded: its state now.
    Lost(JobState),
}

/// What became of jobs whose workers were not heard of any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenBack {
    pub queued: Vec<JobId>,
    pub dead: Vec<JobId>,
}

impl Ledger {
    /// Says that the worker is alive.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or when the database does not carry it out.
    pub async fn renew_lease(&self, lease: Lease, until: Millis) -> Result<Heartbeat, Error> {
        let statement = sql("update job set lease_until = $3
              where job_id = $1 and lease_number = $2 and state in ('leased', 'running')")
        .bind(lease.job)
        .bind(lease.number)
        .bind(until);
        self.heartbeat(lease, statement).await
    }

    /// leased → running: the worker has its input and begins to compute.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or when the database does not carry it out.
    pub async fn start_job(&self, lease: Lease, until: Millis, now: Millis) -> Result<Heartbeat, Error> {
        let mut tx = self.db.begin_unflushed().await?;
        let statement = sql("update job set state = 'running', state_since = $4, lease_until = $3
              where job_id = $1 and lease_number = $2 and state = 'leased'
              returning study_uid, worker_id, request_id")
        .bind(lease.job)
        .bind(lease.number)
        .bind(until)
        .bind(now);
        let Some(row) = tx.row(statement).await? else {
            drop(tx);
            return self.renew_lease(lease, until).await;
        };
        let study: StudyUid = row.parsed("study_uid")?;
        let event = NewEvent::new("job.running", now).study(&study).job(lease.job).by(row.text("worker_id")?);
        event::append(&mut tx, event.request(row.text_or_null("request_id")?.as_deref())).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Heartbeat::Mine)
    }

    /// Notes progress and renews the lease. A job that gets further than ever before is not blamed
    /// for leases lost until then; one that ends its process at the same place each time is.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or when the database does not carry it out.
    pub async fn report_progress(
        &self,
        lease: Lease,
        permille: u32,
        until: Millis,
    ) -> Result<Heartbeat, Error> {
        let statement = sql("update job
              set lost_leases = case when $3 > progress_permille then 0 else lost_leases end,
                  progress_permille = case when $3 > progress_permille then $3 else progress_permille end,
                  lease_until = $4
              where job_id = $1 and lease_number = $2 and state = 'running'")
        .bind(lease.job)
        .bind(lease.number)
        .bind(permille.min(1000))
        .bind(until);
        let heartbeat = self.heartbeat(lease, statement).await?;
        self.bells.ring(&[Topic::Events]);
        Ok(heartbeat)
    }

    /// leased, running → queued: the worker stops in good order and nobody is to blame.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or when the database does not carry it out.
    pub async fn hand_back_job(&self, lease: Lease, now: Millis) -> Result<Heartbeat, Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("update job
              set state = 'queued', state_since = $3, not_before = $3,
                  worker_id = null, node_id = null, boot_id = null, lease_until = null
              where job_id = $1 and lease_number = $2 and state in ('leased', 'running')
              returning study_uid, request_id")
        .bind(lease.job)
        .bind(lease.number)
        .bind(now);
        let Some(row) = tx.row(statement).await? else {
            drop(tx);
            return self.lost(lease.job).await;
        };
        let study: StudyUid = row.parsed("study_uid")?;
        let event = NewEvent::new("job.handed-back", now).study(&study).job(lease.job);
        event::append(&mut tx, event.request(row.text_or_null("request_id")?.as_deref())).await?;
        self.commit(tx, &[Topic::Jobs]).await?;
        Ok(Heartbeat::Mine)
    }

    /// Takes back the leases that earlier runs of this node hold; for the start of a process.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn take_back_leases(
        &self,
        node: &NodeId,
        boot: &BootId,
        now: Millis,
    ) -> Result<TakenBack, Error> {
        let statement = sql("update job
              set state = case when lost_leases + 1 >= $4 then 'dead' else 'queued' end,
                  lost_leases = lost_leases + 1, state_since = $3, not_before = $3,
                  failure_kind = 'lease-lost', failure = 'the process that ran it ended',
                  worker_id = null, node_id = null, boot_id = null, lease_until = null
              where lease_until is not null and node_id = $1 and boot_id <> $2
              returning job_id, study_uid, state, failure, request_id")
        .bind(node)
        .bind(boot)
        .bind(now)
        .bind(LOST_LEASES_MAX);
        self.take_back(statement, now).await
    }

    /// Takes back leases that ran out.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn expire_leases(&self, now: Millis) -> Result<TakenBack, Error> {
        let statement = sql("update job
              set state = case when lost_leases + 1 >= $2 then 'dead' else 'queued' end,
                  lost_leases = lost_leases + 1, state_since = $1, not_before = $1,
                  failure_kind = 'lease-lost', failure = 'the worker was not heard of any more',
                  worker_id = null, node_id = null, boot_id = null, lease_until = null
              where lease_until is not null and lease_until < $1
              returning job_id, study_uid, state, failure, request_id")
        .bind(now)
        .bind(LOST_LEASES_MAX);
        self.take_back(statement, now).await
    }

    async fn take_back(&self, statement: Statement, now: Millis) -> Result<TakenBack, Error> {
        let mut tx = self.db.begin().await?;
        let rows = tx.rows(statement).await?;
        if rows.is_empty() {
            return Ok(TakenBack::default());
        }
        let mut taken = TakenBack::default();
        for row in &rows {
            note_lost(&mut tx, row, &mut taken, now).await?;
        }
        self.commit(tx, &[Topic::Jobs]).await?;
        Ok(taken)
    }

    async fn heartbeat(&self, lease: Lease, statement: Statement) -> Result<Heartbeat, Error> {
        let mut tx = self.db.begin_unflushed().await?;
        let changed = tx.execute(statement).await?;
        tx.commit().await?;
        if changed == 1 { Ok(Heartbeat::Mine) } else { self.lost(lease.job).await }
    }

    async fn lost(&self, job: JobId) -> Result<Heartbeat, Error> {
        let row = self.db.row(sql("select state from job where job_id = $1").bind(job)).await?;
        Ok(Heartbeat::Lost(row.ok_or(Error::NoSuchJob(job))?.parsed("state")?))
    }
}

async fn note_lost(tx: &mut Tx, row: &Row, taken: &mut TakenBack, now: Millis) -> Result<(), Error> {
    let job: JobId = row.parsed("job_id")?;
    let study: StudyUid = row.parsed("study_uid")?;
    let kind = match row.parsed("state")? {
        JobState::Dead => {
            taken.dead.push(job);
            "job.dead"
        }
        _ => {
            taken.queued.push(job);
            "job.lease-lost"
        }
    };
    let request_id = row.text_or_null("request_id")?;
    let event = NewEvent::new(kind, now).study(&study).job(job).request(request_id.as_deref());
    event::append(tx, event.detail(json!({ "reason": row.text("failure")? }))).await
}
