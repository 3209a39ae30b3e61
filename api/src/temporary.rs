//! Where files lie while a request works with them: images of patients, in a folder that nobody else may read and
//! that a start empties, so that nothing of a process that was killed stays.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use axum::extract::multipart::Field;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncWriteExt;

use crate::error::{ApiError, ApiResult, Code};

const OURS_ALONE: u32 = 0o700;
/// So much is written before the disk is asked again how full it is.
const CHECKED_EVERY: u64 = 64 << 20;

/// The folder of one process.
#[derive(Debug, Clone)]
pub struct TemporaryFolder {
    path: PathBuf,
    min_free_bytes: u64,
}

impl TemporaryFolder {
    /// Makes the folder, or empties it: only for who holds the lock of the folder around it.
    ///
    /// # Errors
    /// When it cannot be made, or what is in it cannot be deleted.
    pub fn open(path: &Path, min_free_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(OURS_ALONE).create(path)?;
        fs::set_permissions(path, Permissions::from_mode(OURS_ALONE))?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { path: path.to_owned(), min_free_bytes })
    }

    /// A folder that goes with its value.
    pub(crate) fn folder(&self) -> ApiResult<TempDir> {
        self.check_space()?;
        TempDir::new_in(&self.path).map_err(full)
    }

    /// A file that goes with its value.
    pub(crate) fn file(&self) -> ApiResult<NamedTempFile> {
        self.check_space()?;
        NamedTempFile::new_in(&self.path).map_err(full)
    }

    /// Writes a part of a form to a file as it comes, and shows each piece to `each`.
    pub(crate) async fn receive(
        &self,
        part: &mut Field<'_>,
        file: &mut tokio::fs::File,
        mut each: impl FnMut(&[u8]),
        too_long: impl Fn(u64) -> Option<ApiError>,
    ) -> ApiResult<u64> {
        let (mut length, mut checked): (u64, u64) = (0, 0);
        while let Some(chunk) = part.chunk().await? {
            length += chunk.len() as u64;
            if let Some(refusal) = too_long(length) {
                return Err(refusal);
            }
            if length - checked >= CHECKED_EVERY {
                self.check_space()?;
                checked = length;
            }
            each(&chunk);
            file.write_all(&chunk).await.map_err(full)?;
        }
        file.flush().await.map_err(full)?;
        Ok(length)
    }

    /// The watermark of the spool holds here too: what is only passing takes no room from what is kept.
    fn check_space(&self) -> ApiResult<()> {
        let disk = rustix::fs::statvfs(&self.path).map_err(ApiError::internal)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.min_free_bytes {
            return Err(ApiError::because(Code::StorageFull, "the disk is full or below its watermark"));
        }
        Ok(())
    }
}

fn full(error: io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::StorageFull => ApiError::new(Code::StorageFull).caused_by(error),
        _ => ApiError::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_gone_after_a_start() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("tmp");
        fs::create_dir_all(path.join("left/over")).unwrap();
        fs::write(path.join("left/over/0"), "an image").unwrap();
        fs::write(path.join("mask"), "a mask").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();

        let folder = TemporaryFolder::open(&path, 1).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OURS_ALONE);
        let kept = folder.folder().unwrap();
        assert!(kept.path().starts_with(&path));
    }

    #[test]
    fn nothing_is_taken_below_the_watermark() {
        let around = tempfile::tempdir().unwrap();
        let folder = TemporaryFolder::open(&around.path().join("tmp"), u64::MAX).unwrap();
        assert_eq!(folder.folder().unwrap_err().code(), Code::StorageFull);
        assert_eq!(folder.file().unwrap_err().code(), Code::StorageFull);
    }
}
