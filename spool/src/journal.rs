//! The intake journal: what makes an answer both quick and safe.
//!
//! Every instance is noted here before it is acknowledged. Under power durability the
//! note holds the instance's bytes, and one flush of the journal serves all associations
//! that wait at that moment; the instance's own file is written without a flush and gets
//! to the disk later, with everything else, by one `syncfs` a segment. Under process
//! durability the note is the key alone and nothing is flushed.
//!
//! A segment is used again when its files are on the disk *and* the ledger has recorded its
//! instances. So after a crash the segments name every instance that the ledger may lack,
//! and hold every file that the disk may lack: the start is bounded by their size
//! (at most [`RETIRED_MAX`] + 2 segments), not by the spool's.
//!
//! Instances longer than [`PAYLOAD_BYTES_MAX`] are flushed by themselves and noted by key.

mod flush;
mod segment;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use segment::{Kind, Leftover, Segment};

use crate::{config::Durability, outcome::InstanceKey};

/// Longer files do not go through the journal.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Segments that wait for the disk or the ledger; beyond that, intake waits.
const RETIRED_MAX: usize = 3;
/// How long intake waits for a segment before it gives up on an instance.
const SEGMENT_WAIT: Duration = Duration::from_secs(30);
const POWER_SEGMENT_BYTES: u64 = 64 << 20;
const PROCESS_SEGMENT_BYTES: u64 = 4 << 20;
const PAGE_BYTES: u64 = 4096;
const NOTE_BYTES: u64 = 512;

/// Proof that an instance is in the journal until the ledger has it.
#[derive(Debug)]
#[must_use = "the journal keeps the instance's note until the receipt is given back"]
pub struct Receipt(Option<Arc<Segment>>);

