//! Reviews as clients see them.

use ledger::{Decision, RejectionReason, Review, ReviewState, Verdict};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::timestamp;
use crate::auth::Caller;

/// One decision about a result.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReviewView {
    id: String,
    result_id: String,
    study_uid: String,
    /// Its place in the history, from 1 on; the ETag of the result after it.
    number: u32,
    /// `accept`, `reject`, `correct` or `undo`.
    #[schema(value_type = String)]
    decision: Decision,
    /// Where the result stood after it: `pending`, `awaiting-second` (another doctor has to agree), `disputed` (two
    /// doctors do not agree), `accepted`, `rejected` or `corrected`.
    #[schema(value_type = String)]
    state: ReviewState,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<RejectionReason>,
    /// The class, or which file, that was given instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<Value>,
    /// Only for roles that see patients.
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// Login name of the doctor.
    reviewer: String,
    /// As the documents name him.
    full_name: String,
    organization: String,
    at: String,
}

impl ReviewView {
    pub(crate) fn new(review: Review, reader: &Caller) -> Self {
        let (decision, state) = (review.verdict.decision(), review.leads_to);
        let (reason, correction) = match review.verdict {
            Verdict::Reject(reason) => (Some(reason), None),
            Verdict::Correct(given) => (None, Some(given)),
            Verdict::Accept | Verdict::Undo => (None, None),
        };
        Self {
            id: review.id.to_string(),
            result_id: review.result.to_string(),
            study_uid: review.study.to_string(),
            number: review.number,
            decision,
            state,
            reason,
            correction,
            comment: review.comment.filter(|_| reader.sees_patients()),
            reviewer: review.reviewer.login,
            full_name: review.reviewer.full_name,
            organization: review.reviewer.organization,
            at: timestamp(review.at),
        }
    }
}
