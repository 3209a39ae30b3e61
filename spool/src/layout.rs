//! Where things lie: `<aa>/<study>/<series>/<instance>.dcm`, beside `tmp/` and `journal/`.
//!
//! `<aa>` is a byte of the study's digest, so that no folder has more than some thousand entries.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{CWD, RenameFlags};

use crate::outcome::InstanceKey;

#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    next_temporary: AtomicU64,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), next_temporary: AtomicU64::new(0) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The path of an instance. Its components are UIDs, so they cannot lead out of the spool.
    pub(crate) fn instance(&self, key: &InstanceKey) -> PathBuf {
        let study = key.study.as_str();
        let shard = blake3::hash(study.as_bytes()).as_bytes()[0];
        let mut path = self.root.join(format!("{shard:02x}"));
        path.push(study);
        path.push(key.series.as_str());
        path.push(format!("{}.dcm", key.sop_instance));
        path
    }

    /// A file that disappears unless it is put somewhere.
    pub(crate) fn new_temporary(&self) -> io::Result<Temporary> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.temporary().join(format!("{number:x}.part"));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Temporary { path, file, placed: false })
    }

    /// A second name of a file that is in its place; it disappears unless it is put somewhere.
    pub(crate) fn new_link(&self, kept: &Path) -> io::Result<Temporary> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.temporary().join(format!("{number:x}.part"));
        fs::hard_link(kept, &path)?;
        let file = File::open(&path)?;
        Ok(Temporary { path, file, placed: false })
    }

    /// Makes an instance's place in the directory tree durable, up to the root.
    pub(crate) fn sync_folders(&self, instance: &Path) -> io::Result<()> {
        for folder in instance.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Says whether a file took its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Here,
    Occupied,
}

#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    pub(crate) file: File,
    placed: bool,
}

impl Temporary {
    /// Moves the file to `target` unless something is there.
    pub(crate) fn place(&mut self, target: &Path) -> io::Result<Placed> {
        // A folder may be pruned between its making and the move: try again.
        for _ in 0..8 {
            match rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.placed = true;
                    return Ok(Placed::Here);
                }
                Err(rustix::io::Errno::EXIST) => return Ok(Placed::Occupied),
                Err(rustix::io::Errno::NOENT) => {
                    if let Some(folder) = target.parent() {
                        fs::create_dir_all(folder)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Moves the file to `target`, whatever is there.
    pub(crate) fn replace(&mut self, target: &Path) -> io::Result<()> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(&self.path, target)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %error, "an unfinished file stays until the next start");
        }
    }
}
