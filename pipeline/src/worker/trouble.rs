//! Why a job did not come to its end, and whether another try is worth it.

use inference::InferenceError;
use ledger::FailureKind;

use crate::{destination::chain, fusion::AnswerError, keep::KeepObjectsError};

/// Why a job did not come to its end.
pub(super) enum Trouble {
    Failure(FailureKind, String),
    /// The ledger cannot be used: the lease runs out, and the job is done again.
    Ledger(ledger::Error),
}

impl Trouble {
    pub(super) fn may_pass(reason: impl Into<String>) -> Self {
        Self::Failure(FailureKind::MayPass, reason.into())
    }

    pub(super) fn cannot_pass(reason: impl Into<String>) -> Self {
        Self::Failure(FailureKind::CannotPass, reason.into())
    }
}

impl From<ledger::Error> for Trouble {
    fn from(error: ledger::Error) -> Self {
        Self::Ledger(error)
    }
}

impl From<AnswerError> for Trouble {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Ledger(error) => Self::Ledger(error),
            AnswerError::Model(InferenceError::Graph(_)) | AnswerError::Thread(_) => {
                Self::may_pass(chain(&error))
            }
            AnswerError::Model(_) | AnswerError::Options(_) => Self::cannot_pass(chain(&error)),
        }
    }
}

impl From<KeepObjectsError> for Trouble {
    fn from(error: KeepObjectsError) -> Self {
        match error {
            KeepObjectsError::Ledger(error) => Self::Ledger(error),
            KeepObjectsError::Taken(_) | KeepObjectsError::Unusable(_) => Self::cannot_pass(chain(&error)),
            // A full disk, or a thread that was stopped.
            KeepObjectsError::Put(_) | KeepObjectsError::Io(_) | KeepObjectsError::Thread(_) => {
                Self::may_pass(chain(&error))
            }
        }
    }
}
