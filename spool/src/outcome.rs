//! What can become of an instance that was received whole.

use std::{fmt, path::PathBuf};

use imaging::{Header, SeriesUid, SopInstanceUid, StudyUid};
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, journal::Receipt, scan::Malformed};

/// Where an instance belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceKey {
    pub study: StudyUid,
    pub series: SeriesUid,
    pub sop_instance: SopInstanceUid,
}

impl InstanceKey {
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self {
            study: header.study.clone(),
            series: header.series.clone(),
            sop_instance: header.sop_instance.clone(),
        }
    }
}

/// What became of an instance. In all four cases its bytes are kept, as durably as configured.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the spool now.
    Kept(Kept),
    /// The very same data set was in the spool already.
    Same(Same),
    /// Another data set has this UID; that one stays in service, this one is in quarantine.
    Conflict(Box<Conflict>),
    /// It is whole but cannot be used; it is in quarantine.
    Unusable(Unusable),
}

#[derive(Debug)]
pub struct Kept {
    pub key: InstanceKey,
    pub digest: Digest,
    /// The length of the file.
    pub size_bytes: u64,
    pub header: Header,
    /// Where the damaged file is now whose place it has taken.
    pub damaged: Option<PathBuf>,
    /// To be given back with [`crate::Spool::recorded`] when the ledger has its row.
    pub receipt: Receipt,
}

#[derive(Debug)]
pub struct Same {
    pub key: InstanceKey,
    pub digest: Digest,
    pub size_bytes: u64,
    pub header: Header,
}

#[derive(Debug)]
pub struct Conflict {
    pub key: InstanceKey,
    /// Of the instance that stays in service; `None` when its head cannot be read any more.
    pub first: Option<Header>,
    pub first_digest: Digest,
    pub second: Header,
    pub second_digest: Digest,
    pub quarantined: PathBuf,
}

impl Conflict {
    /// True unless both surely belong to one patient and one study.
    pub fn identity_differs(&self) -> bool {
        self.first.as_ref().is_none_or(|first| identity_differs(first, &self.second))
    }
}

/// True unless both surely belong to one patient and one study.
pub fn identity_differs(first: &Header, second: &Header) -> bool {
    first.patient.identity() != second.patient.identity() || first.study != second.study
}

/// A conflict after it was decided for the second data set.
#[derive(Debug)]
pub struct Replaced {
    /// Where the first one is now.
    pub quarantined: PathBuf,
    /// The length of the file that is in service now.
    pub size_bytes: u64,
    /// To be given back with [`crate::Spool::recorded`] when the ledger knows of it.
    pub receipt: Receipt,
}

#[derive(Debug)]
pub struct Unusable {
    pub fault: Fault,
    pub quarantined: PathBuf,
}

/// Why an instance that arrived whole cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The text of the parser, which repeats no values.
    #[error("the head of the data set cannot be read: {0}")]
    Unreadable(String),
    #[error("{0} differs between command and data set")]
    Disagrees(Disagreement),
}

/// What command and data set say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    SopClass,
    SopInstance,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SopClass => "SOP Class UID",
            Self::SopInstance => "SOP Instance UID",
        })
    }
}
