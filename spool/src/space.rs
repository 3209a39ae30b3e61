//! The watermark: below it nothing is accepted, above it all goes on by itself.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::error::KeepError;

#[derive(Debug, Clone)]
pub(crate) struct Space {
    root: PathBuf,
    min_free_bytes: u64,
}

impl Space {
    pub(crate) fn new(root: &Path, min_free_bytes: u64) -> Self {
        Self { root: root.to_owned(), min_free_bytes }
    }

    pub(crate) fn min_free_bytes(&self) -> u64 {
        self.min_free_bytes
    }

    /// # Errors
    /// [`KeepError::Full`] below the watermark.
    pub(crate) fn check(&self) -> Result<(), KeepError> {
        if self.free_bytes()? < self.min_free_bytes {
            return Err(KeepError::Full);
        }
        Ok(())
    }

    /// Says whether `bytes` can be taken for good with as much left again above the watermark.
    pub(crate) fn has(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.free_bytes()? >= self.min_free_bytes.saturating_add(bytes.saturating_mul(2)))
    }

    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
