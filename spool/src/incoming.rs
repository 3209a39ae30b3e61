//! One instance on its way in: from the first bytes of its data set to its place.
//!
//! Up to a mebibyte is gathered in a buffer that is used again, and written at once;
//! longer instances go through that buffer to a temporary file. Dropping an unfinished
//! instance leaves nothing behind.

use std::{
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use imaging::Header;

use crate::{
    config::Durability,
    digest::Digest,
    error::{KeepError, ReadError},
    head::Head,
    journal::{Draft, PAYLOAD_BYTES_MAX, Receipt},
    layout::{Layout, Temporary},
    outcome::{Conflict, Disagreement, Fault, InstanceKey, Outcome, Same, Unusable},
    part10::{FileMeta, Seal, write_prologue},
    placing::{Claim, Ended, Noted},
    spool::Shared,
    stored::Stored,
};

/// What is in a file already goes on in pieces that stay in the processor's cache.
const STREAM_BYTES: usize = 256 << 10;
/// The digest takes bytes in pieces of this size, at which its parallel form is at its best.
const HASH_STEP: usize = 64 << 10;

#[derive(Debug)]
pub struct Incoming {
    spool: Arc<Shared>,
    meta: FileMeta,
    /// The file's bytes that are not in `file` yet are `buffer[..filled]`.
    buffer: Draft,
    filled: usize,
    /// Until where the bytes in `buffer` are in the digest, or belong to the prologue.
    hashed: usize,
    seal_at: usize,
    head: Head,
    dataset_bytes: u64,
    file_bytes: u64,
    file: Option<Temporary>,
    hasher: blake3::Hasher,
    /// Where the damaged file is now whose place it takes.
    damaged: Option<PathBuf>,
}

impl Incoming {
    pub(crate) fn new(spool: Arc<Shared>, meta: FileMeta) -> Self {
        let mut buffer = spool.buffers.take();
        let mut prologue = Vec::with_capacity(1024);
        let seal_at = write_prologue(&meta, &mut prologue);
        buffer.file_mut()[..prologue.len()].copy_from_slice(&prologue);
        Self {
            head: Head::new(&meta.transfer_syntax),
            spool,
            meta,
            buffer,
            filled: prologue.len(),
            hashed: prologue.len(),
            seal_at,
            dataset_bytes: 0,
            file_bytes: prologue.len() as u64,
            file: None,
            hasher: blake3::Hasher::new(),
            damaged: None,
        }
    }

    /// Bytes of data set received so far.
    pub fn dataset_bytes(&self) -> u64 {
        self.dataset_bytes
    }

    /// Takes the next bytes of the data set.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), KeepError> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Where the next bytes of the data set can be put, at least one; then call [`Incoming::advance`].
    ///
    /// # Errors
    /// When room must be made and cannot be.
    pub fn room(&mut self) -> Result<&mut [u8], KeepError> {
        if self.filled == self.limit() {
            self.spill()?;
        }
        let limit = self.limit();
        Ok(&mut self.buffer.file_mut()[self.filled..limit])
    }

    fn limit(&self) -> usize {
        match self.file {
            Some(_) => STREAM_BYTES,
            None => self.buffer.file().len(),
        }
    }

    /// Says that `count` bytes were put where [`Incoming::room`] said.
    pub fn advance(&mut self, count: usize) {
        let end = self.filled + count;
        self.head.push(&self.buffer.file()[self.filled..end]);
        self.filled = end;
        self.dataset_bytes += count as u64;
        self.file_bytes += count as u64;
        // While more comes, and while these bytes are in the processor's cache.
        self.hash(self.hashed + (end - self.hashed) / HASH_STEP * HASH_STEP);
    }

    fn hash(&mut self, end: usize) {
        self.hasher.update(&self.buffer.file()[self.hashed..end]);
        self.hashed = end;
    }

    fn spill(&mut self) -> Result<(), KeepError> {
        self.hash(self.filled);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.spool.layout.new_temporary()?),
        };
        self.spool.space.check()?;
        file.file.write_all(&self.buffer.file()[..self.filled])?;
        self.filled = 0;
        self.hashed = 0;
        Ok(())
    }

    /// Ends the data set, judges it and puts it in its place.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing of it is.
    pub fn finish(self) -> Result<Outcome, KeepError> {
        match self.end()? {
            Ended::Known(outcome) => Ok(*outcome),
            Ended::Noted(noted) => noted.place_or_withdraw(),
        }
    }

    /// Ends the data set and judges it. What is durable in the journal can be acknowledged before it is
    /// put in its place.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing of it is.
    pub fn end(mut self) -> Result<Ended, KeepError> {
        self.hash(self.filled);
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        let seal = Seal { dataset_bytes: self.dataset_bytes, digest }.encode();
        match &mut self.file {
            Some(file) => {
                file.file.write_all(&self.buffer.file()[..self.filled])?;
                file.file.write_all_at(&seal, self.seal_at as u64)?;
            }
            None => self.buffer.file_mut()[self.seal_at..][..seal.len()].copy_from_slice(&seal),
        }
        match self.judge() {
            Ok(header) => self.note(header, digest),
            Err(fault) => {
                let reason = fault.to_string();
                let quarantined = self.quarantine(&reason)?;
                Ok(Ended::Known(Box::new(Outcome::Unusable(Unusable { fault, quarantined }))))
            }
        }
    }

    fn judge(&mut self) -> Result<Header, Fault> {
        if self.head.sop_class().is_some_and(|class| class != self.meta.sop_class.as_str()) {
            return Err(Fault::Disagrees(Disagreement::SopClass));
        }
        if self.head.sop_instance().is_some_and(|instance| instance != self.meta.sop_instance.as_str()) {
            return Err(Fault::Disagrees(Disagreement::SopInstance));
        }
        self.head.facts()
    }

    fn note(mut self, header: Header, digest: Digest) -> Result<Ended, KeepError> {
        let claim = Claim::take(&self.spool, InstanceKey::of(&header));
        let target = self.spool.layout.instance(claim.key());
        if let Some(stored) = self.sound(&claim, &target, digest)? {
            return self
                .meet(&stored, claim.key().clone(), header, digest)
                .map(|outcome| Ended::Known(Box::new(outcome)));
        }
        let is_in_journal = self.file.is_none() && self.file_bytes <= PAYLOAD_BYTES_MAX as u64;
        let receipt = match is_in_journal {
            true => self.spool.journal.note_file(claim.key(), &mut self.buffer, self.filled)?,
            false => self.note_long(claim.key())?,
        };
        let may_wait = is_in_journal && self.spool.durability == Durability::Power;
        let noted = Noted { incoming: self, target, header, digest, receipt, claim };
        match may_wait {
            true => Ok(Ended::Noted(Box::new(noted))),
            false => noted.place_or_withdraw().map(|outcome| Ended::Known(Box::new(outcome))),
        }
    }

    /// What is in service under the claimed UID. What the disk has damaged gives way to what comes now: that it
    /// was the same cannot be told any more, and the ledger compares the digests.
    fn sound(&mut self, claim: &Claim, target: &Path, digest: Digest) -> Result<Option<Stored>, KeepError> {
        let Some(stored) = Stored::open(target)? else { return Ok(None) };
        // Read through only where the answer would be that it is there already.
        let is_sound = match stored.digest() {
            Some(first) if first == digest => !matches!(stored.verify(), Err(ReadError::Damaged)),
            first => first.is_some(),
        };
        if is_sound {
            return Ok(Some(stored));
        }
        tracing::error!(sop_instance.uid = %claim.key().sop_instance, "a damaged file gives way to what was sent again");
        self.damaged = self.spool.set_aside(claim, "the disk has damaged it; it was sent again")?;
        Ok(None)
    }

    /// A long instance is flushed by itself and noted by key.
    fn note_long(&mut self, key: &InstanceKey) -> Result<Receipt, KeepError> {
        let is_flushed = self.flushes_itself();
        let file = self.file(Layout::new_temporary)?;
        if is_flushed {
            file.file.sync_all()?;
        }
        Ok(self.spool.journal.note_kept(key)?)
    }

    pub(crate) fn flushes_itself(&self) -> bool {
        let is_long = self.file_bytes > PAYLOAD_BYTES_MAX as u64;
        is_long && self.spool.durability == Durability::Power
    }

    pub(crate) fn take_damaged(&mut self) -> Option<PathBuf> {
        self.damaged.take()
    }

    pub(crate) fn spool(&self) -> &Arc<Shared> {
        &self.spool
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The temporary file with all bytes; it is made by `make` if there is none yet.
    pub(crate) fn file(
        &mut self,
        make: impl FnOnce(&Layout) -> io::Result<Temporary>,
    ) -> io::Result<&mut Temporary> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let mut file = make(&self.spool.layout)?;
                file.file.write_all(&self.buffer.file()[..self.filled])?;
                Ok(none.insert(file))
            }
        }
    }

    /// There is an instance with this UID already.
    pub(crate) fn meet(
        &mut self,
        stored: &Stored,
        key: InstanceKey,
        second: Header,
        digest: Digest,
    ) -> Result<Outcome, KeepError> {
        match stored.digest() {
            Some(first) if first == digest => {
                let size_bytes = stored.size_bytes();
                Ok(Outcome::Same(Same { key, digest, size_bytes, header: second }))
            }
            first => {
                let first_digest = match first {
                    Some(digest) => digest,
                    None => stored.compute_digest()?,
                };
                let first = stored.header().ok();
                let quarantined =
                    self.quarantine("another data set with this SOP Instance UID is kept already")?;
                Ok(Outcome::Conflict(Box::new(Conflict {
                    key,
                    first,
                    first_digest,
                    second,
                    second_digest: digest,
                    quarantined,
                })))
            }
        }
    }

    fn quarantine(&mut self, reason: &str) -> Result<PathBuf, KeepError> {
        self.file(Layout::new_temporary)?;
        let file = self.file.take().expect("it was made just now");
        Ok(self.spool.quarantine.admit(file, Some(&self.meta), reason)?)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.spool.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}
