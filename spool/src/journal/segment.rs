//! One file of the journal: a header block, then records at aligned offsets.
//!
//! A record is a fixed header, the key, and, under power durability, the whole file of the
//! instance. Offsets are handed out before the bytes are written, so a crash may leave a
//! gap before a record that was acknowledged; reading therefore goes on behind a gap. All
//! of a record is covered by checksums, and a record of another generation does not count.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use imaging::{SeriesUid, SopInstanceUid, StudyUid};

use super::flush::GroupFlush;
use crate::outcome::InstanceKey;

const SEGMENT_MAGIC: &[u8; 8] = b"OVRDSEG1";
const RECORD_MAGIC: &[u8; 8] = b"OVRDREC1";
const SEGMENT_HEADER_BYTES: u64 = 4096;
const RECORD_HEADER_BYTES: usize = 56;
/// Three UIDs of at most 64 characters and two separators.
const KEY_BYTES_MAX: usize = 3 * 64 + 2;
/// Records are looked for at multiples of this; under power durability they start at
/// multiples of a page, so that an unfinished write never touches the page of a finished one.
const SCAN_STEP: u64 = 512;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kept = 1,
    Deleted = 2,
}

impl Kind {
    fn decode(code: u32) -> Option<Self> {
        [Self::Kept, Self::Deleted].into_iter().find(|&kind| kind as u32 == code)
    }
}

/// A record as it was found after a crash.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) kind: Kind,
    pub(super) key: InstanceKey,
    /// Where the instance's file lies in the segment; empty without payload.
    pub(super) payload: std::ops::Range<u64>,
}

#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    generation: u64,
    flush: GroupFlush,
    /// Records that the ledger does not have yet.
    pub(super) unrecorded: AtomicU64,
    /// All files of its records are on the disk by themselves.
    pub(super) synced: AtomicBool,
}

