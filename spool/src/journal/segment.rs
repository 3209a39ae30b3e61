//! One file of the journal: a header page, then records at aligned offsets.
//!
//! A record is a fixed front with the key and, under power durability, the whole file of the
//! instance, from the next page on. Offsets are handed out before the bytes are written, so a
//! crash may leave a gap before a record that was acknowledged; reading therefore goes on
//! behind a gap. All of a record is covered by checksums.
//!
//! A segment is used again and again, and holds what modalities sent: old records, and whatever somebody
//! has put into pixel data. So each use begins with a nonce from the system's random numbers, which each of
//! its records begins with: nobody who sends an instance can know it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use disk::{PAGE_BYTES, Pages, open_durable, write_ahead};
use imaging::{SeriesUid, SopInstanceUid, StudyUid};

use crate::{config::Durability, outcome::InstanceKey};

const SEGMENT_MAGIC: &[u8; 8] = b"OVRDSEG3";
/// What the magic of every version begins with.
const ANY_SEGMENT_MAGIC: &[u8; 7] = b"OVRDSEG";
/// In place of [`SEGMENT_MAGIC`]: laid out, and nothing in it.
const FREE_MAGIC: &[u8; 8] = b"OVRDFREE";
/// Magic, generation, nonce.
const HEADER_BYTES: usize = 32;
/// Nonce, sequence, length, kind, length of the key, checksums; then the key.
const FRONT_BYTES: usize = 256;
const KEY_AT: usize = 56;
/// Records are looked for at multiples of this; under power durability they start at
/// multiples of a page, so that an unfinished write never touches the page of a finished one.
const SCAN_STEP: u64 = 512;
/// Longer files do not go through the journal.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

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

/// What the records of one use of a segment begin with.
type Nonce = [u8; 16];

fn fresh_nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    // So few bytes come whole or not at all (getrandom(2)).
    match rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())? {
        count if count == nonce.len() => Ok(nonce),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A file that is being received, laid out so that it becomes a record without being moved.
///
/// The default one is what is left where a draft was taken away: it has no room, and costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Draft(Pages);

impl Draft {
    pub(crate) fn with_room() -> Self {
        Self(Pages::zeroed(PAGE_BYTES + PAYLOAD_BYTES_MAX))
    }

    /// The room for the file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.0[PAGE_BYTES..]
    }

    pub(crate) fn file_mut(&mut self) -> &mut [u8] {
        &mut self.0[PAGE_BYTES..]
    }
}

/// What stands in the front of a record.
#[derive(Debug)]
pub(super) struct Note<'a> {
    pub(super) sequence: u64,
    pub(super) kind: Kind,
    pub(super) key: &'a InstanceKey,
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
    /// Under power durability a write is on the disk when it returns, and passes by the page cache.
    file: File,
    nonce: Nonce,
    /// Records that the ledger does not have yet.
    pub(super) unrecorded: AtomicU64,
    /// All files of its records are on the disk by themselves.
    pub(super) synced: AtomicBool,
}

impl Segment {
    /// Makes an empty segment. Under power durability its `room` is written ahead, so that later writes
    /// need no new blocks.
    pub(super) fn create(
        folder: &Path,
        generation: u64,
        durability: Durability,
        room: u64,
    ) -> io::Result<Self> {
        let path = folder.join(format!("{generation:016x}.log"));
        Self::create_at(&path, folder, generation, durability, room).inspect_err(|_| {
            // Half a segment holds nothing; the next start would pass over it.
            let _ = std::fs::remove_file(&path);
        })
    }

    fn create_at(
        path: &Path,
        folder: &Path,
        generation: u64,
        durability: Durability,
        room: u64,
    ) -> io::Result<Self> {
        let nonce = fresh_nonce()?;
        let plain = OpenOptions::new().write(true).create_new(true).open(path)?;
        let file = match durability {
            Durability::Process => {
                plain.write_all_at(&header(generation, nonce), 0)?;
                plain
            }
            Durability::Power => {
                write_ahead(&plain, room)?;
                let durable = open_durable(path, &header(generation, nonce))?;
                File::open(folder)?.sync_all()?;
                durable
            }
        };
        Ok(Self::started(path.to_owned(), file, nonce))
    }

