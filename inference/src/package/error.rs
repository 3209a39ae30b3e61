//! What can be wrong with a package, always with the file and, where there is one, the line.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Why a folder is no model package. Reads like a compiler's message: `model.toml:12: …: expected …`.
#[derive(Debug, thiserror::Error)]
pub struct PackageError {
    pub file: PathBuf,
    /// Counted from 1; none where the file as a whole is meant.
    pub line: Option<usize>,
    pub problem: String,
    #[source]
    source: Option<std::io::Error>,
}

impl PackageError {
    pub(crate) fn at_line(file: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: Some(line), problem: problem.into(), source: None }
    }

    pub(crate) fn in_file(file: &Path, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, problem: problem.into(), source: None }
    }

    pub(crate) fn unreadable(file: &Path, problem: impl Into<String>, source: std::io::Error) -> Self {
        Self { file: file.to_owned(), line: None, problem: problem.into(), source: Some(source) }
    }
}

impl fmt::Display for PackageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}