impl Receipt {
    /// For an instance whose row is the caller's own business.
    pub(crate) fn settled() -> Self {
        Self(None)
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    durability: Durability,
    segment_bytes: u64,
    sequence: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    active: Arc<Segment>,
    next_offset: u64,
    generation: u64,
    retired: VecDeque<Arc<Segment>>,
    /// Set when the disk refused a flush or a segment: nothing can be promised any more.
    failure: Option<io::ErrorKind>,
    closed: bool,
}

impl Journal {
    /// Starts an empty journal in `folder`, beside what [`read_leftovers`] found there.
    pub(crate) fn start(
        folder: &Path,
        durability: Durability,
        segment_bytes: Option<u64>,
        after: &Leftovers,
    ) -> io::Result<Self> {
        let segment_bytes = segment_bytes.unwrap_or(match durability {
            Durability::Power => POWER_SEGMENT_BYTES,
            Durability::Process => PROCESS_SEGMENT_BYTES,
        });
        let generation = after.generation + 1;
        let written_ahead = if durability == Durability::Power { segment_bytes } else { 0 };
        let active = Segment::create(folder, generation, written_ahead)?;
        Ok(Self {
            folder: folder.to_owned(),
            durability,
            segment_bytes,
            sequence: AtomicU64::new(after.sequence + 1),
            state: Mutex::new(State {
                active: Arc::new(active),
                next_offset: Segment::first_offset(),
                generation,
                retired: VecDeque::new(),
                failure: None,
                closed: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// Notes that `key` is kept; `payload` is its file, or empty when the file is safe already.
    ///
    /// # Errors
    /// When the disk fails, or no segment came free in time because disk or ledger lag behind.
    pub(crate) fn note_kept(&self, key: &InstanceKey, payload: &[u8]) -> io::Result<Receipt> {
        let (segment, offset) = self.reserve(payload)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        // The receipt exists before the note: whatever happens, the count goes down again with it.
        let receipt = Receipt(Some(segment.clone()));
        match segment.write(offset, sequence, Kind::Kept, key, payload) {
            Ok(()) => Ok(receipt),
            Err(error) => {
                self.recorded(receipt);
                Err(error)
            }
        }
    }

    /// Notes that `key` is no longer kept, so that a replay does not bring it back.
    pub(crate) fn note_deleted(&self, key: &InstanceKey) -> io::Result<()> {
        let (segment, offset) = self.reserve(&[])?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let written = segment.write(offset, sequence, Kind::Deleted, key, &[]);
        self.recorded(Receipt(Some(segment)));
        written
    }

    /// Returns when the note is on the disk. Only power durability needs it.
    pub(crate) fn flush(&self, receipt: &Receipt) -> io::Result<()> {
        let Some(segment) = &receipt.0 else { return Ok(()) };
        let flushed = segment.flush();
        if let Err(error) = &flushed {
            self.lock().failure = Some(error.kind());
        }
        flushed
    }

    /// Gives back the receipt of an instance that the ledger has, or that was not kept after all.
    pub(crate) fn recorded(&self, receipt: Receipt) {
        let Some(segment) = receipt.0 else { return };
        if segment.unrecorded.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(segment);
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    fn reserve(&self, payload: &[u8]) -> io::Result<(Arc<Segment>, u64)> {
        let align = if self.durability == Durability::Power { PAGE_BYTES } else { NOTE_BYTES };
        let bytes = Segment::record_bytes(payload).next_multiple_of(align);
        let deadline = Instant::now() + SEGMENT_WAIT;
        let mut state = self.lock();
        loop {
            if let Some(kind) = state.failure {
                return Err(kind.into());
            }
            if state.next_offset + bytes <= self.segment_bytes {
                let offset = state.next_offset;
                state.next_offset += bytes;
                state.active.unrecorded.fetch_add(1, Ordering::AcqRel);
                return Ok((state.active.clone(), offset));
            }
            if self.advance(&mut state)? {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no segment of the intake journal came free",
                ));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts a fresh segment in the place of the full one; false when all are still needed.
    fn advance(&self, state: &mut State) -> io::Result<bool> {
        let done =
            state.retired.iter().position(|segment| segment.is_done() && Arc::strong_count(segment) == 1);
        if done.is_none() && state.retired.len() >= RETIRED_MAX {
            return Ok(false);
        }
        let generation = state.generation + 1;
        let fresh = match done.and_then(|at| state.retired.remove(at)).and_then(Arc::into_inner) {
            Some(segment) => segment.reuse(&self.folder, generation),
            None => {
                let written_ahead = if self.durability == Durability::Power { self.segment_bytes } else { 0 };
                Segment::create(&self.folder, generation, written_ahead)
            }
        }?;
        state.generation = generation;
        let full = std::mem::replace(&mut state.active, Arc::new(fresh));
        state.next_offset = Segment::first_offset();
        state.retired.push_back(full);
        self.changed.notify_all();
        Ok(true)
    }

    /// Brings the files of full segments to the disk, until the journal is closed. Runs on a thread of its own.
    pub(crate) fn keep_syncing(&self, spool_root: &File) {
        let mut state = self.lock();
        while !state.closed {
            let waiting: Vec<_> = state
                .retired
                .iter()
                .filter(|segment| !segment.synced.load(Ordering::Acquire))
                .cloned()
                .collect();
            if waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let synced = self.bring_to_disk(spool_root, &waiting);
            drop(waiting);
            state = self.lock();
            if let Err(error) = synced {
                tracing::error!(error = %error, "the spool cannot be brought to the disk; nothing more is accepted");
                state.failure = Some(error.kind());
            }
            self.changed.notify_all();
        }
    }

    fn bring_to_disk(&self, spool_root: &File, segments: &[Arc<Segment>]) -> io::Result<()> {
        // A note's writer renames its file after the note: wait until nobody is in between.
        for segment in segments {
            self.wait_until_settled(segment);
        }
        if self.durability == Durability::Power {
            rustix::fs::syncfs(spool_root)?;
        }
        for segment in segments {
            segment.synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Waits until the ledger has all instances of `segment`, which it gets after their files are in place.
    fn wait_until_settled(&self, segment: &Segment) {
        let mut state = self.lock();
        while segment.unrecorded.load(Ordering::Acquire) > 0 && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the syncing thread. When the ledger has everything, the next start has nothing to replay.
    pub(crate) fn close(&self, spool_root: &File) {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        let segments: Vec<_> = std::iter::once(&state.active).chain(&state.retired).cloned().collect();
        drop(state);
        if segments.iter().any(|segment| segment.unrecorded.load(Ordering::Acquire) > 0) {
            return;
        }
        if self.durability == Durability::Power && rustix::fs::syncfs(spool_root).is_err() {
            return;
        }
        for segment in segments {
            if let Err(error) = std::fs::remove_file(segment.path()) {
                tracing::warn!(error = %error, "a segment of the intake journal stays; it will be replayed");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an earlier process has left in the journal's folder.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    generation: u64,
    sequence: u64,
    files: Vec<PathBuf>,
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
            leftovers.files.push(path.clone());
            let Some(segment) = Leftover::open(&path)? else { continue };
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

    /// Removes the segments: the files are on the disk and the ledger has their rows.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        for path in self.files.drain(..) {
            tracing::debug!(path = %path.display(), "removing a replayed segment of the intake journal");
            std::fs::remove_file(&path)?;
        }
        self.kept.clear();
        Ok(())
    }
}

/// Starts the thread that brings full segments' files to the disk.
pub(crate) fn spawn_syncing(journal: Arc<Journal>, spool_root: File) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("spool-sync".to_owned()).spawn(move || journal.keep_syncing(&spool_root))
}
