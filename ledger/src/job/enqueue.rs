//! Asks a question, once.

use imaging::StudyUid;
use serde_json::{Value, json};

use super::{Job, JobInput, JobState, ModelRef, Priority};
use crate::db::{Tx, sql};
use crate::event::{self, NewEvent};
use crate::{Error, JobId, Ledger, Millis, Topic, study};

#[derive(Debug, Clone)]
pub struct NewJob {
    /// Digest of the input's instances and their data sets, the model package and the options.
    pub key: String,
    pub study: StudyUid,
    /// The study's revision that the input was read at.
    pub input_revision: i64,
    pub model: ModelRef,
    pub options: Value,
    pub priority: Priority,
    /// The channels, in the model's order.
    pub inputs: Vec<JobInput>,
    pub about: About,
    /// The model is only tried out: its jobs and results stand beside those of the version in service.
    pub is_shadow: bool,
    /// Who asked: an account, or `overread` by its rules.
    pub actor: String,
    pub request_id: Option<String>,
    pub created_at: Millis,
}

/// What a later job must share with this one to supersede it, beside study and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The series with their stacks, in order. A job without series shares its question with none.
    Series,
    /// One image that stands for itself: other images of its series ask other questions.
    Image,
    /// Nothing more: it is about the study as a whole.
    Study {
        /// The job that was asked last, as the asker saw it.
        after: Option<JobId>,
    },
}

/// Begins the questions of models that are only tried out; no id of a model does.
const SHADOW: &str = "(shadow) ";

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    New {
        job: JobId,
        /// Unfinished jobs over an older input of the same series, which are now superseded.
        superseded: Vec<JobId>,
    },
    /// The same question over the same input was asked before.
    Exists { job: JobId, state: JobState },
    /// Somebody has already asked over a newer input, or asked while this asker thought; this one was not asked.
    Stale { newer: JobId },
}

impl NewJob {
    /// What jobs over older and newer input have in common: a newer one supersedes the older ones.
    pub fn question(&self) -> String {
        let mut question = if self.is_shadow {
            format!("{SHADOW}{}@{} {}", self.model.id, self.model.version, self.study)
        } else {
            format!("{} {}", self.model.id, self.study)
        };
        match self.about {
            About::Series if self.inputs.is_empty() => self.key.clone_into(&mut question),
            About::Series => {
                for input in &self.inputs {
                    question.push_str(&format!(" {}#{}", input.series, input.stack));
                }
            }
            About::Image => {
                // The number of its stack changes as more images come, the image does not.
                let images = self.inputs.iter().flat_map(|input| &input.instances);
                images.for_each(|image| question.push_str(&format!(" image {image}")));
            }
            About::Study { .. } => {}
        }
        question
    }
}

impl Job {
    /// Whether its model was only tried out when it was asked.
    pub fn is_shadow(&self) -> bool {
        self.question.starts_with(SHADOW)
    }
}

impl Ledger {
    /// Enqueues a job unless its key is known, and supersedes unfinished ones over older input.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn enqueue_job(&self, new: &NewJob) -> Result<Enqueued, Error> {
        let mut tx = self.db.begin().await?;
        // The lock makes two nodes that ask about one study come one after the other.
        study::lock(&mut tx, &new.study).await?;
        if let Some(job) = by_key(&mut tx, &new.key).await? {
            return Ok(Enqueued::Exists { job: job.id, state: job.state });
        }
        let question = new.question();
        if let Some(newer) = asked_meanwhile(&mut tx, new, &question).await? {
            return Ok(Enqueued::Stale { newer });
        }
        let job = insert(&mut tx, new, &question).await?;
        let superseded = supersede_older(&mut tx, job, new, &question).await?;
        tx.tells("job", job);
        self.commit(tx, &[Topic::Jobs]).await?;
        Ok(Enqueued::New { job, superseded })
    }

    /// The job that was asked last of a question, whatever became of it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_job(&self, question: &str) -> Result<Option<Job>, Error> {
        self.db.record(sql(LAST_OF_QUESTION).bind(question)).await
    }
}

