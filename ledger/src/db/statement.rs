//! A statement: SQL that was written by hand, and the values for its `$1`, `$2`, …

use std::borrow::Cow;

use imaging::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Postgres, Sqlite};

use crate::{DeliveryId, EventSeq, Millis, PredictionId};

/// A value of the only two types that the schema has.
#[derive(Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
}

pub(crate) struct Statement {
    text: Cow<'static, str>,
    args: Vec<Arg>,
}

/// Begins a statement. Taking `&'static str` keeps built strings out.
pub(crate) fn sql(text: &'static str) -> Statement {
    Statement { text: Cow::Borrowed(text), args: Vec::new() }
}

impl Statement {
    /// One that was built, of nothing but texts that were written by hand.
    pub(super) fn built(text: String, args: Vec<Arg>) -> Self {
        Self { text: Cow::Owned(text), args }
    }

    pub(crate) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Binds `value` as JSON text.
    pub(crate) fn bind_json(self, value: &impl Serialize) -> Result<Self, crate::Error> {
        let text = serde_json::to_string(value).map_err(crate::Error::Json)?;
        Ok(self.bind(text))
    }

    pub(super) fn for_sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        self.args.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), |query, arg| match arg {
            Arg::Int(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
        })
    }

    pub(super) fn for_postgres(self) -> Query<'static, Postgres, PgArguments> {
        self.args.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), |query, arg| match arg {
            Arg::Int(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
        })
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<Millis> for Arg {
    fn from(value: Millis) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<DeliveryId> for Arg {
    fn from(value: DeliveryId) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<PredictionId> for Arg {
    fn from(value: PredictionId) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<crate::SegmentationRequestId> for Arg {
    fn from(value: crate::SegmentationRequestId) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<crate::RecipientId> for Arg {
    fn from(value: crate::RecipientId) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<EventSeq> for Arg {
    fn from(value: EventSeq) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

macro_rules! bound_as_str {
    ($($kind:ty),+ $(,)?) => {$(
        impl From<&$kind> for Arg {
            fn from(value: &$kind) -> Self {
                Self::Text(Some(value.as_str().to_owned()))
            }
        }
    )+};
}

macro_rules! bound_as_text {
    ($($kind:ty),+ $(,)?) => {$(
        impl From<$kind> for Arg {
            fn from(value: $kind) -> Self {
                Self::Text(Some(value.to_string()))
            }
        }
    )+};
}

bound_as_str!(
    Uid,
    StudyUid,
    SeriesUid,
    SopInstanceUid,
    SopClassUid,
    crate::NodeId,
    crate::BootId,
    crate::WorkerId
);
bound_as_text!(
    crate::AssociationId,
    crate::HoldId,
    crate::QuarantinedId,
    crate::JobId,
    crate::ResultId,
    crate::ReviewId,
    crate::ArtifactId,
    crate::AccountId,
    crate::ApiKeyId,
    crate::SessionId,
    crate::CallId,
    crate::BatchId,
    crate::BatchItemState,
    crate::RetrainingId,
    crate::RetrainingState,
    crate::Door,
    crate::Ending,
    crate::HoldReason,
    crate::QuarantineReason,
    crate::JobState,
    crate::FailureKind,
    crate::Outcome,
    crate::DeliveryState,
    crate::CommitmentOutcome,
    crate::Role,
    crate::SessionKind,
    crate::Decision,
    crate::RejectionReason,
    crate::ReviewState,
    crate::RequestState,
    crate::RecipientKind,
);

/// What may be null: the kind of null has to be known, PostgreSQL is strict about it.
pub(crate) trait Nullable: Into<Arg> {
    const NULL: Arg;
}

impl<T: Nullable> From<Option<T>> for Arg {
    fn from(value: Option<T>) -> Self {
        value.map_or(T::NULL, Into::into)
    }
}

macro_rules! nullable {
    ($null:expr; $($kind:ty),+ $(,)?) => {$(
        impl Nullable for $kind {
            const NULL: Arg = $null;
        }
    )+};
}

nullable!(Arg::Int(None); i64, u32, Millis, DeliveryId, EventSeq);
nullable!(
    Arg::Text(None);
    String, &str, &String, &StudyUid, &SeriesUid, &SopInstanceUid, &crate::NodeId, &crate::BootId, &crate::WorkerId,
    crate::AssociationId, crate::HoldId, crate::JobId, crate::ResultId, crate::ReviewId, crate::ArtifactId, crate::AccountId,
    crate::CallId, crate::JobState, crate::FailureKind, crate::Outcome, crate::DeliveryState,
    crate::RejectionReason, crate::ReviewState,
);
