//! What can go wrong, by what was being done.

use std::{io, path::PathBuf};

use crate::part10::NotPart10;

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the folder {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process uses the spool {0}")]
    InUse(PathBuf),
    #[error("cannot replay the intake journal in {path}")]
    Journal {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// An instance that could not be kept; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the disk is full or below its watermark")]
    Full,
    #[error("cannot write the instance")]
    Io(#[source] io::Error),
}

impl From<io::Error> for KeepError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// A whole file that could not be put into the spool.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("this is no DICOM file")]
    NotPart10(#[from] NotPart10),
    #[error("the data set names no SOP class or no SOP instance")]
    Unidentified,
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// An instance that cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the spool does not have the instance")]
    Missing,
    #[error("the instance is not what was kept: length or digest differ")]
    Damaged,
    #[error("cannot read the instance")]
    Io(#[source] io::Error),
}
