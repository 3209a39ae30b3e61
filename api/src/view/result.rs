//! Results as clients see them.

use ledger::{Artifact, Outcome, ResultRow, ReviewState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::timestamp;

/// What a model found for a study; without the findings themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultView {
    id: String,
    job_id: String,
    study_uid: String,
    model_id: String,
    model_version: String,
    /// `findings`, or `not-analysed`: the findings say why.
    #[schema(value_type = String)]
    outcome: Outcome,
    computed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_at: Option<String>,
    /// A newer result over more of the same series.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    /// `pending`, `awaiting-second`, `disputed`, `accepted`, `rejected` or `corrected`.
    #[schema(value_type = String)]
    review_state: ReviewState,
    /// How many reviews it has had; the ETag.
    review_number: u32,
}

impl From<ResultRow> for ResultView {
    fn from(row: ResultRow) -> Self {
        Self {
            id: row.id.to_string(),
            job_id: row.job.to_string(),
            study_uid: row.study.to_string(),
            model_id: row.model_id,
            model_version: row.model_version,
            outcome: row.outcome,
            computed_at: timestamp(row.computed_at),
            released_at: row.released_at.map(timestamp),
            superseded_by: row.superseded_by.map(|id| id.to_string()),
            review_state: row.review_state,
            review_number: row.review_number,
        }
    }
}

/// A result with what was found and the objects that hold it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultDetail {
    #[serde(flatten)]
    result: ResultView,
    findings: Value,
    artifacts: Vec<ArtifactView>,
}

impl ResultDetail {
    pub(crate) fn new(mut row: ResultRow, artifacts: Vec<Artifact>) -> Self {
        let findings = row.findings.take();
        let artifacts = artifacts.into_iter().map(ArtifactView::from).collect();
        Self { result: row.into(), findings, artifacts }
    }
}

/// A DICOM object of a result.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactView {
    id: String,
    result_id: String,
    /// The review that made it; none: it belongs to the result itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    review_id: Option<String>,
    /// What it is for: `seg`, `sr`, `verified-sr`, …
    role: String,
    /// The destination profile that it was encoded for.
    profile: String,
    part: u32,
    study_uid: String,
    series_uid: String,
    sop_instance_uid: String,
    sop_class_uid: String,
    size_bytes: u64,
    /// Where its bytes are.
    download: String,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        Self {
            download: format!("/v1/results/{}/artifacts/{}", artifact.result, artifact.id),
            id: artifact.id.to_string(),
            result_id: artifact.result.to_string(),
            review_id: artifact.review.map(|id| id.to_string()),
            role: artifact.role,
            profile: artifact.profile,
            part: artifact.part,
            study_uid: artifact.study.to_string(),
            series_uid: artifact.series.to_string(),
            sop_instance_uid: artifact.sop_instance.to_string(),
            sop_class_uid: artifact.sop_class.to_string(),
            size_bytes: artifact.size_bytes,
        }
    }
}