async fn by_key(tx: &mut Tx, key: &str) -> Result<Option<Job>, Error> {
    tx.record(sql("select * from job where key = $1").bind(key)).await
}

async fn asked_meanwhile(tx: &mut Tx, new: &NewJob, question: &str) -> Result<Option<JobId>, Error> {
    match new.about {
        About::Series | About::Image => asked_over_newer_input(tx, question, new.input_revision).await,
        About::Study { after } => {
            let last = tx.record::<Job>(sql(LAST_OF_QUESTION).bind(question)).await?;
            Ok(last.map(|last| last.id).filter(|last| Some(*last) != after))
        }
    }
}

const LAST_OF_QUESTION: &str =
    "select * from job where question = $1 order by created_at desc, job_id desc limit 1";

async fn asked_over_newer_input(
    tx: &mut Tx,
    question: &str,
    input_revision: i64,
) -> Result<Option<JobId>, Error> {
    let statement = sql("select job_id from job
          where question = $1 and input_revision > $2 and state not in ('dead', 'cancelled', 'superseded')
          order by input_revision desc limit 1")
    .bind(question)
    .bind(input_revision);
    tx.row(statement).await?.map(|row| row.parsed("job_id")).transpose()
}

async fn insert(tx: &mut Tx, new: &NewJob, question: &str) -> Result<JobId, Error> {
    let job = JobId::generate();
    let model = sql("insert into model_queue (model_id) values ($1) on conflict (model_id) do nothing");
    tx.execute(model.bind(&new.model.id)).await?;
    let statement = sql("insert into job (job_id, key, study_uid, question, input_revision, model_id, model_version, model_digest,
                           options, priority, state, not_before, request_id, created_at, state_since)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11, $12, $11, $11)")
        .bind(job)
        .bind(&new.key)
        .bind(&new.study)
        .bind(question)
        .bind(new.input_revision)
        .bind(&new.model.id)
        .bind(&new.model.version)
        .bind(&new.model.digest)
        .bind_json(&new.options)?
        .bind(new.priority.as_number())
        .bind(new.created_at)
        .bind(new.request_id.as_ref());
    tx.execute(statement).await?;
    for (channel, input) in (0_u32..).zip(&new.inputs) {
        insert_input(tx, job, &new.study, channel, input).await?;
    }
    let detail = json!({ "model": new.model.id, "version": new.model.version, "priority": new.priority });
    let event = NewEvent::new("job.queued", new.created_at).study(&new.study).job(job).by(&new.actor);
    event::append(tx, event.request(new.request_id.as_deref()).detail(detail)).await?;
    Ok(job)
}

async fn insert_input(
    tx: &mut Tx,
    job: JobId,
    study: &StudyUid,
    channel: u32,
    input: &JobInput,
) -> Result<(), Error> {
    let statement = sql("insert into job_input (job_id, channel, study_uid, series_uid, stack, instances)
          values ($1, $2, $3, $4, $5, $6)")
    .bind(job)
    .bind(channel)
    .bind(study)
    .bind(&input.series)
    .bind(input.stack)
    .bind_json(&input.instances)?;
    tx.execute(statement).await.map(drop)
}

async fn supersede_older(
    tx: &mut Tx,
    newer: JobId,
    new: &NewJob,
    question: &str,
) -> Result<Vec<JobId>, Error> {
    let statement = sql("update job
          set state = 'superseded', superseded_by = $1, state_since = $3,
              worker_id = null, node_id = null, boot_id = null, lease_until = null
          where question = $2 and job_id <> $1 and state in ('queued', 'leased', 'running', 'computed', 'failed')
          returning job_id")
        .bind(newer)
        .bind(question)
        .bind(new.created_at);
    let mut superseded = Vec::new();
    for row in tx.rows(statement).await? {
        let job: JobId = row.parsed("job_id")?;
        let event = NewEvent::new("job.superseded", new.created_at).study(&new.study).job(job);
        event::append(tx, event.detail(json!({ "by": newer }))).await?;
        superseded.push(job);
    }
    Ok(superseded)
}
