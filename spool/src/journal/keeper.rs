//! The journal's own thread: makes segments ready before they are needed, and brings files to the disk.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
};

use super::{Journal, State, is_full, segment::Segment};
use crate::config::Durability;

/// Segments that intake has while those of a process that died are not free yet.
const SEGMENTS_MEANWHILE: usize = 3;
/// Beyond these a segment is made only where there is plenty of room.
const SEGMENTS_NEEDED: usize = 2;
const PLENTY: u64 = 4;

/// What the thread does next.
#[derive(Debug)]
enum Chore {
    Create {
        generation: u64,
    },
    Reuse {
        segment: Segment,
        generation: u64,
    },
    /// A file that an earlier process has laid out is taken into use.
    Adopt {
        path: PathBuf,
        generation: u64,
    },
    Discard(PathBuf),
    /// The files of these are to be brought to the disk.
    Sync(Vec<Arc<Segment>>),
}

impl State {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn made(&self) -> usize {
        self.retired.len() + usize::from(self.active.is_some()) + self.ready.len()
    }

    fn next_chore(&mut self, durability: Durability) -> Option<Chore> {
        // In their order: a note of a deletion must outlive what it takes back.
        let oldest = self.retired.front();
        if oldest.is_some_and(|oldest| oldest.is_done() && Arc::strong_count(oldest) == 1)
            && let Some(segment) = self.retired.pop_front().and_then(Arc::into_inner)
        {
            return Some(Chore::Reuse { segment, generation: self.next_generation() });
        }
        if let Some(path) = self.free.pop() {
            return Some(match self.made() < self.segments_max {
                true => Chore::Adopt { path, generation: self.next_generation() },
                false => Chore::Discard(path),
            });
        }
        let wanted = self.segments_max.saturating_sub(self.held).max(SEGMENTS_MEANWHILE);
        if self.made() < wanted.min(self.segments_max) {
            return Some(Chore::Create { generation: self.next_generation() });
        }
        self.files_to_sync(durability).map(Chore::Sync)
    }

    /// Left for later while there are segments enough: a study comes in at the journal's pace, with the disk to
    /// itself, and what is left unflushed is in the journal.
    fn files_to_sync(&self, durability: Durability) -> Option<Vec<Arc<Segment>>> {
        if durability == Durability::Power && self.ready.len() > self.segments_max / 4 {
            return None;
        }
        let settled = |segment: &&Arc<Segment>| {
            !segment.synced.load(Ordering::Acquire) && segment.unrecorded.load(Ordering::Acquire) == 0
        };
        let settled: Vec<_> = self.retired.iter().filter(settled).cloned().collect();
        (!settled.is_empty()).then_some(settled)
    }
}

impl Journal {
    /// Works until the journal is closed.
    fn keep(&self, spool_root: &File) {
        let mut state = self.lock();
        while !state.closed {
            let Some(chore) = state.next_chore(self.durability) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            self.do_chore(chore, spool_root);
            state = self.lock();
            self.changed.notify_all();
        }
    }

    fn do_chore(&self, chore: Chore, spool_root: &File) {
        let made = match chore {
            Chore::Create { generation } => self.create(generation),
            Chore::Reuse { segment, generation } => segment.reuse(generation).map(Some),
            Chore::Adopt { path, generation } => Segment::adopt(path, generation).map(Some),
            Chore::Discard(path) => std::fs::remove_file(path).map(|()| None),
            Chore::Sync(segments) => self.bring_to_disk(spool_root, &segments).map(|()| None),
        };
        match made {
            Ok(None) => {}
            Ok(Some(segment)) => self.lock().ready.push(segment),
            Err(error) => {
                tracing::error!(error = %error, "the disk fails the intake journal; nothing more is accepted");
                self.lock().failure = Some(error.kind());
            }
        }
    }

    /// Makes one more segment where that leaves room; without, intake goes round with those that there are.
    pub(super) fn create(&self, generation: u64) -> io::Result<Option<Segment>> {
        let plenty = if self.lock().made() < SEGMENTS_NEEDED { 1 } else { PLENTY };
        let made = match self.space.has(self.segment_bytes * plenty)? {
            true => Segment::create(&self.folder, generation, self.durability, self.segment_bytes),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        match made {
            Err(error) if is_full(error.kind()) => {
                let mut state = self.lock();
                state.segments_max = state.made();
                tracing::warn!(
                    segments = state.segments_max,
                    "there is no room for another segment of the intake journal"
                );
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The ledger has all instances of `segments`, which it gets after their files are in place.
    fn bring_to_disk(&self, spool_root: &File, segments: &[Arc<Segment>]) -> io::Result<()> {
        if self.durability == Durability::Power {
            rustix::fs::syncfs(spool_root)?;
        }
        for segment in segments {
            segment.synced.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Starts the thread.
pub(crate) fn spawn_keeper(journal: Arc<Journal>, spool_root: File) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("spool-journal".to_owned()).spawn(move || journal.keep(&spool_root))
}
