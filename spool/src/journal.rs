//! The intake journal: what makes an answer both quick and safe.
//!
//! Every instance is noted here before it is acknowledged. Under power durability the
//! note holds the instance's bytes and is on the disk when its one write returns: no flush,
//! no new block, no copy in the page cache, and associations do not wait for each other. The
//! instance's own file is written without a flush and gets to the disk later, with
//! everything else, by one `syncfs` a segment. Under process durability the note is the key
//! alone and nothing is flushed.
//!
//! A segment is used again when its files are on the disk *and* the ledger has recorded its
//! instances. So after a crash the segments name every instance that the ledger may lack,
//! and hold every file that the disk may lack: the start is bounded by their size
//! (at most [`SEGMENTS_MAX`]), not by the spool's.
//!
//! A thread of its own does what takes long: it makes segments ready before they are
//! needed and brings files to the disk. Intake waits for it only when it is far behind.
//!
//! Instances longer than [`PAYLOAD_BYTES_MAX`] are flushed by themselves and noted by key.

mod pages;
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

pub(crate) use segment::{Draft, PAYLOAD_BYTES_MAX};
use segment::{Kind, Leftover, Note, Segment};

use crate::{config::Durability, outcome::InstanceKey, space::Space};

/// Segments on the disk: the one in use, the one that waits for the disk or the ledger, and the one
/// that is ready. When none is ready, intake waits.
const SEGMENTS_MAX: usize = 3;
/// How long intake waits for a segment before it gives up on an instance.
const SEGMENT_WAIT: Duration = Duration::from_secs(30);
/// Large, so that a study comes in at the journal's pace and its files follow at the disk's.
const POWER_SEGMENT_BYTES: u64 = 128 << 20;
const PROCESS_SEGMENT_BYTES: u64 = 4 << 20;

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
    space: Space,
    segment_bytes: u64,
    sequence: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` while all wait for the disk or the ledger.
    active: Option<Arc<Segment>>,
    next_offset: u64,
    generation: u64,
    retired: VecDeque<Arc<Segment>>,
    /// Takes the place of the active one when that is full.
    ready: Option<Segment>,
    /// So many segments there may be: fewer than usual where there is no room for more.
    segments_max: usize,
    /// Set when the disk refused what was to be durable: nothing can be promised any more.
    failure: Option<io::ErrorKind>,
    closed: bool,
}

/// What the journal's own thread does next.
#[derive(Debug)]
enum Chore {
    Create {
        generation: u64,
    },
    Reuse {
        segment: Segment,
        generation: u64,
    },
    /// The files of the oldest full segment are to be brought to the disk.
    Sync(Arc<Segment>),
}

impl State {
    fn next_chore(&mut self) -> Option<Chore> {
        if self.ready.is_none() {
            let done = self
                .retired
                .iter()
                .position(|segment| segment.is_done() && Arc::strong_count(segment) == 1)
                .and_then(|at| self.retired.remove(at))
                .and_then(Arc::into_inner);
            let may_create = self.retired.len() + usize::from(self.active.is_some()) < self.segments_max;
            if done.is_some() || may_create {
                self.generation += 1;
                let generation = self.generation;
                return Some(match done {
                    Some(segment) => Chore::Reuse { segment, generation },
                    None => Chore::Create { generation },
                });
            }
        }
        let settled = |segment: &&Arc<Segment>| {
            !segment.synced.load(Ordering::Acquire) && segment.unrecorded.load(Ordering::Acquire) == 0
        };
        self.retired.iter().find(settled).cloned().map(Chore::Sync)
    }
}

impl Journal {
    /// Starts an empty journal in `folder`, beside what [`Leftovers::read`] found there.
    pub(crate) fn start(
        folder: &Path,
        durability: Durability,
        space: Space,
        segment_bytes: Option<u64>,
        after: &Leftovers,
    ) -> io::Result<Self> {
        let segment_bytes = segment_bytes.unwrap_or(match durability {
            Durability::Power => POWER_SEGMENT_BYTES,
            Durability::Process => PROCESS_SEGMENT_BYTES,
        });
        let generation = after.generation + 1;
        let journal = Self {
            folder: folder.to_owned(),
            durability,
            space,
            segment_bytes,
            sequence: AtomicU64::new(after.sequence + 1),
            state: Mutex::new(State {
                active: None,
                next_offset: Segment::first_offset(),
                generation,
                retired: VecDeque::new(),
                ready: None,
                segments_max: SEGMENTS_MAX,
                failure: None,
                closed: false,
            }),
            changed: Condvar::new(),
        };
        // On a full disk the service starts, too: it has results to hand out, and takes nothing in.
        let first = journal.create(generation)?;
        journal.lock().active = first.map(Arc::new);
        Ok(journal)
    }

    /// Notes that `key` is kept. `length` bytes of the draft are its file, which under power
    /// durability are on the disk when this returns.
    ///
    /// # Errors
    /// When the disk fails, or no segment came free in time because disk or ledger lag behind.
    pub(crate) fn note_file(
        &self,
        key: &InstanceKey,
        draft: &mut Draft,
        length: usize,
    ) -> io::Result<Receipt> {
        match self.durability {
            Durability::Process => self.note_kept(key),
            Durability::Power => {
                self.note(Segment::bytes_with(length), Kind::Kept, key, |segment, offset, note| {
                    segment.write_file(offset, note, draft, length)
                })
            }
        }
    }

    /// Notes that `key` is kept, its file being as durable as it must be already.
    ///
    /// # Errors
    /// As [`Journal::note_file`].
    pub(crate) fn note_kept(&self, key: &InstanceKey) -> io::Result<Receipt> {
        self.note_key(Kind::Kept, key)
    }

    /// Notes that `key` is no longer kept, so that a replay does not bring it back.
    pub(crate) fn note_deleted(&self, key: &InstanceKey) -> io::Result<()> {
        let receipt = self.note_key(Kind::Deleted, key)?;
        self.recorded(receipt);
        Ok(())
    }

    fn note_key(&self, kind: Kind, key: &InstanceKey) -> io::Result<Receipt> {
        self.note(Segment::bytes_of_key(self.durability), kind, key, |segment, offset, note| {
            segment.write_key(offset, note, self.durability)
        })
    }

    fn note(
        &self,
        bytes: u64,
        kind: Kind,
        key: &InstanceKey,
        write: impl FnOnce(&Segment, u64, &Note<'_>) -> io::Result<()>,
    ) -> io::Result<Receipt> {
        let (segment, offset) = self.reserve(bytes)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        // The receipt exists before the note: whatever happens, the count goes down again with it.
        let receipt = Receipt(Some(segment.clone()));
        match write(&segment, offset, &Note { sequence, kind, key }) {
            Ok(()) => Ok(receipt),
            Err(error) => {
                self.recorded(receipt);
                if self.durability == Durability::Power {
                    // After a failed write nobody knows what of the segment the disk has.
                    self.lock().failure = Some(error.kind());
                }
                Err(error)
            }
        }
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

    fn reserve(&self, bytes: u64) -> io::Result<(Arc<Segment>, u64)> {
        let deadline = Instant::now() + SEGMENT_WAIT;
        let mut state = self.lock();
        if state.segments_max == 0 {
            // There was no room for a single one; there may be now.
            state.segments_max = 1;
            self.changed.notify_all();
        }
        loop {
            if let Some(kind) = state.failure {
                return Err(kind.into());
            }
            if let Some(active) = &state.active
                && state.next_offset + bytes <= self.segment_bytes
            {
                let (segment, offset) = (active.clone(), state.next_offset);
                segment.unrecorded.fetch_add(1, Ordering::AcqRel);
                state.next_offset += bytes;
                return Ok((segment, offset));
            }
            if let Some(full) = state.active.take() {
                state.retired.push_back(full);
                self.changed.notify_all();
            }
            if let Some(fresh) = state.ready.take() {
                state.active = Some(Arc::new(fresh));
                state.next_offset = Segment::first_offset();
                self.changed.notify_all();
                continue;
            }
            if state.segments_max == 0 {
                return Err(io::ErrorKind::StorageFull.into());
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

    /// Makes segments ready and brings the files of full ones to the disk, until the journal is
    /// closed. Runs on a thread of its own.
    pub(crate) fn keep_ready(&self, spool_root: &File) {
        let mut state = self.lock();
        while !state.closed {
            let Some(chore) = state.next_chore() else {
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
            Chore::Sync(segment) => self.bring_to_disk(spool_root, &segment).map(|()| None),
        };
        match made {
            Ok(None) => {}
            Ok(Some(segment)) => self.lock().ready = Some(segment),
            Err(error) => {
                tracing::error!(error = %error, "the disk fails the intake journal; nothing more is accepted");
                self.lock().failure = Some(error.kind());
            }
        }
    }

    /// Makes one more segment where that leaves room; without, intake goes round with those that there are.
    fn create(&self, generation: u64) -> io::Result<Option<Segment>> {
        let made = match self.space.has(self.segment_bytes)? {
            true => Segment::create(&self.folder, generation, self.durability, self.segment_bytes),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        match made {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                let mut state = self.lock();
                state.segments_max = state.retired.len() + usize::from(state.active.is_some());
                tracing::warn!(
                    segments = state.segments_max,
                    "there is no room for another segment of the intake journal"
                );
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The ledger has all instances of `segment`, which it gets after their files are in place.
    fn bring_to_disk(&self, spool_root: &File, segment: &Segment) -> io::Result<()> {
        if self.durability == Durability::Power {
            rustix::fs::syncfs(spool_root)?;
        }
        segment.synced.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends the journal's thread, which is to be joined then.
    pub(crate) fn stop(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Removes the segments when the ledger has everything: the next start has nothing to replay.
    pub(crate) fn close(&self, spool_root: &File) {
        let state = self.lock();
        let segments = || state.active.iter().chain(&state.retired).map(Arc::as_ref);
        if segments().any(|segment| segment.unrecorded.load(Ordering::Acquire) > 0) {
            return;
        }
        if self.durability == Durability::Power && rustix::fs::syncfs(spool_root).is_err() {
            return;
        }
        for segment in segments().chain(&state.ready) {
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
            // A segment whose making was cut short has its number in its name alone.
            leftovers.generation = leftovers.generation.max(segment::generation_in_name(&path));
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

/// Starts the journal's own thread.
pub(crate) fn spawn_keeper(journal: Arc<Journal>, spool_root: File) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("spool-journal".to_owned()).spawn(move || journal.keep_ready(&spool_root))
}
