//! The watermark: below it nothing is accepted, above it all goes on by itself.

use std::path::{Path, PathBuf};

use crate::error::KeepError;

#[derive(Debug)]
pub(crate) struct Space {
    root: PathBuf,
    min_free_bytes: u64,
}

impl Space {
    pub(crate) fn new(root: &Path, min_free_bytes: u64) -> Self {
        Self { root: root.to_owned(), min_free_bytes }
    }

    /// # Errors
    /// [`KeepError::Full`] below the watermark.
    pub(crate) fn check(&self) -> Result<(), KeepError> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|errno| KeepError::from(std::io::Error::from(errno)))?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < self.min_free_bytes {
            return Err(KeepError::Full);
        }
        Ok(())
    }
}
