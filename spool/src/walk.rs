//! Every instance in the spool, for rebuilding the ledger.

use std::{
    fs::{self, ReadDir},
    io,
    path::{Path, PathBuf},
};

use imaging::Header;

use crate::{
    digest::Digest,
    outcome::InstanceKey,
    stored::{HeadError, Stored},
};

/// An instance that the walk came by.
#[derive(Debug)]
pub struct Found {
    pub key: InstanceKey,
    pub header: Header,
    pub digest: Digest,
    pub size_bytes: u64,
    pub path: PathBuf,
}

/// A file or folder of the spool that is no instance.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path} of the spool")]
pub struct WalkError {
    pub path: PathBuf,
    #[source]
    pub source: HeadError,
}

/// Goes through the spool folder by folder; holds one open folder a level, whatever the spool's size.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<ReadDir>,
    unopened: Option<WalkError>,
}

/// Instances lie below shard, study and series.
const LEVELS: usize = 4;

impl Walk {
    pub(crate) fn new(root: &Path) -> Self {
        match fs::read_dir(root) {
            Ok(folder) => Self { levels: vec![folder], unopened: None },
            Err(error) => Self { levels: Vec::new(), unopened: Some(failed(root, error)) },
        }
    }

    fn step(&mut self) -> Option<Result<PathBuf, WalkError>> {
        loop {
            let depth = self.levels.len();
            let Some(entry) = self.levels.last_mut()?.next() else {
                self.levels.pop();
                continue;
            };
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => return Some(Err(failed(Path::new("spool"), error))),
            };
            if depth == 1 && !is_shard(&path) {
                continue;
            }
            if depth == LEVELS {
                return Some(Ok(path));
            }
            match fs::read_dir(&path) {
                Ok(folder) => self.levels.push(folder),
                Err(error) => return Some(Err(failed(&path, error))),
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.unopened.take() {
            return Some(Err(error));
        }
        let path = match self.step()? {
            Ok(path) => path,
            Err(error) => return Some(Err(error)),
        };
        Some(found(&path).map_err(|source| WalkError { path, source }))
    }
}

pub(crate) fn found(path: &Path) -> Result<Found, HeadError> {
    let stored = Stored::open(path)?.ok_or(HeadError::NotWhole)?;
    let digest = stored.digest().ok_or(HeadError::NotWhole)?;
    let header = stored.header()?;
    Ok(Found {
        key: InstanceKey::of(&header),
        header,
        digest,
        size_bytes: stored.size_bytes(),
        path: path.to_owned(),
    })
}

fn is_shard(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn failed(path: &Path, error: io::Error) -> WalkError {
    WalkError { path: path.to_owned(), source: error.into() }
}
