//! Where things lie: `<aa>/<study>/<series>/<instance>.dcm`, beside `tmp/` and `journal/`.
//!
//! `<aa>` is a byte of the study's digest, so that no folder has more than some thousand entries.
//! What is being written has no name (`O_TMPFILE`) until it is whole: a kill leaves nothing to tidy
//! up, and one name is made where a temporary one would take three steps in the folder's lock. Where the
//! file system has no such files, they have names in `tmp/`.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::outcome::InstanceKey;

#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    next_temporary: AtomicU64,
    /// How files get their names that have none; `None` where the file system has no such files.
    naming: Option<Naming>,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), next_temporary: AtomicU64::new(0), naming: None }
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

    /// Tries whether a file can get its name when it is whole.
    ///
    /// # Errors
    /// When the folder cannot be used at all.
    pub(crate) fn prefer_nameless(&mut self) -> io::Result<()> {
        let path = self.next_path();
        for naming in [Naming::Descriptor, Naming::Process] {
            match nameless_in(&self.temporary()).and_then(|file| naming.name(&file, &path)) {
                Ok(()) => {
                    self.naming = Some(naming);
                    return fs::remove_file(path);
                }
                Err(error) => tracing::debug!(%error, ?naming, "files without a name cannot be named so"),
            }
        }
        Ok(())
    }

    /// A file that disappears unless it is put somewhere.
    pub(crate) fn new_temporary(&self) -> io::Result<Temporary> {
        if let Some(naming) = self.naming {
            let file = nameless_in(&self.temporary())?;
            return Ok(Temporary::nameless(file, naming, self.next_path()));
        }
        let path = self.next_path();
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Temporary::named(file, path))
    }

    /// The same, near the place that it is for.
    pub(crate) fn new_near(&self, target: &Path) -> io::Result<Temporary> {
        let (Some(folder), Some(naming)) = (target.parent(), self.naming) else {
            return self.new_temporary();
        };
        for _ in 0..TRIES {
            match nameless_in(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder)?,
                made => return made.map(|file| Temporary::nameless(file, naming, self.next_path())),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// A second name of a file that is in its place; it disappears unless it is put somewhere.
    pub(crate) fn new_link(&self, kept: &Path) -> io::Result<Temporary> {
        let path = self.next_path();
        fs::hard_link(kept, &path)?;
        Ok(Temporary::named(File::open(&path)?, path))
    }

    fn next_path(&self) -> PathBuf {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        self.temporary().join(format!("{number:x}.part"))
    }

    /// Makes an instance's place in the directory tree durable, up to the root.
    pub(crate) fn sync_folders(&self, instance: &Path) -> io::Result<()> {
        for folder in instance.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// So often a folder is made again that somebody prunes before it is used.
const TRIES: usize = 8;

fn nameless_in(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666))?.into())
}

/// How a file gets its name that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By its descriptor: Linux 6.10, and before that with CAP_DAC_READ_SEARCH alone.
    Descriptor,
    /// By way of the process's list of descriptors.
    Process,
}

impl Naming {
    /// Gives the file its name, unless that is taken.
    fn name(self, file: &File, path: &Path) -> io::Result<()> {
        let named = match self {
            Self::Descriptor => rustix::fs::linkat(file, "", CWD, path, AtFlags::EMPTY_PATH),
            Self::Process => {
                let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, itself, CWD, path, AtFlags::SYMLINK_FOLLOW)
            }
        };
        Ok(named?)
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
    pub(crate) file: File,
    path: PathBuf,
    state: Name,
}

/// What the path of a temporary file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// What it could be called; it has none yet.
    Free(Naming),
    /// Where it lies for now.
    Temporary,
    /// Nothing any more: the file is in its place.
    Given,
}

impl Temporary {
    fn nameless(file: File, naming: Naming, path: PathBuf) -> Self {
        Self { file, path, state: Name::Free(naming) }
    }

    fn named(file: File, path: PathBuf) -> Self {
        Self { file, path, state: Name::Temporary }
    }

    /// Moves the file to `target` unless something is there.
    pub(crate) fn place(&mut self, target: &Path) -> io::Result<Placed> {
        // A folder may be pruned between its making and the move: try again.
        for _ in 0..TRIES {
            match self.try_place(target) {
                Ok(()) => {
                    self.state = Name::Given;
                    return Ok(Placed::Here);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Placed::Occupied),
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_folder_of(target)?,
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn try_place(&self, target: &Path) -> io::Result<()> {
        match self.state {
            Name::Free(naming) => naming.name(&self.file, target),
            Name::Temporary | Name::Given => {
                Ok(rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE)?)
            }
        }
    }

    /// Moves the file to `target`, whatever is there.
    pub(crate) fn replace(&mut self, target: &Path) -> io::Result<()> {
        make_folder_of(target)?;
        if let Name::Free(naming) = self.state {
            naming.name(&self.file, &self.path)?;
            self.state = Name::Temporary;
        }
        fs::rename(&self.path, target)?;
        self.state = Name::Given;
        Ok(())
    }
}

fn make_folder_of(target: &Path) -> io::Result<()> {
    target.parent().map_or(Ok(()), fs::create_dir_all)
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.state == Name::Temporary
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %error, "an unfinished file stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_name_either_way_and_takes_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(folder.path());
        fs::create_dir(layout.temporary()).unwrap();
        layout.prefer_nameless().unwrap();
        // Where an older kernel does not take a descriptor, the second way is the one that was found.
        for naming in [layout.naming.expect("a file system with files without a name"), Naming::Process] {
            let path = layout.next_path();
            let file = nameless_in(folder.path()).unwrap();
            naming.name(&file, &path).unwrap();
            assert!(path.exists());
            let taken = naming.name(&nameless_in(folder.path()).unwrap(), &path).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists, "{naming:?}");
        }
    }
}
