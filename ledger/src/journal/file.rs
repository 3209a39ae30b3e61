//! The journal's file: a page that says which journal it is, then pages of batches, used again and again.
//!
//! A batch begins with a page and is covered by a MAC whose key is made from that of the audit trail: whoever can
//! write to the file can neither make a batch nor change one. What was cut short by a crash fits no MAC. It is
//! BLAKE3's: with HMAC-SHA256 writing a batch of one row took three times the instructions.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use disk::{PAGE_BYTES, Pages};
use serde_json::Value;
use uuid::Uuid;

use crate::{AuditKey, Durability, Millis, NewAudit};

const FILE_MAGIC: &[u8; 8] = b"OVRCALL1";
const BATCH_MAGIC: &[u8; 8] = b"OVRBATC2";
/// Magic, number and length; then the MAC over them and the rows.
const SIGNED_FRONT: usize = 24;
const FRONT: usize = SIGNED_FRONT + 32;
/// Rows of one batch, in bytes.
pub(super) const ROWS_BYTES_MAX: usize = 16 * PAGE_BYTES - FRONT;

pub(super) struct JournalFile {
    file: File,
    pub(super) id: Uuid,
    seal: Seal,
}

/// The key of the MACs.
#[derive(Clone, Copy)]
struct Seal([u8; 32]);

impl Seal {
    fn of(key: &AuditKey) -> Self {
        Self(key.sign(&[b"journal of calls"]))
    }

    fn mac(&self, front: &[u8], rows: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.0).update(front).update(rows).finalize()
    }
}

impl fmt::Debug for JournalFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JournalFile").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A batch that an earlier process has left.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) number: u64,
    pub(super) rows: Vec<NewAudit>,
}

/// A row as the journal has it: one element of a JSON array.
type Line = (Millis, String, String, String, Option<String>, Value);

pub(super) fn line(row: &NewAudit) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&(row.at, &row.actor, &row.action, &row.subject, &row.request_id, &row.detail))
}

/// The pages that rows of so many bytes take.
pub(super) fn pages_of(rows_bytes: usize) -> usize {
    (FRONT + rows_bytes).div_ceil(PAGE_BYTES)
}

impl JournalFile {
    /// Opens the journal of `pages` pages at `path`, or makes it; gives what it holds, in no order.
    pub(super) fn open(
        path: &Path,
        pages: usize,
        durability: Durability,
        key: &AuditKey,
    ) -> io::Result<(Self, Vec<Leftover>)> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let length = pages * PAGE_BYTES;
        let named = bytes.starts_with(FILE_MAGIC) && bytes.len() == length;
        let seal = Seal::of(key);
        let id = bytes.get(8..24).and_then(|id| Uuid::from_slice(id).ok()).filter(|_| named);
        if let Some(id) = id {
            return Ok((Self { file: open(path, id, durability)?, id, seal }, leftovers(&bytes, seal)));
        }
        make(path, length as u64, durability)?;
        let id = Uuid::new_v4();
        Ok((Self { file: open(path, id, durability)?, id, seal }, Vec::new()))
    }

    /// Writes a batch from page `page` on, which the caller owns. Under power durability it is on the disk then.
    pub(super) fn write<'a>(
        &self,
        buffer: &mut Pages,
        page: usize,
        number: u64,
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let mut end = FRONT;
        for (index, line) in lines.enumerate() {
            buffer[end] = if index == 0 { b'[' } else { b',' };
            buffer[end + 1..][..line.len()].copy_from_slice(line);
            end += 1 + line.len();
        }
        buffer[end] = b']';
        end += 1;
        buffer[..8].copy_from_slice(BATCH_MAGIC);
        buffer[8..16].copy_from_slice(&number.to_le_bytes());
        buffer[16..24].copy_from_slice(&((end - FRONT) as u64).to_le_bytes());
        let mac = self.seal.mac(&buffer[..SIGNED_FRONT], &buffer[FRONT..end]);
        buffer[SIGNED_FRONT..FRONT].copy_from_slice(mac.as_bytes());
        let whole = end.next_multiple_of(PAGE_BYTES);
        buffer[end..whole].fill(0);
        self.file.write_all_at(&buffer[..whole], (page * PAGE_BYTES) as u64)
    }
}

