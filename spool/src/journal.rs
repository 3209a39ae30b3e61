//! The intake journal: what makes an answer both quick and safe.
//!
//! Every instance is noted here before it is acknowledged. Under power durability the
//! note holds the instance's bytes and is on the disk when its one write returns: no flush,
//! no new block, no copy in the page cache, and associations do not wait for each other. The
//! instance's own file is written without a flush and gets to the disk later, with
//! everything else, by one `syncfs` for several segments. Under process durability the note is the key
//! alone and nothing is flushed.
//!
//! A segment is used again when its files are on the disk *and* the ledger has recorded its
//! instances. So after a crash the segments name every instance that the ledger may lack,
//! and hold every file that the disk may lack: the start is bounded by their size
//! (`spool.journal_bytes`), not by the spool's.
//!
//! A thread of its own, the keeper, does what takes long: it makes segments ready before they
//! are needed and brings files to the disk. Intake waits for it only when it is far behind.
//! Segments that were written ahead outlive the process: a start finds its journal laid out.
//!
//! Instances longer than [`PAYLOAD_BYTES_MAX`] are flushed by themselves and noted by key.

mod keeper;
mod leftovers;
mod segment;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use disk::PAGE_BYTES;
pub(crate) use keeper::spawn_keeper;
pub(crate) use leftovers::Leftovers;
pub(crate) use segment::{Draft, PAYLOAD_BYTES_MAX};
use segment::{Kind, Note, Segment};

use crate::{config::Durability, outcome::InstanceKey, space::Space};

/// Segments on the disk: the one in use, those that wait for the disk or the ledger, and those that are
/// ready. When none is ready, intake waits.
const SEGMENTS_MAX: u64 = 32;
/// One in use, one that waits, one that is ready.
const SEGMENTS_MIN: usize = 3;
/// Room for at least one long record.
const SEGMENT_BYTES_MIN: u64 = 2 << 20;
/// How long intake waits for a segment before it gives up on an instance.
const SEGMENT_WAIT: Duration = Duration::from_secs(30);
const PROCESS_SEGMENT_BYTES: u64 = 4 << 20;

/// Proof that an instance is in the journal until the ledger has it.
///
/// Dropped without having been given back, because whoever had it failed or was cancelled, it leaves an
/// instance that is in its place owed ([`crate::Spool::owed`]): somebody else records it then. One that is not
/// in its place is the next start's.
#[derive(Debug)]
#[must_use = "the journal keeps the instance's note until the receipt is given back"]
pub struct Receipt(Option<Pinned>);

#[derive(Debug)]
struct Pinned {
    journal: Arc<Journal>,
    segment: Arc<Segment>,
    key: InstanceKey,
    is_in_place: bool,
}

impl Receipt {
    /// The instance's file is where it is looked for.
    pub(crate) fn in_place(mut self) -> Self {
        if let Some(pinned) = &mut self.0 {
            pinned.is_in_place = true;
        }
        self
    }

    /// For an instance whose row is the caller's own business.
    pub(crate) fn settled() -> Self {
        Self(None)
    }

