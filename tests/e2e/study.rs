//! Synthetic studies, made by the binary itself, and sent by other people's programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use peers::{Guarded, dcmtk, mortal};
use serde_json::Value;

use crate::service::COMMAND_LIMIT;

/// A written study and the truth about it.
pub(crate) struct Study {
    folder: tempfile::TempDir,
    pub(crate) study_uid: String,
    pub(crate) truth: Value,
}

impl Study {
    /// Small enough to be computed in seconds, big enough to hold a lesion.
    pub(crate) fn small(seed: u32) -> Self {
        Self::with(&["--seed", &seed.to_string(), "--slices", "40", "--slice-spacing", "4"])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("overread-study").tempdir().expect("a temporary folder");
        let output = Command::new(env!("CARGO_BIN_EXE_overread"))
            .args(["demo", "--json", "--write-study"])
            .arg(folder.path())
            .args(options)
            .current_dir(folder.path())
            .output()
            .unwrap_or_else(|error| panic!("cannot run overread: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let truth: Value = serde_json::from_slice(&output.stdout).expect("the truth is JSON");
        let study_uid = truth["study_uid"].as_str().expect("the truth names the study").to_owned();
        Self { folder, study_uid, truth }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The instances, in the order of the slices.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).expect("our own folder");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("our own folder").path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "dcm"));
        files.sort();
        files
    }

    /// Sends everything with DCMTK's `dcmsend`.
    #[track_caller]
    pub(crate) fn dcmsend(&self, port: u16) {
        dcmsend(&self.files(), port);
    }
}

/// Sends `files` over one association.
#[track_caller]
pub(crate) fn dcmsend(files: &[PathBuf], port: u16) {
    let output = dcmsend_output(files, port);
    assert!(output.status.success(), "dcmsend: {}", String::from_utf8_lossy(&output.stderr));
}

/// The same to a peer that may die meanwhile; says whether it has taken everything.
pub(crate) fn try_dcmsend(files: &[PathBuf], port: u16) -> bool {
    dcmsend_output(files, port).status.success()
}

fn dcmsend_output(files: &[PathBuf], port: u16) -> Output {
    let mut command = mortal(dcmtk("dcmsend"));
    command.args(["--call", "OVERREAD", "127.0.0.1", &port.to_string()]).args(files);
    Guarded::output(command, COMMAND_LIMIT)
}
