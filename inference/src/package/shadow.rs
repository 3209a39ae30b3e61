//! A mark beside `model.toml`: this version only watches, whatever its description says.
//!
//! A version that was made here comes into its folder with the mark, and is promoted by taking it away. Mark and
//! folder arrive together, by one rename; so does what a package says when nobody finished making it: nothing.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{Package, Policy, weights};

/// The name of the mark.
const MARK: &str = "shadow";

pub(super) fn is_marked(dir: &Path) -> bool {
    dir.join(MARK).is_file()
}

impl Package {
    /// The same package, whose results are kept and never sent. What it answers is the same and what becomes of
    /// it is not: another digest.
    pub(super) fn watching(mut self) -> Self {
        self.writes.policy = Policy::Shadow;
        self.digest = weights::hex(&Sha256::digest(format!("{MARK} {}", self.digest)));
        self
    }

    /// Marks the package in `dir` as one that only watches; `why` is for who finds the mark.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_shadow(dir: &Path, why: &str) -> io::Result<()> {
        let mut file = File::create(dir.join(MARK))?;
        file.write_all(why.as_bytes())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    }

    /// What the mark of the package in `dir` says; none when there is no mark.
    ///
    /// # Errors
    /// When there is a mark that cannot be read.
    pub fn shadow_mark(dir: &Path) -> io::Result<Option<String>> {
        match fs::read_to_string(dir.join(MARK)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the mark away; what has none stays as it is.
    ///
    /// # Errors
    /// When the mark cannot be taken away.
    pub fn unmark_shadow(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(MARK)) {
            Ok(()) => File::open(dir)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
