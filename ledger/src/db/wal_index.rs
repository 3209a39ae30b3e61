//! Whether anything was committed since: what a connection of SQLite itself looks at before it trusts its cache.
//!
//! The head of the WAL index (<https://www.sqlite.org/walformat.html>, 2.1) is in the shared file beside the
//! database. It holds a counter that every transaction of every process moves on, and the sums of what it
//! covers; while its bytes are the same, nothing was committed. Reading it is one call of the operating
//! system, where a statement crosses to the thread of a connection and back.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const HEAD_BYTES: usize = 48;

/// A state of the database: two that are equal have nothing committed between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; HEAD_BYTES]);

/// Never closed: closing a file drops all locks that the process has on it (POSIX), SQLite's among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WalIndex(&'static File);

impl WalIndex {
    /// The index of a database that is open in this process; none where it is not shared.
    pub(super) fn open(database: &Path) -> Option<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        File::open(path).ok().map(|file| Self(Box::leak(Box::new(file))))
    }

    /// None when it cannot be known: the file was replaced.
    pub(crate) fn mark(self) -> Option<Mark> {
        let mut head = [0; HEAD_BYTES];
        let is_there = self.0.metadata().ok()?.nlink() > 0;
        self.0.read_exact_at(&mut head, 0).ok()?;
        is_there.then_some(Mark(head))
    }
}
