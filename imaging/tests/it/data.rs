//! The shared test data and the references beside these tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use imaging::Header;
use serde_json::Value;

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

pub(crate) fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn reference(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The instances of a packed series, in the order of their file names.
pub(crate) fn series(archive: &str) -> (tempfile::TempDir, Vec<(Header, PathBuf)>) {
    let unpacked = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .arg("xJf")
        .arg(folder(archive))
        .arg("-C")
        .arg(unpacked.path())
        .status()
        .expect("tar and xz are installed");
    assert!(status.success(), "tar cannot unpack {archive}");
    let folder = std::fs::read_dir(unpacked.path()).unwrap().next().unwrap().unwrap().path();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let sources = paths.into_iter().map(|path| (Header::read_file(&path).unwrap(), path)).collect();
    (unpacked, sources)
}
