//! From the journal to the instance's place in the folders.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use imaging::Header;

use crate::{
    digest::Digest,
    error::KeepError,
    incoming::Incoming,
    journal::Receipt,
    layout::Placed,
    outcome::{InstanceKey, Kept, Outcome},
    spool::Shared,
    stored::Stored,
};

/// What has become of an instance when its data set has ended.
#[derive(Debug)]
pub enum Ended {
    Known(Box<Outcome>),
    /// It is kept as durably as configured, in the journal: it may be acknowledged, then comes [`Noted::place`].
    Noted(Box<Noted>),
}

/// An instance that the journal has. Dropped, it is put in its place by the next start.
#[derive(Debug)]
#[must_use = "nobody finds the instance until it is in its place"]
pub struct Noted {
    pub(crate) incoming: Incoming,
    pub(crate) target: PathBuf,
    pub(crate) header: Header,
    pub(crate) digest: Digest,
    pub(crate) receipt: Receipt,
    pub(crate) claim: Claim,
}

/// The disk does not take the file for now; the journal still has it.
#[derive(Debug, thiserror::Error)]
#[error("the file of an instance cannot be put in its place; the intake journal has it")]
pub struct Unplaced {
    pub noted: Box<Noted>,
    pub source: KeepError,
}

impl Noted {
    /// Puts the file in its place.
    ///
    /// # Errors
    /// When the disk does not take it: try again, with what the error holds.
    pub fn place(mut self) -> Result<Outcome, Unplaced> {
        match self.try_place() {
            Ok(None) => Ok(Outcome::Kept(Kept {
                key: self.claim.key.clone(),
                digest: self.digest,
                size_bytes: self.incoming.file_bytes(),
                header: self.header,
                damaged: self.incoming.take_damaged(),
                receipt: self.receipt.in_place(),
            })),
            Ok(Some(met)) => {
                self.receipt.give_back();
                Ok(met)
            }
            Err(source) => Err(Unplaced { noted: Box::new(self), source }),
        }
    }

    /// The same for an instance that was not acknowledged: then the journal must not have it, either.
    pub(crate) fn place_or_withdraw(self) -> Result<Outcome, KeepError> {
        self.place().map_err(|unplaced| {
            unplaced.noted.receipt.give_back();
            unplaced.source
        })
    }

    /// What it met where somebody else has put another file there, past the claim.
    fn try_place(&mut self) -> Result<Option<Outcome>, KeepError> {
        let flushes_itself = self.incoming.flushes_itself();
        loop {
            let near = &self.target;
            let file = self.incoming.file(|layout| layout.new_near(near))?;
            if file.place(&self.target)? == Placed::Here {
                if flushes_itself {
                    // Its bytes are on the disk; not every file system brings the new name there with the folder.
                    let flushed = file.file.sync_all();
                    let layout = &self.incoming.spool().layout;
                    if let Err(error) = flushed.and_then(|()| layout.sync_folders(&self.target)) {
                        // Under its name it would be taken for kept when it comes again.
                        std::fs::remove_file(&self.target)?;
                        return Err(error.into());
                    }
                }
                return Ok(None);
            }
            if let Some(stored) = Stored::open(&self.target)? {
                let key = self.claim.key.clone();
                return self.incoming.meet(&stored, key, self.header.clone(), self.digest).map(Some);
            }
        }
    }
}

/// The instances that are on their way to their places: one of a UID at a time, so that a second one meets
/// the first, and is judged before it is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Placing {
    keys: Mutex<BTreeSet<InstanceKey>>,
    freed: Condvar,
}

impl Placing {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<InstanceKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to put an instance in its place.
#[derive(Debug)]
pub(crate) struct Claim {
    spool: Arc<Shared>,
    key: InstanceKey,
}

impl Claim {
    /// Waits for whoever has it.
    pub(crate) fn take(spool: &Arc<Shared>, key: InstanceKey) -> Self {
        let mut keys = spool.placing.keys();
        while !keys.insert(key.clone()) {
            keys = spool.placing.freed.wait(keys).unwrap_or_else(PoisonError::into_inner);
        }
        drop(keys);
        Self { spool: spool.clone(), key }
    }

    pub(crate) fn key(&self) -> &InstanceKey {
        &self.key
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.spool.placing.keys().remove(&self.key);
        self.spool.placing.freed.notify_all();
    }
}
