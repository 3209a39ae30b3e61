//! What clients see. Each answer has a type of its own here or beside its route; rows of
//! the ledger are never serialised as they are, and patients' identity goes only into
//! views that were made for a caller who may see it.

mod job;
mod result;
mod review;
mod study;

use ledger::Millis;
use time::{OffsetDateTime, macros::format_description};

pub(crate) use job::JobView;
pub(crate) use result::{ArtifactView, ResultDetail, ResultView};
pub(crate) use review::ReviewView;
pub(crate) use study::{StudyDetail, StudyView};

/// A DICOM Part 10 file, in the OpenAPI document.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it stands for bytes that are streamed")]
pub(crate) struct DicomFile(Vec<u8>);

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(at: Millis) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&format).ok())
        // Beyond the year 9999 there is no such text; the number is still true.
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(timestamp(Millis(1_700_000_000_007)), "2023-11-14T22:13:20.007Z");
        assert_eq!(timestamp(Millis(i64::MAX)), i64::MAX.to_string());
    }
}