/// Everything is on the disk before the file has its name.
fn make(path: &Path, length: u64, durability: Durability) -> io::Result<()> {
    let part = path.with_extension("part");
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
    match durability {
        Durability::Power => disk::write_ahead(&file, length)?,
        Durability::Process => file.set_len(length)?,
    }
    std::fs::rename(&part, path)?;
    match (durability, path.parent()) {
        (Durability::Power, Some(folder)) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn open(path: &Path, id: Uuid, durability: Durability) -> io::Result<File> {
    let mut first = Pages::zeroed(PAGE_BYTES);
    first[..8].copy_from_slice(FILE_MAGIC);
    first[8..24].copy_from_slice(id.as_bytes());
    match durability {
        Durability::Power => disk::open_durable(path, &first),
        Durability::Process => {
            let file = OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&first, 0).map(|()| file)
        }
    }
}

fn leftovers(bytes: &[u8], seal: Seal) -> Vec<Leftover> {
    let pages = (1..bytes.len() / PAGE_BYTES).map(|page| &bytes[page * PAGE_BYTES..]);
    pages.filter_map(|page| leftover(page, seal)).collect()
}

/// The batch that begins here, if one does.
fn leftover(bytes: &[u8], seal: Seal) -> Option<Leftover> {
    let number_at = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    if !bytes.starts_with(BATCH_MAGIC) {
        return None;
    }
    let length = usize::try_from(number_at(16)?).ok().filter(|length| *length <= ROWS_BYTES_MAX)?;
    let rows = bytes.get(FRONT..FRONT + length)?;
    let mac = blake3::Hash::from_slice(&bytes[SIGNED_FRONT..FRONT]).ok()?;
    if seal.mac(&bytes[..SIGNED_FRONT], rows) != mac {
        return None;
    }
    let lines: Vec<Line> = serde_json::from_slice(rows).ok()?;
    let row = |(at, actor, action, subject, request_id, detail): Line| NewAudit {
        at,
        actor,
        action,
        subject,
        request_id,
        detail,
    };
    Some(Leftover { number: number_at(8)?, rows: lines.into_iter().map(row).collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(number: u64) -> NewAudit {
        NewAudit {
            at: Millis(7),
            actor: "key:ward".to_owned(),
            action: "model.predict".to_owned(),
            subject: "meso@1.0.0".to_owned(),
            request_id: None,
            detail: json!({ "rows": number, "share": 0.1 }),
        }
    }

    fn write(journal: &JournalFile, page: usize, number: u64, rows: &[NewAudit]) {
        let lines = rows.iter().map(|row| line(row).unwrap()).collect::<Vec<_>>();
        let mut buffer = Pages::zeroed(16 * PAGE_BYTES);
        journal.write(&mut buffer, page, number, lines.iter().map(Vec::as_slice)).unwrap();
    }

    fn reopen(path: &Path, key: &AuditKey) -> Vec<(u64, Vec<NewAudit>)> {
        let (_, found) = JournalFile::open(path, 64, Durability::Power, key).unwrap();
        found.into_iter().map(|left| (left.number, left.rows)).collect()
    }

    #[test]
    fn batches_are_found_again_and_those_of_another_key_or_with_a_changed_bit_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.journal");
        let key = AuditKey::new(*b"key");
        let (journal, found) = JournalFile::open(&path, 64, Durability::Power, &key).unwrap();
        assert!(found.is_empty());
        let many = (0..40).map(row).collect::<Vec<_>>();
        write(&journal, 1, 5, &[row(1)]);
        write(&journal, 2, 6, &many);
        assert_eq!(reopen(&path, &key), [(5, vec![row(1)]), (6, many.clone())]);
        assert_eq!(reopen(&path, &AuditKey::new(*b"another")), []);

        write(&journal, 1, 9, &[row(2)]);
        assert_eq!(reopen(&path, &key), [(9, vec![row(2)]), (6, many)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2 * PAGE_BYTES + 100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(reopen(&path, &key), [(9, vec![row(2)])]);
    }

    #[test]
    fn a_file_that_is_no_journal_is_made_anew_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.journal");
        let key = AuditKey::new(*b"key");
        let open = || JournalFile::open(&path, 8, Durability::Process, &key).unwrap().0.id;
        let first = open();
        assert_eq!(open(), first);
        std::fs::write(&path, b"cut short").unwrap();
        assert_ne!(open(), first);
    }
}
