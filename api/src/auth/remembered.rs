//! What the database said about a credential, for as long as nothing was committed since.
//!
//! Nothing expires here: whoever revokes a key or closes an account commits, in whichever process, and with that
//! all that was remembered is forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ledger::Mark;

/// More callers than come between two commits.
const ENTRIES_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Remembered<T>(Mutex<Entries<T>>);

/// All of one state of the database.
#[derive(Debug)]
struct Entries<T> {
    mark: Option<Mark>,
    by_digest: HashMap<String, T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries { mark: None, by_digest: HashMap::new() }))
    }
}

impl<T: Clone> Remembered<T> {
    /// What was found at `mark`.
    pub(crate) fn at(&self, mark: Option<Mark>, digest: &str) -> Option<T> {
        let entries = self.lock();
        (mark.is_some() && entries.mark == mark).then(|| entries.by_digest.get(digest).cloned()).flatten()
    }

    /// Keeps what was found by a look-up that began after `mark` was read.
    pub(crate) fn keep(&self, mark: Option<Mark>, digest: &str, found: T) {
        if mark.is_none() {
            return;
        }
        let mut entries = self.lock();
        if entries.mark != mark || entries.by_digest.len() == ENTRIES_MAX {
            entries.by_digest.clear();
            entries.mark = mark;
        }
        entries.by_digest.insert(digest.to_owned(), found);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