impl Segment {
    /// Makes an empty segment; `room` bytes are written ahead so that later flushes need no new blocks.
    pub(super) fn create(folder: &Path, generation: u64, room: u64) -> io::Result<Self> {
        let path = folder.join(format!("{generation:016x}.log"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < room {
            let count = zeros.len().min(usize::try_from(room - at).unwrap_or(usize::MAX));
            file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        Self::start(path, file, generation)
    }

    /// Takes a segment that nobody needs any more into use again.
    pub(super) fn reuse(self, folder: &Path, generation: u64) -> io::Result<Self> {
        let path = folder.join(format!("{generation:016x}.log"));
        std::fs::rename(&self.path, &path)?;
        Self::start(path, self.file, generation)
    }

    fn start(path: PathBuf, file: File, generation: u64) -> io::Result<Self> {
        let mut header = [0; 16];
        header[..8].copy_from_slice(SEGMENT_MAGIC);
        header[8..].copy_from_slice(&generation.to_le_bytes());
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self {
            path,
            file,
            generation,
            flush: GroupFlush::default(),
            unrecorded: AtomicU64::new(0),
            synced: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn first_offset() -> u64 {
        SEGMENT_HEADER_BYTES
    }

    pub(super) fn is_done(&self) -> bool {
        self.synced.load(Ordering::Acquire) && self.unrecorded.load(Ordering::Acquire) == 0
    }

    pub(super) fn record_bytes(payload: &[u8]) -> u64 {
        (RECORD_HEADER_BYTES + KEY_BYTES_MAX + payload.len()) as u64
    }

    /// Writes one record at `offset`, which the caller owns.
    pub(super) fn write(
        &self,
        offset: u64,
        sequence: u64,
        kind: Kind,
        key: &InstanceKey,
        payload: &[u8],
    ) -> io::Result<()> {
        let key = format!("{}\n{}\n{}", key.study, key.series, key.sop_instance);
        let mut front = vec![0; RECORD_HEADER_BYTES + KEY_BYTES_MAX];
        front[..8].copy_from_slice(RECORD_MAGIC);
        front[8..16].copy_from_slice(&self.generation.to_le_bytes());
        front[16..24].copy_from_slice(&sequence.to_le_bytes());
        front[24..32].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        front[32..36].copy_from_slice(&(kind as u32).to_le_bytes());
        front[36..40].copy_from_slice(&u32::try_from(key.len()).expect("three UIDs").to_le_bytes());
        front[40..44].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        front[RECORD_HEADER_BYTES..][..key.len()].copy_from_slice(key.as_bytes());
        let checksum = front_checksum(&front);
        front[44..48].copy_from_slice(&checksum.to_le_bytes());
        if !payload.is_empty() {
            self.file.write_all_at(payload, offset + front.len() as u64)?;
        }
        self.file.write_all_at(&front, offset)
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.flush.flush(&self.file)
    }
}

fn front_checksum(front: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&front[..44]);
    hasher.update(&front[RECORD_HEADER_BYTES..]);
    hasher.finalize()
}

/// A segment that an earlier process has left.
#[derive(Debug)]
pub(super) struct Leftover {
    file: File,
    pub(super) generation: u64,
}

impl Leftover {
    /// Opens the file; `None` when it has no valid header (its creation was cut short).
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut header = [0; 16];
        let valid = file.read_exact_at(&mut header, 0).is_ok() && header.starts_with(SEGMENT_MAGIC);
        let generation = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
        Ok(valid.then(|| Self { file, generation }))
    }

    /// All whole records, in the order of their offsets.
    pub(super) fn records(&self) -> io::Result<Vec<Found>> {
        let length = self.file.metadata()?.len();
        let mut found = Vec::new();
        let mut at = SEGMENT_HEADER_BYTES;
        while at + (RECORD_HEADER_BYTES + KEY_BYTES_MAX) as u64 <= length {
            match self.record_at(at, length)? {
                Some(record) => {
                    at = record.payload.end.next_multiple_of(SCAN_STEP);
                    found.push(record);
                }
                None => at += SCAN_STEP,
            }
        }
        Ok(found)
    }

    fn record_at(&self, at: u64, length: u64) -> io::Result<Option<Found>> {
        let mut front = [0; RECORD_HEADER_BYTES + KEY_BYTES_MAX];
        self.file.read_exact_at(&mut front, at)?;
        let u64_at =
            |start: usize| u64::from_le_bytes(front[start..start + 8].try_into().expect("eight bytes"));
        let u32_at =
            |start: usize| u32::from_le_bytes(front[start..start + 4].try_into().expect("four bytes"));
        if !front.starts_with(RECORD_MAGIC)
            || u64_at(8) != self.generation
            || u32_at(44) != front_checksum(&front)
        {
            return Ok(None);
        }
        let start = at + front.len() as u64;
        let Some(end) = start.checked_add(u64_at(24)).filter(|&end| end <= length) else { return Ok(None) };
        let key =
            front.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + u32_at(36) as usize).and_then(parse_key);
        let (Some(kind), Some(key)) = (Kind::decode(u32_at(32)), key) else { return Ok(None) };
        if self.checksum(start, end)? != u32_at(40) {
            return Ok(None);
        }
        Ok(Some(Found { sequence: u64_at(16), kind, key, payload: start..end }))
    }

    fn checksum(&self, start: u64, end: u64) -> io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut reader = file.take(end - start);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    pub(super) fn payload(&self, found: &Found) -> io::Result<Vec<u8>> {
        let length = usize::try_from(found.payload.end - found.payload.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, found.payload.start)?;
        Ok(bytes)
    }
}

fn parse_key(bytes: &[u8]) -> Option<InstanceKey> {
    let mut uids = std::str::from_utf8(bytes).ok()?.split('\n');
    Some(InstanceKey {
        study: StudyUid::parse(uids.next()?).ok()?,
        series: SeriesUid::parse(uids.next()?).ok()?,
        sop_instance: SopInstanceUid::parse(uids.next()?).ok()?,
    })
}
