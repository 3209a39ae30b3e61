//! A spool in a folder, and instances to put into it.

use std::{collections::BTreeSet, ffi::OsString, fs, path::Path};

use imaging::{SopClassUid, SopInstanceUid, Uid};
use spool::{Durability, Ended, FileMeta, Incoming, InstanceKey, Noted, Outcome, Spool, SpoolConfig};
use tempfile::TempDir;

pub(crate) const CLASS: &str = "1.2.840.10008.5.1.4.1.1.4";

/// A small explicit little endian data set; `pixels` bytes of it are pixel data.
pub(crate) fn dataset(instance: &str, patient: &str, pixels: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (group, number, vr, value) in [
        (0x0008_u16, 0x0016_u16, b"UI", CLASS),
        (0x0008, 0x0018, b"UI", instance),
        (0x0010, 0x0020, b"LO", patient),
        (0x0020, 0x000D, b"UI", "1.2.3.1"),
        (0x0020, 0x000E, b"UI", "1.2.3.2"),
    ] {
        let padding = if vr == b"UI" { 0 } else { b' ' };
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), padding);
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(vr);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&value);
    }
    out.extend_from_slice(&[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0]);
    out.extend_from_slice(&u32::try_from(pixels).unwrap().to_le_bytes());
    out.extend((0..pixels).map(|index| (index % 251) as u8));
    out
}

pub(crate) fn config(folder: &Path, durability: Durability) -> SpoolConfig {
    SpoolConfig {
        durability,
        min_free_bytes: 0,
        journal_bytes: 48 << 20,
        ..SpoolConfig::new(folder.join("spool"), folder.join("quarantine"))
    }
}

pub(crate) fn open(folder: &Path, durability: Durability) -> Spool {
    Spool::open(config(folder, durability)).unwrap()
}

pub(crate) fn begin(spool: &Spool, instance: &str) -> Incoming {
    let meta = FileMeta {
        sop_class: SopClassUid::parse(CLASS).unwrap(),
        sop_instance: SopInstanceUid::parse(instance).unwrap(),
        transfer_syntax: Uid::parse("1.2.840.10008.1.2.1").unwrap(),
        calling_ae_title: "MODALITY".to_owned(),
    };
    spool.receive(meta).unwrap()
}

pub(crate) fn receive(spool: &Spool, instance: &str, bytes: &[u8]) -> Outcome {
    let mut incoming = begin(spool, instance);
    for chunk in bytes.chunks(16_001) {
        incoming.write(chunk).unwrap();
    }
    incoming.finish().unwrap()
}

#[track_caller]
pub(crate) fn kept(outcome: Outcome) -> spool::Kept {
    match outcome {
        Outcome::Kept(kept) => kept,
        other => panic!("not kept: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn noted(ended: Ended) -> Noted {
    match ended {
        Ended::Noted(noted) => *noted,
        other => panic!("not in the journal: {other:?}"),
    }
}

pub(crate) fn files_below(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

pub(crate) fn key(instance: &str) -> InstanceKey {
    InstanceKey {
        study: "1.2.3.1".parse().unwrap(),
        series: "1.2.3.2".parse().unwrap(),
        sop_instance: instance.parse().unwrap(),
    }
}

/// A copy of the spool's folder as a process that dies now would leave it.
pub(crate) fn crashed(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    let status =
        std::process::Command::new("cp").arg("-a").arg(folder.join(".")).arg(copy.path()).status().unwrap();
    assert!(status.success());
    copy
}

/// Segments that the journal of these tests has.
pub(crate) const SEGMENTS: usize = 24;

/// They, by name.
pub(crate) fn segments(folder: &Path) -> BTreeSet<OsString> {
    let journal = fs::read_dir(folder.join("spool/journal")).unwrap();
    journal.map(|entry| entry.unwrap().file_name()).collect()
}
