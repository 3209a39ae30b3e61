//! The files that hold what was learnt, pinned by digest.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{
    PackageError,
    manifest::{Field, Section},
};

/// One ONNX file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Relative to the package.
    pub file: PathBuf,
    /// 64 hexadecimal digits, lower case.
    pub sha256: String,
    /// The line of `model.toml` that pins the digest.
    line_of: DigestLine,
}

/// Keeps the place of a digest in the manifest, so that a mismatch can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DigestLine {
    manifest: PathBuf,
    line: Option<usize>,
}

impl Weights {
    pub(super) fn read_all(root: &Section<'_>) -> Result<Vec<Self>, PackageError> {
        let sections = root.sections("weights")?;
        if sections.is_empty() {
            return Err(
                root.error("`[[weights]]` is missing: expected at least one, with `file` and `sha256`")
            );
        }
        sections.iter().map(Self::read).collect()
    }

    fn read(section: &Section<'_>) -> Result<Self, PackageError> {
        let file = file_inside(&section.required("file", "the name of an ONNX file in this folder")?)?;
        let field = section.required("sha256", "the 64 hexadecimal digits that sha256sum prints")?;
        let sha256 = field.text()?.to_ascii_lowercase();
        section.done()?;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(
                field.error(format!("`{}` is no SHA-256: expected 64 hexadecimal digits", field.name()))
            );
        }
        let place = field.error(String::new());
        Ok(Self { file, sha256, line_of: DigestLine { manifest: place.file, line: place.line } })
    }

    /// Compares the file with its digest.
    pub(super) fn verify(&self, dir: &Path) -> Result<(), PackageError> {
        let path = dir.join(&self.file);
        let found = file_sha256(&path).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file: `weights.file` names it",
                _ => "the weights cannot be read",
            };
            PackageError::unreadable(&path, problem, error)
        })?;
        if found == self.sha256 {
            return Ok(());
        }
        let problem = format!("{} has the SHA-256 {found}, not the one pinned here", self.file.display());
        Err(match self.line_of.line {
            Some(line) => PackageError::at_line(&self.line_of.manifest, line, problem),
            None => PackageError::in_file(&self.line_of.manifest, problem),
        })
    }
}

/// A relative file name that does not leave the package.
pub(super) fn file_inside(field: &Field<'_>) -> Result<PathBuf, PackageError> {
    let path = PathBuf::from(field.text()?);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path.file_name().is_some() {
        Ok(path)
    } else {
        Err(field
            .error(format!("`{}` leaves the package: expected a file name inside this folder", field.name())))
    }
}

fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&block[..read]);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
