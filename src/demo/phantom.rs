//! Writes a synthetic brain MR study with lesions of known place and size.
//!
//! For the demonstration and for tests: whoever has no patient data gets a study that looks like an examination to
//! every program on its way, and whose truth is known. The same options give the same bytes. The recipe is the one that
//! `models/scripts/phantom_mr.py` trains on. It is no anatomy, and no figure measured on it says anything about patients.

mod dicom;
mod field;
mod geometry;
mod head;
mod lesion;
mod random;

use std::path::{Path, PathBuf};

use imaging::{BadUid, SeriesUid, StudyUid, Uid};
use rayon::prelude::*;

pub(crate) use geometry::Orientation;
use geometry::Stack;
use head::Head;
pub(crate) use lesion::{KnownLesion, LesionKind};

/// What study to make. Every field takes part in the UIDs: other options, another study.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhantomStudy {
    pub(crate) seed: u64,
    pub(crate) orientation: Orientation,
    pub(crate) slices: u16,
    /// Rows and columns of each slice.
    pub(crate) matrix: u16,
    pub(crate) pixel_spacing_mm: f64,
    pub(crate) slice_spacing_mm: f64,
    pub(crate) name: PatientName,
}

impl Default for PhantomStudy {
    fn default() -> Self {
        Self {
            seed: 1,
            orientation: Orientation::Sagittal,
            slices: 160,
            matrix: 256,
            pixel_spacing_mm: 1.0,
            slice_spacing_mm: 1.0,
            name: PatientName::Latin,
        }
    }
}

/// In which script the made-up patient's name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatientName {
    Latin,
    /// Alphabetic, ideographic and phonetic component groups (PS3.5 §6.2.1.2).
    Korean,
}

/// What was written, and the truth about it.
#[derive(Debug, Clone)]
pub(crate) struct WrittenStudy {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) frame_of_reference: Uid,
    /// In the order of the slices.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) lesions: Vec<KnownLesion>,
}

/// Why a study could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PhantomError {
    #[error("a phantom study has {what} of {value}; {expected}")]
    Options { what: &'static str, value: f64, expected: &'static str },
    #[error("cannot make folder {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot encode slice {slice}")]
    Encode { slice: usize, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("a UID of the phantom study is malformed")]
    Uid(#[from] BadUid),
}

/// Writes the study into `dir`, one file per slice, named by its place in the stack.
///
/// # Errors
/// When an option is out of range, or the folder cannot be made or written.
pub(crate) fn write_study(options: &PhantomStudy, dir: &Path) -> Result<WrittenStudy, PhantomError> {
    check(options)?;
    std::fs::create_dir_all(dir).map_err(|source| PhantomError::Folder { path: dir.to_owned(), source })?;
    let head = Head::draw(options.seed);
    let stack = Stack::new(options);
    let identity = dicom::Identity::of(options);
    let files = (0..usize::from(options.slices))
        .into_par_iter()
        .map(|slice| {
            let path = dir.join(format!("{:04}.dcm", slice + 1));
            let pixels = head.slice(&stack, slice);
            let bytes = dicom::encode(options, &identity, &stack, slice, &pixels)
                .map_err(|source| PhantomError::Encode { slice: slice + 1, source })?;
            std::fs::write(&path, bytes)
                .map_err(|source| PhantomError::Write { path: path.clone(), source })?;
            Ok(path)
        })
        .collect::<Result<Vec<_>, PhantomError>>()?;
    Ok(WrittenStudy {
        study: StudyUid::parse(&identity.study)?,
        series: SeriesUid::parse(&identity.series)?,
        frame_of_reference: Uid::parse(&identity.frame_of_reference)?,
        files,
        lesions: head.known_lesions(),
    })
}

fn check(options: &PhantomStudy) -> Result<(), PhantomError> {
    let bound = |what, value: f64, low: f64, high: f64, expected| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(PhantomError::Options { what, value, expected })
        }
    };
    bound("slices", f64::from(options.slices), 1.0, 512.0, "expected 1 to 512")?;
    bound("a matrix", f64::from(options.matrix), 16.0, 1024.0, "expected 16 to 1024")?;
    bound("a pixel spacing in mm", options.pixel_spacing_mm, 0.2, 10.0, "expected 0.2 to 10")?;
    bound("a slice spacing in mm", options.slice_spacing_mm, 0.2, 20.0, "expected 0.2 to 20")
}

#[cfg(test)]
mod tests;
