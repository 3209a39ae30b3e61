//! What is whole but cannot be used, kept aside with the reason beside it.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;
use time::{OffsetDateTime, macros::format_description};

use crate::{
    config::Durability,
    layout::{Placed, Temporary},
    part10::FileMeta,
};

#[derive(Debug)]
pub(crate) struct Quarantine {
    folder: PathBuf,
    durability: Durability,
    next: AtomicU64,
}

/// The `.json` beside a quarantined file. It holds no patient data, and of a damaged file nothing but the reason.
#[derive(Debug, Serialize)]
struct Note<'note> {
    reason: String,
    received_at: String,
    calling_ae_title: Option<&'note str>,
    sop_class: Option<&'note str>,
    sop_instance: Option<&'note str>,
    transfer_syntax: Option<&'note str>,
}

impl Quarantine {
    pub(crate) fn new(folder: &Path, durability: Durability) -> Self {
        Self { folder: folder.to_owned(), durability, next: AtomicU64::new(0) }
    }

    pub(crate) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "dcm") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Takes the file in; its path is what it can be found by.
    pub(crate) fn admit(
        &self,
        mut file: Temporary,
        meta: Option<&FileMeta>,
        reason: &str,
    ) -> io::Result<PathBuf> {
        let now = OffsetDateTime::now_utc();
        let stamp = now
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .map_err(io::Error::other)?;
        let path = loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!("{stamp}-{number}.dcm"));
            if self.durability == Durability::Power {
                file.file.sync_all()?;
            }
            if file.place(&path)? == Placed::Here {
                break path;
            }
        };
        if self.durability == Durability::Power {
            file.file.sync_all()?; // its new name
        }
        let note = Note {
            reason: reason.to_owned(),
            received_at: now
                .format(&time::format_description::well_known::Rfc3339)
                .map_err(io::Error::other)?,
            calling_ae_title: meta.map(|meta| meta.calling_ae_title.as_str()),
            sop_class: meta.map(|meta| meta.sop_class.as_str()),
            sop_instance: meta.map(|meta| meta.sop_instance.as_str()),
            transfer_syntax: meta.map(|meta| meta.transfer_syntax.as_str()),
        };
        let mut beside = File::create(path.with_extension("json"))?;
        beside.write_all(&serde_json::to_vec_pretty(&note)?)?;
        if self.durability == Durability::Power {
            beside.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(path)
    }
}
