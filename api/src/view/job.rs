//! Jobs as clients see them.

use ledger::{FailureKind, Job, JobState, Priority};
use serde::Serialize;
use utoipa::ToSchema;

use super::timestamp;

/// One run of one model over series of a study.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    id: String,
    study_uid: String,
    model: JobModel,
    /// `queued`, `leased`, `running`, `computed`, `done`, `failed` (to be tried again),
    /// `dead`, `cancelled` or `superseded`.
    #[schema(value_type = String)]
    state: JobState,
    state_since: String,
    /// 0 to 1.
    progress: f64,
    /// `routine` or `stat`.
    #[schema(value_type = String)]
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// Failures that workers reported.
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<JobFailure>,
    /// When a failed job is tried again at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    tried_again_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    created_at: String,
}

/// Exactly which model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobModel {
    id: String,
    version: String,
    /// Of the package; another one means other weights or another description.
    digest: String,
}

/// Why a job failed the last time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobFailure {
    /// `may-pass`, `cannot-pass` or `lease-lost`.
    #[schema(value_type = String)]
    kind: FailureKind,
    reason: String,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.to_string(),
            study_uid: job.study.to_string(),
            model: JobModel { id: job.model.id, version: job.model.version, digest: job.model.digest },
            state: job.state,
            state_since: timestamp(job.state_since),
            progress: f64::from(job.progress_permille) / 1000.0,
            priority: job.priority,
            worker: job.worker.map(|worker| worker.to_string()),
            attempts: job.attempts,
            failure: job.failure.map(|(kind, reason)| JobFailure { kind, reason }),
            tried_again_at: (job.state == JobState::Failed).then(|| timestamp(job.not_before)),
            superseded_by: job.superseded_by.map(|id| id.to_string()),
            request_id: job.request_id,
            created_at: timestamp(job.created_at),
        }
    }
}
