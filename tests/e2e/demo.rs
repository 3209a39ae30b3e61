//! `overread demo`, the first command that a newcomer runs.

use peers::Guarded;
use serde_json::Value;

use crate::service::{COMMAND_LIMIT, Site};

#[test]
fn the_demonstration_finds_the_lesion_that_it_made_and_says_where_the_files_are() {
    let site = Site::new("");
    let mut command = peers::mortal(env!("CARGO_BIN_EXE_overread"));
    let setting = |key: &str, value: &std::path::Path| format!("{key}={value:?}");
    command
        .args(["demo", "--once", "--json", "--slices", "40", "--slice-spacing", "4", "--dir", "kept"])
        .args(["--set", &setting("models.dir", &peers::workspace().join("models"))])
        .args(["--set", &setting("runtime.onnxruntime", &peers::onnxruntime())])
        .current_dir(site.path());
    let output = Guarded::output(command, COMMAND_LIMIT);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    for words in ["NOT A MEDICAL DEVICE", "40 instances to us by C-STORE", "truth: a lesion", "/docs"] {
        assert!(told.contains(words), "without {words:?}:\n{told}");
    }
    let results: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    assert_eq!(results.as_array().map(Vec::len), Some(1), "{results}");
    for role in ["SEG", "SR"] {
        let line = told.lines().find(|line| line.trim_start().starts_with(role)).expect("a line for it");
        let file = line.trim_start().trim_start_matches(role).trim();
        assert!(site.path().join(file).is_file(), "{file} is not there:\n{told}");
    }
    let volume = told.lines().any(|line| line.contains(" ml") && !line.contains("truth"));
    assert!(volume, "no structure was found:\n{told}");
}