    /// Takes a file that an earlier process has written ahead into use.
    pub(super) fn adopt(path: PathBuf, generation: u64) -> io::Result<Self> {
        let nonce = fresh_nonce()?;
        let file = open_durable(&path, &header(generation, nonce))?;
        Ok(Self::started(path, file, nonce))
    }

    /// Takes a segment that nobody needs any more into use again.
    pub(super) fn reuse(self, generation: u64) -> io::Result<Self> {
        let nonce = fresh_nonce()?;
        self.file.write_all_at(&header(generation, nonce), 0)?;
        Ok(Self::started(self.path, self.file, nonce))
    }

    fn started(path: PathBuf, file: File, nonce: Nonce) -> Self {
        Self { path, file, nonce, unrecorded: AtomicU64::new(0), synced: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn first_offset() -> u64 {
        PAGE_BYTES as u64
    }

    pub(super) fn is_done(&self) -> bool {
        self.synced.load(Ordering::Acquire) && self.unrecorded.load(Ordering::Acquire) == 0
    }

    /// What a record takes that holds a file of `payload` bytes, under power durability.
    pub(super) fn bytes_with(payload: usize) -> u64 {
        (PAGE_BYTES + payload.next_multiple_of(PAGE_BYTES)) as u64
    }

    /// What a record takes that holds the key alone.
    pub(super) fn bytes_of_key(durability: Durability) -> u64 {
        match durability {
            Durability::Power => PAGE_BYTES as u64,
            Durability::Process => SCAN_STEP,
        }
    }

    /// Writes the record of a key at `offset`, which the caller owns.
    pub(super) fn write_key(&self, offset: u64, note: &Note<'_>, durability: Durability) -> io::Result<()> {
        let front = self.front(note, &[]);
        match durability {
            Durability::Process => self.file.write_all_at(&front, offset),
            Durability::Power => {
                let mut page = Pages::zeroed(PAGE_BYTES);
                page[..FRONT_BYTES].copy_from_slice(&front);
                self.file.write_all_at(&page, offset)
            }
        }
    }

    /// Writes a record with the first `length` bytes of the draft's file at `offset`, which the caller owns.
    pub(super) fn write_file(
        &self,
        offset: u64,
        note: &Note<'_>,
        draft: &mut Draft,
        length: usize,
    ) -> io::Result<()> {
        let front = self.front(note, &draft.file()[..length]);
        draft.0[..FRONT_BYTES].copy_from_slice(&front);
        let end = length.next_multiple_of(PAGE_BYTES);
        draft.file_mut()[length..end].fill(0);
        self.file.write_all_at(&draft.0[..PAGE_BYTES + end], offset)
    }

    fn front(&self, note: &Note<'_>, payload: &[u8]) -> [u8; FRONT_BYTES] {
        let key = format!("{}\n{}\n{}", note.key.study, note.key.series, note.key.sop_instance);
        let mut front = [0; FRONT_BYTES];
        front[..16].copy_from_slice(&self.nonce);
        front[16..24].copy_from_slice(&note.sequence.to_le_bytes());
        front[24..32].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        front[32..36].copy_from_slice(&(note.kind as u32).to_le_bytes());
        front[36..40].copy_from_slice(&u32::try_from(key.len()).expect("three UIDs").to_le_bytes());
        front[40..44].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        front[KEY_AT..][..key.len()].copy_from_slice(key.as_bytes());
        let checksum = front_checksum(&front);
        front[44..48].copy_from_slice(&checksum.to_le_bytes());
        front
    }
}

/// The generation that a segment was made for; it may have been used again since.
pub(super) fn generation_in_name(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()).unwrap_or(0)
}

/// The last generation of a segment that was left with nothing in it; its old records are of that or earlier
/// ones. `None` for other files.
pub(super) fn generation_of_free(path: &Path) -> io::Result<Option<u64>> {
    let mut header = [0; 16];
    let is_free = File::open(path)?.read_exact(&mut header).is_ok() && header.starts_with(FREE_MAGIC);
    Ok(is_free.then(|| u64::from_le_bytes(header[8..].try_into().expect("eight bytes"))))
}

/// Declares for good that nothing of what is in the file counts any more. Its generation stays readable.
pub(super) fn set_free(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(FREE_MAGIC, 0)?;
    file.sync_data()
}

fn header(generation: u64, nonce: Nonce) -> Pages {
    let mut header = Pages::zeroed(PAGE_BYTES);
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..16].copy_from_slice(&generation.to_le_bytes());
    header[16..HEADER_BYTES].copy_from_slice(&nonce);
    header
}

