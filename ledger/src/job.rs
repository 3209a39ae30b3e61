//! Jobs: one question to one model, asked once.
//!
//! ```text
//! queued → leased → running → computed → done
//!             │         └─→ failed → (leased again) … → dead
//!             └─ lease lost → queued … → dead
//! any but done, dead → cancelled, superseded
//! ```
//!
//! A state changes only by the method that is named after the transition. Who holds a
//! [`Lease`] may report on the job; once somebody else has it, or it was cancelled or
//! superseded, every report answers "lost" and changes nothing.

mod claim;
mod decide;
mod enqueue;
mod finish;
mod lease;
mod list;

use imaging::{SeriesUid, SopInstanceUid, StudyUid};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::db::{Record, Row};
use crate::text_enum::text_enum;
use crate::{Error, JobId, Millis, WorkerId};

pub use claim::{Claim, ClaimedJob};
pub use enqueue::{About, Enqueued, NewJob};
pub use finish::{Failed, Failure, NewResult, Release, ReleaseGuard, Released, SeriesAt};
pub use lease::{Heartbeat, Lease, TakenBack};
pub use list::{JobFilter, QueueCount};

/// A job that has failed so often is dead.
pub const ATTEMPTS_MAX: i64 = 3;
/// A job whose lease was lost so often in a row, without progress between, is dead.
pub const LOST_LEASES_MAX: i64 = 5;

text_enum! {
    pub enum JobState {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker has it and has not begun to compute.
        Leased = "leased",
        /// A worker computes.
        Running = "running",
        /// The result is kept, and not released yet.
        Computed = "computed",
        /// The result is released.
        Done = "done",
        /// Failed, and waits to be tried again.
        Failed = "failed",
        /// Failed for good; a person may requeue it.
        Dead = "dead",
        Cancelled = "cancelled",
        /// A newer job asks the same question over a newer input.
        Superseded = "superseded",
    }
}

impl JobState {
    /// Whether nothing more happens unless a person wants it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled | Self::Superseded)
    }
}

text_enum! {
    pub enum FailureKind {
        /// Worth another try: memory, a time-out, a worker that went away.
        MayPass = "may-pass",
        /// The same would happen again.
        CannotPass = "cannot-pass",
        /// The worker was not heard of any more.
        LeaseLost = "lease-lost",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Routine,
    Stat,
}

/// Exactly which model: a package that was changed has another digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    pub id: String,
    pub version: String,
    pub digest: String,
}

/// One channel of a job's input.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JobInput {
    pub series: SeriesUid,
    /// Which stack of the series, where one series holds several.
    pub stack: u32,
    /// The instances, as the key of the job was made from them.
    pub instances: Vec<SopInstanceUid>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub key: String,
    pub study: StudyUid,
    /// The same for all jobs that ask the same model about the same series, whatever arrived.
    pub question: String,
    /// The study's revision that the input was read at.
    pub input_revision: i64,
    pub model: ModelRef,
    pub options: Value,
    pub priority: Priority,
    pub state: JobState,
    /// Since when it is in this state.
    pub state_since: Millis,
    pub progress_permille: u32,
    pub worker: Option<WorkerId>,
    pub lease_until: Option<Millis>,
    pub not_before: Millis,
    /// Failures that workers reported.
    pub attempts: u32,
    /// Leases lost in a row without progress.
    pub lost_leases: u32,
    /// The last failure.
    pub failure: Option<(FailureKind, String)>,
    pub superseded_by: Option<JobId>,
    pub request_id: Option<String>,
    pub created_at: Millis,
}

impl Priority {
    pub(crate) fn as_number(self) -> i64 {
        match self {
            Self::Routine => 0,
            Self::Stat => 1,
        }
    }

    fn from_number(number: i64) -> Self {
        if number == 0 { Self::Routine } else { Self::Stat }
    }
}

impl Record for Job {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("job_id")?,
            key: row.text("key")?,
            study: row.parsed("study_uid")?,
            question: row.text("question")?,
            input_revision: row.int("input_revision")?,
            model: read_model(row)?,
            options: row.json("options")?,
            priority: Priority::from_number(row.int("priority")?),
            state: row.parsed("state")?,
            state_since: row.millis("state_since")?,
            progress_permille: row.count("progress_permille")?,
            worker: row.text_or_null("worker_id")?.map(WorkerId::new),
            lease_until: row.millis_or_null("lease_until")?,
            not_before: row.millis("not_before")?,
            attempts: row.count("attempts")?,
            lost_leases: row.count("lost_leases")?,
            failure: row.parsed_or_null("failure_kind")?.zip(row.text_or_null("failure")?),
            superseded_by: row.parsed_or_null("superseded_by")?,
            request_id: row.text_or_null("request_id")?,
            created_at: row.millis("created_at")?,
        })
    }
}

fn read_model(row: &Row) -> Result<ModelRef, Error> {
    Ok(ModelRef {
        id: row.text("model_id")?,
        version: row.text("model_version")?,
        digest: row.text("model_digest")?,
    })
}
