//! One instance on its way in: from the first bytes of its data set to its place.
//!
//! Up to a mebibyte is gathered in a buffer that is used again, and written at once;
//! longer instances go through that buffer to a temporary file. Dropping an unfinished
//! instance leaves nothing behind.

use std::{io::Write, os::unix::fs::FileExt, sync::Arc};

use imaging::Header;

use crate::{
    config::Durability,
    digest::Digest,
    error::KeepError,
    head::Head,
    journal::{Draft, PAYLOAD_BYTES_MAX},
    layout::{Placed, Temporary},
    outcome::{Conflict, Disagreement, Fault, InstanceKey, Kept, Outcome, Same, Unusable},
    part10::{FileMeta, Seal, write_prologue},
    spool::Shared,
    stored::Stored,
};

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
        if self.filled == self.buffer.file().len() {
            self.spill()?;
        }
        Ok(&mut self.buffer.file_mut()[self.filled..])
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
            none => {
                self.spool.space.check()?;
                none.insert(self.spool.layout.new_temporary()?)
            }
        };
        file.file.write_all(&self.buffer.file()[..self.filled])?;
        self.filled = 0;
        self.hashed = 0;
        Ok(())
    }

    /// Ends the data set, judges it and puts it in its place.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing of it is.
    pub fn finish(mut self) -> Result<Outcome, KeepError> {
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
            Ok(header) => self.place(header, digest),
            Err(fault) => {
                let reason = fault.to_string();
                let quarantined = self.quarantine(&reason)?;
                Ok(Outcome::Unusable(Unusable { fault, quarantined }))
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

    fn place(mut self, header: Header, digest: Digest) -> Result<Outcome, KeepError> {
        let key = InstanceKey::of(&header);
        let target = self.spool.layout.instance(&key);
        loop {
            if let Some(stored) = Stored::open(&target)? {
                return self.meet(&stored, key, header, digest);
            }
            let receipt = if self.file_bytes <= PAYLOAD_BYTES_MAX as u64 && self.file.is_none() {
                self.note_with_payload(&key)?
            } else {
                self.note_without_payload(&key)?
            };
            let file = self.file.as_mut().expect("both kinds of note leave a file");
            match file.place(&target) {
                Ok(Placed::Here) => {
                    if self.flushes_itself() {
                        self.spool.layout.sync_folders(&target)?;
                    }
                    return Ok(Outcome::Kept(Kept {
                        key,
                        digest,
                        size_bytes: self.file_bytes,
                        header,
                        receipt,
                    }));
                }
                Ok(Placed::Occupied) => self.spool.journal.recorded(receipt),
                Err(error) => {
                    self.spool.journal.recorded(receipt);
                    return Err(error.into());
                }
            }
        }
    }

    fn flushes_itself(&self) -> bool {
        self.spool.durability == Durability::Power && self.file_bytes > PAYLOAD_BYTES_MAX as u64
    }

    /// A short instance: its bytes go to the journal, and unflushed to its file.
    fn note_with_payload(&mut self, key: &InstanceKey) -> Result<crate::Receipt, KeepError> {
        let receipt = self.spool.journal.note_file(key, &mut self.buffer, self.filled)?;
        match self.write_out() {
            Ok(()) => Ok(receipt),
            Err(error) => {
                self.spool.journal.recorded(receipt);
                Err(error)
            }
        }
    }

    /// A long instance, or one that was written already: it is flushed by itself and noted by key.
    fn note_without_payload(&mut self, key: &InstanceKey) -> Result<crate::Receipt, KeepError> {
        self.write_out()?;
        let file = self.file.as_ref().expect("written out");
        if self.spool.durability == Durability::Power {
            file.file.sync_all()?;
        }
        Ok(self.spool.journal.note_kept(key)?)
    }

    /// Makes sure that there is a temporary file with all bytes.
    fn write_out(&mut self) -> Result<(), KeepError> {
        if self.file.is_none() {
            let mut file = self.spool.layout.new_temporary()?;
            file.file.write_all(&self.buffer.file()[..self.filled])?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// There is an instance with this UID already.
    fn meet(
        mut self,
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

    fn quarantine(&mut self, reason: &str) -> Result<std::path::PathBuf, KeepError> {
        self.write_out()?;
        let file = self.file.take().expect("written out");
        Ok(self.spool.quarantine.admit(file, Some(&self.meta), reason)?)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.spool.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}
