//! What an earlier process has left in the journal's folder.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::segment::{self, Kind, Leftover};
use crate::outcome::InstanceKey;

#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(super) generation: u64,
    pub(super) sequence: u64,
    /// Segments that may hold notes, with their generations.
    files: Vec<(u64, PathBuf)>,
    /// Segments that were left with nothing in them.
    free: Vec<PathBuf>,
    /// Kept according to the journal, and perhaps not recorded in the ledger.
    pub(crate) kept: Vec<InstanceKey>,
}

impl Leftovers {
    /// Reads the segments and hands each journalled file to `restore`, which writes it when it is missing.
    pub(crate) fn read(
        folder: &Path,
        mut restore: impl FnMut(&InstanceKey, &[u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut leftovers = Self::default();
        let mut latest = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // A segment whose making was cut short has its number in its name alone.
            let in_name = segment::generation_in_name(&path);
            leftovers.generation = leftovers.generation.max(in_name);
            if let Some(generation) = segment::generation_of_free(&path)? {
                leftovers.generation = leftovers.generation.max(generation);
                leftovers.free.push(path);
                continue;
            }
            let Some(segment) = Leftover::open(&path)? else {
                leftovers.files.push((in_name, path));
                continue;
            };
            leftovers.files.push((segment.generation, path));
            leftovers.generation = leftovers.generation.max(segment.generation);
            let segment = Arc::new(segment);
            for record in segment.records()? {
                leftovers.sequence = leftovers.sequence.max(record.sequence);
                let newer =
                    latest.get(&record.key).is_none_or(|(known, _): &(segment::Found, Arc<Leftover>)| {
                        known.sequence < record.sequence
                    });
                if newer {
                    latest.insert(record.key.clone(), (record, segment.clone()));
                }
            }
        }
        for (key, (record, segment)) in latest {
            if record.kind == Kind::Deleted {
                continue;
            }
            if !record.payload.is_empty() {
                restore(&key, &segment.payload(&record)?)?;
            }
            leftovers.kept.push(key);
        }
        Ok(leftovers)
    }

    /// Segments that will be free when the ledger has what they name.
    pub(super) fn held(&self) -> usize {
        self.files.len()
    }

    /// Frees the segments: the files are on the disk and the ledger has their rows. Gives those that were
    /// written ahead to `room` bytes and can be used again; the others are removed. The oldest first: a note of
    /// a deletion must outlive what it takes back.
    pub(super) fn release(&mut self, room: Option<u64>) -> io::Result<Vec<PathBuf>> {
        self.kept.clear();
        let mut usable = Vec::new();
        self.files.sort();
        for path in self.files.drain(..).map(|(_, path)| path).chain(self.free.drain(..)) {
            tracing::debug!(path = %path.display(), "freeing a segment of the intake journal");
            if room == Some(std::fs::metadata(&path)?.len()) {
                segment::set_free(&path)?;
                usable.push(path);
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(usable)
    }
}