    /// The ledger has the instance, or it was not kept after all.
    pub(crate) fn give_back(mut self) {
        if let Some(Pinned { journal, segment, .. }) = self.0.take() {
            journal.unpin(segment);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(Pinned { journal, segment, key, is_in_place: true }) = self.0.take() {
            journal.lock().owed.push((key, segment));
        }
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
    /// One of them takes the place of the active one when that is full.
    ready: Vec<Segment>,
    /// Files of earlier processes that are to be made ready.
    free: Vec<PathBuf>,
    /// Files of a process that died, which become free when the ledger has what they name.
    held: usize,
    /// Kept, and nobody is about to record it any more.
    owed: Vec<(InstanceKey, Arc<Segment>)>,
    /// So many segments there may be: fewer than usual where there is no room for more.
    segments_max: usize,
    /// Set when the disk refused what was to be durable: nothing can be promised any more.
    failure: Option<io::ErrorKind>,
    closed: bool,
}

/// Size and number of the segments of a journal of `bytes`.
fn segments_of(bytes: u64) -> (u64, usize) {
    let each = (bytes / SEGMENTS_MAX).max(SEGMENT_BYTES_MIN).next_multiple_of(PAGE_BYTES as u64);
    (each, usize::try_from(bytes / each).unwrap_or(usize::MAX).max(SEGMENTS_MIN))
}

impl Journal {
    /// Starts an empty journal in `folder`, beside what [`Leftovers::read`] found there; what of it holds
    /// nothing is used again.
    pub(crate) fn start(
        folder: &Path,
        durability: Durability,
        space: Space,
        power_bytes: u64,
        after: &mut Leftovers,
    ) -> io::Result<Self> {
        let (segment_bytes, segments_max) = match durability {
            Durability::Power => segments_of(power_bytes),
            Durability::Process => (PROCESS_SEGMENT_BYTES, SEGMENTS_MIN),
        };
        let journal = Self {
            folder: folder.to_owned(),
            durability,
            space,
            segment_bytes,
            sequence: AtomicU64::new(after.sequence + 1),
            state: Mutex::new(State {
                active: None,
                next_offset: Segment::first_offset(),
                generation: after.generation + 1,
                retired: VecDeque::new(),
                ready: Vec::new(),
                free: Vec::new(),
                held: 0,
                owed: Vec::new(),
                segments_max,
                failure: None,
                closed: false,
            }),
            changed: Condvar::new(),
        };
        if after.kept.is_empty() {
            journal.release(after)?;
        }
        let mut state = journal.lock();
        let (generation, laid_out) = (state.generation, state.free.pop());
        state.held = after.held();
        drop(state);
        let first = match laid_out {
            Some(path) => Some(Segment::adopt(path, generation)?),
            // On a full disk the service starts, too: it has results to hand out, and takes nothing in.
            None => journal.create(generation)?,
        };
        journal.lock().active = first.map(Arc::new);
        Ok(journal)
    }

    /// Notes that `key` is kept. `length` bytes of the draft are its file, which under power
    /// durability are on the disk when this returns.
    ///
    /// # Errors
    /// When the disk fails, or no segment came free in time because disk or ledger lag behind.
    pub(crate) fn note_file(
        self: &Arc<Self>,
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
    pub(crate) fn note_kept(self: &Arc<Self>, key: &InstanceKey) -> io::Result<Receipt> {
        self.note_key(Kind::Kept, key)
    }

    /// Notes that `key` is no longer kept, so that a replay does not bring it back.
    pub(crate) fn note_deleted(self: &Arc<Self>, key: &InstanceKey) -> io::Result<()> {
        self.note_key(Kind::Deleted, key)?.give_back();
        Ok(())
    }

    fn note_key(self: &Arc<Self>, kind: Kind, key: &InstanceKey) -> io::Result<Receipt> {
        self.note(Segment::bytes_of_key(self.durability), kind, key, |segment, offset, note| {
            segment.write_key(offset, note, self.durability)
        })
    }

    fn note(
        self: &Arc<Self>,
        bytes: u64,
        kind: Kind,
        key: &InstanceKey,
        write: impl FnOnce(&Segment, u64, &Note<'_>) -> io::Result<()>,
    ) -> io::Result<Receipt> {
        let (segment, offset) = self.reserve(bytes)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        match write(&segment, offset, &Note { sequence, kind, key }) {
            Ok(()) => {
                let pinned = Pinned { journal: self.clone(), segment, key: key.clone(), is_in_place: false };
                Ok(Receipt(Some(pinned)))
            }
            Err(error) => {
                self.unpin(segment);
                if self.durability == Durability::Power && !is_full(error.kind()) {
                    // After a failed write nobody knows what of the segment the disk has.
                    self.lock().failure = Some(error.kind());
                }
                Err(error)
            }
        }
    }

    /// What is kept and was left unrecorded by whoever was to record it; with its receipt, for another try.
    pub(crate) fn take_owed(self: &Arc<Self>) -> Vec<(InstanceKey, Receipt)> {
        let owed = std::mem::take(&mut self.lock().owed);
        let receipt = |(key, segment): (InstanceKey, _)| {
            let pinned = Pinned { journal: self.clone(), segment, key: key.clone(), is_in_place: true };
            (key, Receipt(Some(pinned)))
        };
        owed.into_iter().map(receipt).collect()
    }

    /// One record of `segment` less that the ledger does not have.
    fn unpin(&self, segment: Arc<Segment>) {
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
            if let Some(fresh) = state.ready.pop() {
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

    /// Ends the journal's thread, which is to be joined then.
    pub(crate) fn stop(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes what earlier processes have left into use: the ledger has all that it names.
    ///
    /// # Errors
    /// When the disk refuses; what is left then is replayed at the next start.
    pub(crate) fn release(&self, leftovers: &mut Leftovers) -> io::Result<()> {
        // Without durability nothing is written ahead, and a file is made as quickly as it is used again.
        let room = (self.durability == Durability::Power).then_some(self.segment_bytes);
        let free = leftovers.release(room)?;
        let mut state = self.lock();
        state.free.extend(free);
        state.held = 0;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Frees the segments when the ledger has everything: the next start has nothing to replay.
    pub(crate) fn close(&self, spool_root: &File) {
        let state = self.lock();
        // The oldest first: a note of a deletion must outlive what it takes back.
        let segments = || state.retired.iter().chain(&state.active).map(Arc::as_ref).chain(&state.ready);
        if segments().any(|segment| segment.unrecorded.load(Ordering::Acquire) > 0) {
            return;
        }
        if self.durability == Durability::Power && rustix::fs::syncfs(spool_root).is_err() {
            return;
        }
        for segment in segments() {
            let ended = match self.durability {
                Durability::Power => segment::set_free(segment.path()),
                Durability::Process => std::fs::remove_file(segment.path()),
            };
            if let Err(error) = ended {
                tracing::warn!(error = %error, "a segment of the intake journal stays; it will be replayed");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system that copies on write may have no room even for what was written ahead; what is there stays.
fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: u64, expect: (u64, usize)) {
        assert_eq!(segments_of(bytes), expect);
        assert!(
            expect.0 > Segment::first_offset() + Segment::bytes_with(PAYLOAD_BYTES_MAX),
            "room for a record"
        );
    }

    #[test]
    fn a_journal_has_some_thirty_segments_and_each_of_them_holds_a_long_record() {
        check(1 << 30, (32 << 20, 32));
        check(48 << 20, (2 << 20, 24));
        check(0, (2 << 20, 3));
    }
}
