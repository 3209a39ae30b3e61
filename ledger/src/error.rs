//! What can go wrong when the ledger is asked something.

use crate::{DeliveryId, DeliveryState, JobId, JobState, ResultId, RetrainingId};

/// Why a call was not carried out. Nothing of it happened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database did not carry out the request")]
    Database(#[from] sqlx::Error),
    #[error("the database holds something unreadable in column {column}")]
    Unreadable {
        column: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot write a value as JSON")]
    Json(#[source] serde_json::Error),
    #[error("there is no study {0}")]
    NoSuchStudy(imaging::StudyUid),
    #[error("there is no series {0} in the study")]
    NoSuchSeries(imaging::SeriesUid),
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    #[error("there is no result {0}")]
    NoSuchResult(ResultId),
    #[error("there is no delivery {0}")]
    NoSuchDelivery(DeliveryId),
    #[error("there is no retraining {0}")]
    NoSuchRetraining(RetrainingId),
    #[error("cannot {action} job {job}: it is {state}")]
    JobState { job: JobId, state: JobState, action: &'static str },
    #[error("cannot {action} delivery {delivery}: it is {state}")]
    DeliveryState { delivery: DeliveryId, state: DeliveryState, action: &'static str },
    #[error("object {0} belongs to another result or review")]
    ObjectTaken(imaging::SopInstanceUid),
    /// What was to be written together with others was not.
    #[error("the database did not carry out a group of requests")]
    Group(#[source] std::sync::Arc<Error>),
    /// Whether it was carried out is not known.
    #[error("the service stopped before the database had answered")]
    Interrupted,
    #[error("the journal of calls cannot be written")]
    Journal(#[source] std::io::Error),
    #[error("too many calls wait for the audit trail, which the database cannot take")]
    TrailBehind,
    /// The rows of a deed go with its one transaction.
    #[error("a deed cannot be noted: {0}")]
    Unnoted(&'static str),
    #[error("the name {0:?} is taken")]
    NameTaken(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody's doing:
    /// the database is busy, restarting, unreachable or full.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Database(source) => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_) => true,
                sqlx::Error::Database(error) => error.code().is_some_and(|code| code_may_pass(&code)),
                _ => false,
            },
            Self::Group(source) => source.may_pass(),
            Self::Journal(_) | Self::TrailBehind => true,
            _ => false,
        }
    }

    /// Whether a unique constraint refused a row.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// SQLSTATE of PostgreSQL (always five characters) or a result code of SQLite (a number below 10 000).
fn code_may_pass(code: &str) -> bool {
    if code.len() == 5 {
        // 08 connection, 25006 a server that only reads (after a failover), 40 rollback (deadlock), 53 resources,
        // 57 operator intervention, 58 the server's own disk
        return ["08", "25006", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class));
    }
    // The low byte is the primary code: SQLITE_BUSY, SQLITE_LOCKED, SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL,
    // SQLITE_CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| [5, 6, 8, 10, 13, 14].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_or_a_disk_gets_over_may_pass_and_what_a_row_is_refused_for_may_not() {
        for passing in ["08006", "25006", "40P01", "53100", "57P03", "58030", "5", "8", "1032", "778", "13"] {
            assert!(code_may_pass(passing), "{passing}");
        }
        // Foreign key, unique, no transaction; SQLite: constraint, foreign key, trigger.
        for lasting in ["23503", "23505", "25P01", "19", "787", "1811"] {
            assert!(!code_may_pass(lasting), "{lasting}");
        }
    }
}
