//! Gives files of blocks that were written ahead, so that a write is on the disk when it returns.
//!
//! A file that does not grow needs no journal of the file system for a write, and a write past the page
//! cache needs no flush of anything else. What the blocks hold is the business of who writes them.

mod pages;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{Advice, OFlags};

pub use pages::{PAGE_BYTES, Pages};

/// Writes zeros until `room` and forgets them: direct writes would have to push them out of the cache.
///
/// # Errors
/// When there is no room, or the disk fails.
pub fn write_ahead(file: &File, room: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < room {
        let count = zeros.len().min(usize::try_from(room - at).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    file.sync_all()?;
    // Advice alone: a file system may do without.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    Ok(())
}

/// Opens a file whose blocks are there, so that each write of whole [`Pages`] is on the disk when it returns; past
/// the page cache, where the file system can. `first` becomes the file's first page: a file system may take
/// the flags and refuse the write.
///
/// # Errors
/// When it cannot be opened or written.
pub fn open_durable(path: &Path, first: &Pages) -> io::Result<File> {
    let open = |flags: OFlags| {
        let file = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        file.write_all_at(first, 0).map(|()| file)
    };
    match open(OFlags::DIRECT | OFlags::DSYNC) {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            open(OFlags::DSYNC)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_durably_lies_where_it_was_written_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks");
        write_ahead(&File::create_new(&path).unwrap(), 3 * PAGE_BYTES as u64).unwrap();
        let mut page = Pages::zeroed(PAGE_BYTES);
        page.fill(5);
        let durable = open_durable(&path, &page).unwrap();
        page.fill(7);
        durable.write_all_at(&page, PAGE_BYTES as u64).unwrap();
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found.len(), 3 * PAGE_BYTES);
        assert!(
            found.chunks(PAGE_BYTES).zip([5, 7, 0]).all(|(page, byte)| page.iter().all(|one| *one == byte))
        );
    }
}
