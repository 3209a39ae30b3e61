//! What a spool is told when it is opened.

use std::path::{Path, PathBuf};

/// What "kept" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives a power cut: flushed to the disk before it counts as kept.
    #[default]
    Power,
    /// Survives the death of the process: handed to the kernel, flushed whenever it likes.
    Process,
}

#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// The folder of the instances, of unfinished files and of the journal; one file system.
    pub root: PathBuf,
    /// The folder of what cannot be used; on the same file system.
    pub quarantine: PathBuf,
    pub durability: Durability,
    /// Below this much free space nothing is accepted.
    pub min_free_bytes: u64,
    /// Size of a segment of the intake journal; `None` for the usual one. Small ones are for tests.
    pub journal_segment_bytes: Option<u64>,
}

impl SpoolConfig {
    /// Free space that is left to others when nothing else is said.
    pub const MIN_FREE_BYTES: u64 = 1 << 30;

    pub fn new(root: impl AsRef<Path>, quarantine: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            quarantine: quarantine.as_ref().to_owned(),
            durability: Durability::default(),
            min_free_bytes: Self::MIN_FREE_BYTES,
            journal_segment_bytes: None,
        }
    }
}