fn front_checksum(front: &[u8; FRONT_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&front[..44]);
    hasher.update(&front[KEY_AT..]);
    hasher.finalize()
}

/// A segment that an earlier process has left.
#[derive(Debug)]
pub(super) struct Leftover {
    file: File,
    pub(super) generation: u64,
    nonce: Nonce,
}

impl Leftover {
    /// Opens the file; `None` when it has no valid header (its creation was cut short).
    ///
    /// # Errors
    /// Also when it is of another version of this program, which may have acknowledged what is in it.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut header = [0; HEADER_BYTES];
        let is_long = file.read_exact_at(&mut header, 0).is_ok();
        if is_long && header.starts_with(ANY_SEGMENT_MAGIC) && !header.starts_with(SEGMENT_MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is the journal of another version that did not end in order: start that version once, and stop it",
            ));
        }
        let valid = is_long && header.starts_with(SEGMENT_MAGIC);
        let generation = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        let nonce = header[16..].try_into().expect("sixteen bytes");
        Ok(valid.then_some(Self { file, generation, nonce }))
    }

    /// All whole records, in the order of their offsets.
    pub(super) fn records(&self) -> io::Result<Vec<Found>> {
        let length = self.file.metadata()?.len();
        let mut found = Vec::new();
        let mut at = Segment::first_offset();
        while at + FRONT_BYTES as u64 <= length {
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
        let mut front = [0; FRONT_BYTES];
        self.file.read_exact_at(&mut front, at)?;
        let u64_at =
            |start: usize| u64::from_le_bytes(front[start..start + 8].try_into().expect("eight bytes"));
        let u32_at =
            |start: usize| u32::from_le_bytes(front[start..start + 4].try_into().expect("four bytes"));
        if !front.starts_with(&self.nonce) || u32_at(44) != front_checksum(&front) {
            return Ok(None);
        }
        let start = at + if u64_at(24) > 0 { PAGE_BYTES as u64 } else { FRONT_BYTES as u64 };
        let Some(end) = start.checked_add(u64_at(24)).filter(|&end| end <= length) else { return Ok(None) };
        let key = front.get(KEY_AT..KEY_AT + u32_at(36) as usize).and_then(parse_key);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(instance: &str) -> InstanceKey {
        InstanceKey {
            study: "1.2.3.1".parse().unwrap(),
            series: "1.2.3.2".parse().unwrap(),
            sop_instance: instance.parse().unwrap(),
        }
    }

    #[test]
    fn pixels_that_look_like_records_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let create =
            |generation| Segment::create(folder.path(), generation, Durability::Power, 64 << 10).unwrap();
        let (ours, theirs) = (create(1), create(2));
        let mut draft = Draft::with_room();
        let forged =
            theirs.front(&Note { sequence: u64::MAX, kind: Kind::Deleted, key: &key("1.2.3.9") }, &[]);
        for at in (0..8192).step_by(512) {
            draft.file_mut()[at..][..FRONT_BYTES].copy_from_slice(&forged);
        }
        let note = Note { sequence: 1, kind: Kind::Kept, key: &key("1.2.3.4") };
        ours.write_file(Segment::first_offset(), &note, &mut draft, 8192).unwrap();
        let found = |segment: &Segment| {
            let records = Leftover::open(segment.path()).unwrap().unwrap().records().unwrap();
            records.into_iter().map(|found| found.key).collect::<Vec<_>>()
        };
        assert_eq!(found(&ours), [key("1.2.3.4")]);
        // Used again the segment still holds those bytes, and nobody jumps over them any more.
        let again = ours.reuse(2).unwrap();
        assert_eq!(found(&again), []);
        let mut page = Pages::zeroed(PAGE_BYTES);
        page[..FRONT_BYTES].copy_from_slice(&again.front(&note, &[]));
        again.file.write_all_at(&page, 2 * Segment::first_offset()).unwrap();
        assert_eq!(found(&again), [key("1.2.3.4")], "behind a gap a record of its own is found");
    }
}
