//! Hands jobs to workers: STAT first, then the model that has waited longest for its turn,
//! then the oldest job. One model's thousand jobs cannot starve another's single one.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Job, JobInput, Lease};
use crate::db::{Claiming, Tx, sql};
use crate::event::{self, NewEvent};
use crate::{BootId, Error, JobId, Ledger, Millis, NodeId, Topic, WorkerId};

/// Who asks for a job, and for which models.
#[derive(Debug, Clone)]
pub struct Claim {
    pub worker: WorkerId,
    pub node: NodeId,
    pub boot: BootId,
    /// After that time without renewal another worker may have the job.
    pub lease: Duration,
    /// Models that the worker can run; `None` is all of them.
    pub models: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    pub job: Job,
    /// The channels of the input, in order.
    pub inputs: Vec<JobInput>,
    pub lease: Lease,
}

impl Ledger {
    /// Leases the next due job to a worker; nothing when none is due that it can run.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_job(&self, claim: &Claim, now: Millis) -> Result<Option<ClaimedJob>, Error> {
        let statement = match self.db.dialect().claim_job {
            Claiming::AtOnce(statement) => return self.claim_at_once(statement, claim, now).await,
            Claiming::OfModel(statement) => statement,
        };
        for model in self.models_in_turn(now).await? {
            if claim.models.as_ref().is_some_and(|models| !models.contains(&model)) {
                continue;
            }
            if let Some(claimed) = self.claim_job_of(&model, statement, claim, now).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    async fn claim_at_once(
        &self,
        statement: &'static str,
        claim: &Claim,
        now: Millis,
    ) -> Result<Option<ClaimedJob>, Error> {
        let models = claim.models.as_ref().map(serde_json::to_string).transpose().map_err(Error::Json)?;
        let statement = sql(statement)
            .bind(now)
            .bind(&claim.worker)
            .bind(&claim.node)
            .bind(&claim.boot)
            .bind(now.plus(claim.lease))
            .bind(models)
            .bind_json(&detail(claim))?;
        // All rows: the answer is complete only after the commit.
        let Some(row) = self.db.rows(statement).await?.pop() else { return Ok(None) };
        let job = <Job as crate::db::Record>::read(&row)?;
        let lease = Lease { job: job.id, number: row.int("lease_number")? };
        self.bells.ring(&[Topic::Events]);
        Ok(Some(ClaimedJob { job, inputs: row.json("inputs")?, lease }))
    }

    /// Models with due jobs, the one whose turn it is first.
    async fn models_in_turn(&self, now: Millis) -> Result<Vec<String>, Error> {
        let rows = self.db.rows(sql(include_str!("../sql/models_in_turn.sql")).bind(now)).await?;
        rows.iter().map(|row| row.text("model_id")).collect()
    }

    async fn claim_job_of(
        &self,
        model: &str,
        statement: &'static str,
        claim: &Claim,
        now: Millis,
    ) -> Result<Option<ClaimedJob>, Error> {
        let mut tx = self.db.begin_unflushed().await?;
        let statement = sql(statement)
            .bind(model)
            .bind(now)
            .bind(&claim.worker)
            .bind(&claim.node)
            .bind(&claim.boot)
            .bind(now.plus(claim.lease));
        let Some(row) = tx.row(statement).await? else { return Ok(None) };
        let job = <Job as crate::db::Record>::read(&row)?;
        let lease = Lease { job: job.id, number: row.int("lease_number")? };
        let inputs = inputs(&mut tx, job.id).await?;
        let event = NewEvent::new("job.leased", now).study(&job.study).job(job.id).by(claim.worker.as_str());
        event::append(&mut tx, event.request(job.request_id.as_deref()).detail(detail(claim))).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some(ClaimedJob { job, inputs, lease }))
    }

    /// The channels of a job's input, in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn job_inputs(&self, job: JobId) -> Result<Vec<JobInput>, Error> {
        self.db.records(sql(INPUTS).bind(job)).await
    }
}

/// What the event of a claim says beside who and what.
fn detail(claim: &Claim) -> Value {
    json!({ "node": claim.node })
}

const INPUTS: &str = "select series_uid, stack, instances from job_input where job_id = $1 order by channel";

async fn inputs(tx: &mut Tx, job: JobId) -> Result<Vec<JobInput>, Error> {
    tx.records(sql(INPUTS).bind(job)).await
}

impl crate::db::Record for JobInput {
    fn read(row: &crate::db::Row) -> Result<Self, Error> {
        Ok(Self {
            series: row.parsed("series_uid")?,
            stack: row.count("stack")?,
            instances: row.json("instances")?,
        })
    }
}
