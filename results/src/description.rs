//! What the values of a label map mean, from a file: a package's `[[output.label]]` tables in TOML,
//! or dcmqi's JSON.

mod dcmqi;
mod package;

use std::{
    io,
    path::{Path, PathBuf},
};

use imaging::Code;

use crate::Segment;

/// Segments, and what the file says about who made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub segments: Vec<Segment>,
    pub name: Option<String>,
    pub version: Option<String>,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is neither .toml nor .json", .0.display())]
    Unknown(PathBuf),
    #[error("{} is malformed", path.display())]
    Toml {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("{} is malformed", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{}: label {value} {problem}", path.display())]
    Label { path: PathBuf, value: u64, problem: String },
    #[error("{} describes no label", .0.display())]
    Empty(PathBuf),
}

impl Description {
    /// Reads a `.toml` or `.json` file.
    ///
    /// # Errors
    /// Says what is wrong and, for a label, with which.
    pub fn read(path: &Path) -> Result<Self, DescriptionError> {
        let read = || {
            std::fs::read_to_string(path)
                .map_err(|source| DescriptionError::Read { path: path.to_owned(), source })
        };
        let description = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => package::parse(path, &read()?)?,
            Some("json") => dcmqi::parse(path, &read()?)?,
            _ => return Err(DescriptionError::Unknown(path.to_owned())),
        };
        if description.segments.is_empty() {
            return Err(DescriptionError::Empty(path.to_owned()));
        }
        Ok(description)
    }
}

/// What labels of both forms must keep.
fn check_label(value: u64, codes: &[Option<&Code>]) -> Result<u16, String> {
    let value = match u16::try_from(value) {
        Ok(0) => return Err("is the background and not described".into()),
        Ok(value) => value,
        Err(_) => return Err("is larger than 65535".into()),
    };
    for code in codes.iter().flatten() {
        if code.value.is_empty() || code.scheme.is_empty() || code.meaning.is_empty() {
            return Err("has a code without value, scheme or meaning".into());
        }
        if matches!(code.scheme.as_str(), "SRT" | "SNM3" | "99SDM") {
            let Code { value, scheme, meaning } = code;
            return Err(format!("has the code {value} ({meaning}) of the retired scheme {scheme}: use SCT"));
        }
    }
    Ok(value)
}
