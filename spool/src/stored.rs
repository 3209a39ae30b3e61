//! An instance that is in the spool: its seal, its head, its bytes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use imaging::Header;

use crate::{
    digest::Digest,
    error::ReadError,
    head::Head,
    outcome::Fault,
    part10::{FileMeta, Prologue, Seal},
};

#[derive(Debug)]
pub(crate) struct Stored {
    file: File,
    size_bytes: u64,
    prologue: Option<Prologue>,
}

/// Why the head of a stored instance cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error("the file is no whole instance")]
    NotWhole,
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

impl Stored {
    /// `None` when there is no such file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size_bytes = file.metadata()?.len();
        let mut front =
            vec![0; Prologue::OWN_BYTES_MAX.min(usize::try_from(size_bytes).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut front, 0)?;
        Ok(Some(Self { file, size_bytes, prologue: Prologue::parse(&front).ok() }))
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The seal, when the file has the length that it states.
    fn seal(&self) -> Option<Seal> {
        let prologue = self.prologue.as_ref()?;
        prologue.seal.filter(|seal| seal.dataset_bytes + prologue.dataset_offset as u64 == self.size_bytes)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.seal().is_some()
    }

    /// The digest that was sealed in; `None` when the file is not whole.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.seal().map(|seal| seal.digest)
    }

    /// What its file meta information says; `None` when that is damaged.
    pub(crate) fn file_meta(&self) -> Option<FileMeta> {
        let prologue = self.prologue.as_ref()?;
        Some(FileMeta {
            sop_class: prologue.sop_class.clone()?,
            sop_instance: prologue.sop_instance.clone()?,
            transfer_syntax: prologue.transfer_syntax.clone(),
            calling_ae_title: prologue.source_ae_title.clone(),
        })
    }

    /// The digest of what is there now, read through.
    pub(crate) fn compute_digest(&self) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        self.each_chunk(|chunk| {
            hasher.update(chunk);
            true
        })?;
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Compares what is there now with the seal.
    pub(crate) fn verify(&self) -> Result<(), ReadError> {
        let sealed = self.digest().ok_or(ReadError::Damaged)?;
        if self.compute_digest().map_err(ReadError::Io)? == sealed { Ok(()) } else { Err(ReadError::Damaged) }
    }

    /// The header facts, read through to the end of the head.
    pub(crate) fn header(&self) -> Result<Header, HeadError> {
        let prologue = self.prologue.as_ref().ok_or(HeadError::NotWhole)?;
        let mut head = Head::new(&prologue.transfer_syntax);
        self.each_chunk(|chunk| {
            head.push(chunk);
            !head.is_whole()
        })?;
        Ok(head.facts_so_far()?)
    }

    /// Hands out the data set in pieces for as long as `more` wants them.
    fn each_chunk(&self, mut more: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut at = self.prologue.as_ref().map_or(0, |prologue| prologue.dataset_offset as u64);
        let mut chunk = vec![0; 64 << 10];
        loop {
            let count = self.file.read_at(&mut chunk, at)?;
            if count == 0 || !more(&chunk[..count]) {
                return Ok(());
            }
            at += count as u64;
        }
    }

    /// The whole file, its data set checked against the seal.
    pub(crate) fn read(mut self) -> Result<Vec<u8>, ReadError> {
        let seal = self.seal().ok_or(ReadError::Damaged)?;
        let offset = self.prologue.as_ref().map_or(0, |prologue| prologue.dataset_offset);
        let mut bytes = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        self.file.read_to_end(&mut bytes).map_err(ReadError::Io)?;
        let whole = bytes.get(offset..).is_some_and(|dataset| Digest::of(dataset) == seal.digest);
        if whole { Ok(bytes) } else { Err(ReadError::Damaged) }
    }
}
