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

/// What becomes of another data set with the SOP Instance UID of an instance that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameUid {
    /// The first stays in service; the second goes to quarantine.
    #[default]
    KeepFirst,
    /// The second takes the place of the first, which goes to quarantine, and models run again. Where patient
    /// or study differ, the first stays all the same, and the study is held for a person.
    Replace,
}

#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// The folder of the instances, of unfinished files and of the journal; one file system.
    pub root: PathBuf,
    /// The folder of what cannot be used; on the same file system.
    pub quarantine: PathBuf,
    pub durability: Durability,
    /// What is asked by whoever settles a conflict, at every door.
    pub same_uid: SameUid,
    /// Below this much free space nothing is accepted.
    pub min_free_bytes: u64,
    /// Size of the intake journal under power durability: so much comes in at the disk's pace before its files
    /// have to follow, and so much a start after a crash reads at most.
    pub journal_bytes: u64,
}

impl SpoolConfig {
    /// Free space that is left to others when nothing else is said.
    pub const MIN_FREE_BYTES: u64 = 1 << 30;
    /// A CT study of two thousand slices.
    pub const JOURNAL_BYTES: u64 = 1 << 30;

    pub fn new(root: impl AsRef<Path>, quarantine: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            quarantine: quarantine.as_ref().to_owned(),
            durability: Durability::default(),
            same_uid: SameUid::default(),
            min_free_bytes: Self::MIN_FREE_BYTES,
            journal_bytes: Self::JOURNAL_BYTES,
        }
    }
}
