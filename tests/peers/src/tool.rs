//! Where the peers' programs are.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("tests/peers lies two folders below the root")
}

/// A program in one of `folders` or on PATH.
///
/// # Panics
/// Names `package` when the program is not installed.
#[track_caller]
pub fn program(name: &str, folders: &[&str], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let found = folders
        .iter()
        .map(PathBuf::from)
        .chain(on_path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run `make peers`, or apt-get install {package}"))
}

/// A DCMTK program such as `dcmsend`. Debian's; a Python package has programs of the same names.
#[track_caller]
pub fn dcmtk(name: &str) -> PathBuf {
    program(name, &["/usr/bin"], "dcmtk")
}

/// The interpreter that has what `tests/requirements.txt` lists.
///
/// # Panics
/// When `make peers` was not run.
#[track_caller]
pub fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("OVERREAD_TEST_PYTHON") {
        return named.into();
    }
    let file = workspace().join(".venv/bin/python");
    assert!(
        file.is_file(),
        "{} is missing: run `make peers`, it installs tests/requirements.txt",
        file.display()
    );
    file
}

/// ONNX Runtime's shared library.
///
/// # Panics
/// When `make runtime` was not run.
#[track_caller]
pub fn onnxruntime() -> PathBuf {
    for name in ["OVERREAD__RUNTIME__ONNXRUNTIME", "ORT_DYLIB_PATH"] {
        if let Some(named) = std::env::var_os(name).filter(|value| !value.is_empty()) {
            return named.into();
        }
    }
    let folder = workspace().join("runtime");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    files.retain(|file| file.to_string_lossy().contains("libonnxruntime.so"));
    files.sort();
    files
        .pop()
        .unwrap_or_else(|| panic!("ONNX Runtime is missing in {}: run `make runtime`", folder.display()))
}
