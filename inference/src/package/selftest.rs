//! The files that prove a model gives the numbers that it gave where it was made.

use std::path::PathBuf;

use super::{PackageError, manifest::Section, weights::file_inside};

#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestFiles {
    /// Relative to the package; `.npy`.
    pub input: PathBuf,
    pub expected: PathBuf,
    /// Largest absolute difference that passes.
    pub tolerance: f64,
}

impl SelfTestFiles {
    pub(super) fn read(root: &Section<'_>) -> Result<Self, PackageError> {
        let field = root.required("selftest", "a table with `input`, `expected` and `tolerance`")?;
        let section = field.section()?;
        let input = file_inside(&section.required("input", "an .npy file in this folder")?)?;
        let expected = file_inside(&section.required("expected", "an .npy file in this folder")?)?;
        let field = section.required("tolerance", "the largest absolute difference")?;
        let tolerance = field.number()?;
        section.done()?;
        if tolerance < 0.0 {
            return Err(field.error(format!("`selftest.tolerance` is {tolerance}: expected 0 or more")));
        }
        Ok(Self { input, expected, tolerance })
    }
}
