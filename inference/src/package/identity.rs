//! What a model is called: id, version.

use std::{cmp::Ordering, fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{PackageError, manifest::Field};

/// Longer names do not fit the 64 characters of a DICOM LO together with a version.
const ID_LENGTH_MAX: usize = 40;

/// The id of a model, or another name for it: lower case letters, digits and `-` (aliases: upper case and `_` too).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(String);

impl ModelId {
    /// A name that a request gives; whether a model has it is for the registry.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        Self::checked(field, allowed, "lower case letters, digits and '-'")
    }

    pub(crate) fn read_alias(field: &Field<'_>) -> Result<Self, PackageError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        Self::checked(field, allowed, "letters, digits, '-' and '_'")
    }

    fn checked(field: &Field<'_>, allowed: impl Fn(u8) -> bool, words: &str) -> Result<Self, PackageError> {
        let text = field.text()?;
        let fits = (1..=ID_LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(field
                .error(format!("`{}` is \"{text}\": expected 1 to {ID_LENGTH_MAX} {words}", field.name())))
        }
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The folder is called `id` or `id@something`, so that a listing says what is in it.
pub(super) fn check_folder(dir: &Path, id: &ModelId, field: &Field<'_>) -> Result<(), PackageError> {
    let Some(folder) = dir.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let stem = folder.split_once('@').map_or(folder, |(stem, _)| stem);
    if stem == id.as_str() {
        Ok(())
    } else {
        Err(field.error(format!("`id` is \"{id}\" but the folder is \"{folder}\": expected the same name")))
    }
}

/// `major.minor.patch`, ordered as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u32; 3]);

impl Version {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let text = field.text()?;
        text.parse().map_err(|NotAVersion| {
            field.error(format!("`version` is \"{text}\": expected three numbers such as \"1.0.0\""))
        })
    }
}

impl Version {
    /// The smallest version above this one.
    #[must_use]
    pub fn next_patch(self) -> Self {
        let [major, minor, patch] = self.0;
        Self([major, minor, patch.saturating_add(1)])
    }
}

/// A text that is not three numbers with dots between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers such as 1.0.0")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = |part: &str| part.parse::<u32>().ok().filter(|_| digits(part));
        let numbers = text.split('.').map(number).collect::<Option<Vec<_>>>().ok_or(NotAVersion)?;
        numbers.try_into().map(Self).map_err(|_| NotAVersion)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("1.10.0").unwrap() > version("1.9.9").unwrap());
        assert_eq!(version("1.2.3").unwrap().to_string(), "1.2.3");
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.+2.3", "v1.2.3", "1..3"] {
            assert_eq!(version(bad), Err(NotAVersion), "{bad:?}");
        }
    }
}
