//! Between service and quarantine: what turns out to be unusable, and conflicts that were decided.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::Durability,
    outcome::{Conflict, InstanceKey, Replaced},
    placing::Claim,
    spool::{Shared, Spool},
    stored::{HeadError, Stored},
    walk::{Found, found},
};

impl Spool {
    /// The files in quarantine, in no order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn quarantined(&self) -> io::Result<Vec<PathBuf>> {
        self.0.quarantine.files()
    }

    /// What is known of a file in quarantine, from itself alone.
    ///
    /// # Errors
    /// When it is no instance that can be read.
    pub fn find_quarantined(&self, path: &Path) -> Result<Found, HeadError> {
        found(path)
    }

    /// Takes an instance that cannot be used after all out of service; its path in quarantine, or `None`
    /// when it is not there. Killed within, it is in both places, never in none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_aside(&self, key: &InstanceKey, reason: &str) -> io::Result<Option<PathBuf>> {
        self.0.set_aside(&Claim::take(&self.0, key.clone()), reason)
    }

    /// Puts the second data set of a conflict into service, and the first into quarantine. Killed within, one
    /// of them is in service and both are kept; afterwards that is as durable as configured.
    ///
    /// # Errors
    /// When the disk refuses, or one of the two is gone or damaged.
    pub fn replace(&self, conflict: &Conflict) -> io::Result<Replaced> {
        const REASON: &str = "another data set with this SOP Instance UID has taken its place";
        let claim = Claim::take(&self.0, conflict.key.clone());
        let path = self.path_of(claim.key());
        let (first, second) = (Stored::open(&path)?, Stored::open(&conflict.quarantined)?);
        let (Some(first), Some(second)) = (first, second.filter(Stored::is_whole)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let meta = first.file_meta().ok_or(io::ErrorKind::InvalidData)?;
        let quarantined = self.0.quarantine.admit(self.0.layout.new_link(&path)?, Some(&meta), REASON)?;
        let receipt = self.0.journal.note_kept(&conflict.key)?;
        match self.put_in_place(&conflict.quarantined, &path) {
            Ok(()) => {
                Ok(Replaced { quarantined, size_bytes: second.size_bytes(), receipt: receipt.in_place() })
            }
            Err(error) => {
                receipt.give_back();
                Err(error)
            }
        }
    }

    /// Moves a file out of quarantine, where it was flushed, to `path`, whatever is there.
    fn put_in_place(&self, quarantined: &Path, path: &Path) -> io::Result<()> {
        fs::rename(quarantined, path)?;
        if self.0.durability == Durability::Power {
            self.0.layout.sync_folders(path)?;
        }
        fs::remove_file(quarantined.with_extension("json"))
    }
}

impl Shared {
    /// Takes the claimed instance out of service; its path in quarantine, or `None` when it is not there.
    pub(crate) fn set_aside(&self, claim: &Claim, reason: &str) -> io::Result<Option<PathBuf>> {
        let path = self.layout.instance(claim.key());
        let Some(stored) = Stored::open(&path)? else { return Ok(None) };
        let meta = stored.file_meta();
        let quarantined = self.quarantine.admit(self.layout.new_link(&path)?, meta.as_ref(), reason)?;
        self.delete(claim)?;
        Ok(Some(quarantined))
    }
}
