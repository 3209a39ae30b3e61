//! Label maps in files: NumPy `.npy`, and NIfTI `.nii` and `.nii.gz`.
//!
//! A `.npy` array is (slice along the normal, row, column) and is read slice by slice. A NIfTI
//! volume is placed on the source by its affine; it must lie on the source's own voxels, because a
//! segmentation is never resampled here.

mod nifti;
mod npy;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{LabelPlane, LabelPlanes, Source};

/// Why a file cannot be used as a label map.
#[derive(Debug, thiserror::Error)]
pub enum LabelsFileError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is neither .npy nor .nii nor .nii.gz", .0.display())]
    Unknown(PathBuf),
    #[error("{} is no label map: {problem}", path.display())]
    Malformed { path: PathBuf, problem: String },
    #[error("{} does not lie on the source: slice {slice} is {off_by:.2} voxels beside its place", path.display())]
    OffGrid { path: PathBuf, slice: usize, off_by: f64 },
}

/// Opens a label map for `source`, by the file's name.
///
/// # Errors
/// Says what is wrong with the file, or where it does not fit the source.
pub fn open_labels(path: &Path, source: &Source) -> Result<Box<dyn LabelPlanes>, LabelsFileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.ends_with(".npy") {
        return Ok(Box::new(npy::Npy::open(path)?));
    }
    if name.ends_with(".nii") || name.ends_with(".nii.gz") {
        return open_nifti(path, source);
    }
    Err(LabelsFileError::Unknown(path.to_owned()))
}

/// Opens a NIfTI label map for `source`, packed or not, whatever the file is called.
///
/// # Errors
/// As [`open_labels`].
pub fn open_nifti(path: &Path, source: &Source) -> Result<Box<dyn LabelPlanes>, LabelsFileError> {
    Ok(Box::new(nifti::Nifti::open(path, source)?))
}

/// Errors of one file, with its name.
struct Context<'a>(&'a Path);

impl Context<'_> {
    fn read(&self, source: io::Error) -> LabelsFileError {
        LabelsFileError::Read { path: self.0.to_owned(), source }
    }

    fn malformed(&self, problem: impl Into<String>) -> LabelsFileError {
        LabelsFileError::Malformed { path: self.0.to_owned(), problem: problem.into() }
    }
}

/// How numbers are stored, in the byte order that the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Labels from 0 to 65535; appends them to `labels`.
    ///
    /// # Errors
    /// A value that is none of them.
    fn labels(self, bytes: &[u8], order: ByteOrder, labels: &mut Labels) -> Result<(), f64> {
        if let (Self::U8, Labels::Bytes(labels)) = (self, &mut *labels) {
            labels.extend_from_slice(bytes);
            return Ok(());
        }
        for chunk in bytes.chunks_exact(self.size()) {
            let value = self.value(chunk, order);
            // NaN is not equal to itself and is refused with the rest
            if value != f64::from(value as u16) {
                return Err(value);
            }
            labels.push(value as u16);
        }
        Ok(())
    }

    fn value(self, chunk: &[u8], order: ByteOrder) -> f64 {
        let mut eight = [0; 8];
        match order {
            ByteOrder::Little => eight[..chunk.len()].copy_from_slice(chunk),
            ByteOrder::Big => {
                eight.iter_mut().zip(chunk.iter().rev()).for_each(|(to, from)| *to = *from);
            }
        }
        let bits = u64::from_le_bytes(eight);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => bits as f64,
            Self::I8 => f64::from(bits as i8),
            Self::I16 => f64::from(bits as i16),
            Self::I32 => f64::from(bits as i32),
            Self::I64 => bits as i64 as f64,
            Self::F32 => f64::from(f32::from_bits(bits as u32)),
            Self::F64 => f64::from_bits(bits),
        }
    }
}

/// Labels in bytes, until one comes that is too large for them.
#[derive(Debug, PartialEq, Eq)]
enum Labels {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Labels {
    fn new() -> Self {
        Self::Bytes(Vec::new())
    }

    /// Bytes again, with the room that there is.
    fn clear(&mut self) {
        match self {
            Self::Bytes(labels) => labels.clear(),
            Self::Words(_) => *self = Self::new(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(labels) => labels.len(),
            Self::Words(labels) => labels.len(),
        }
    }

    fn push(&mut self, value: u16) {
        match (&mut *self, u8::try_from(value)) {
            (Self::Bytes(labels), Ok(value)) => labels.push(value),
            (Self::Words(labels), _) => labels.push(value),
            (Self::Bytes(labels), Err(_)) => {
                let words = labels.iter().copied().map(u16::from).chain([value]).collect();
                *self = Self::Words(words);
            }
        }
    }

    fn plane(&self) -> LabelPlane<'_> {
        match self {
            Self::Bytes(labels) => LabelPlane::Bytes(labels),
            Self::Words(labels) => LabelPlane::Words(labels),
        }
    }
}

/// The error of a value that is no label, for a reader in the middle of a slice.
fn no_label(value: f64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{value} is no label: labels are whole numbers from 0 to 65535"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: Number, bytes: &[u8], order: ByteOrder, expected: Result<Labels, f64>) {
        let mut labels = Labels::new();
        let got = number.labels(bytes, order, &mut labels);
        assert_eq!(got.map(|()| labels), expected);
    }

    #[test]
    fn every_kind_of_number_is_a_label_when_it_is_whole_and_small() {
        use ByteOrder::{Big, Little};
        let bytes = |labels: &[u8]| Ok(Labels::Bytes(labels.to_vec()));
        check(Number::U8, &[1, 255], Little, bytes(&[1, 255]));
        check(Number::I8, &[0xff], Little, Err(-1.0));
        check(Number::I16, &[3, 0, 0, 1, 4, 0], Little, Ok(Labels::Words(vec![3, 256, 4])));
        check(Number::U16, &[0, 7], Big, bytes(&[7]));
        check(Number::I32, &(-2i32).to_le_bytes(), Little, Err(-2.0));
        check(Number::U32, &65_536u32.to_le_bytes(), Little, Err(65_536.0));
        check(Number::F32, &2.0f32.to_be_bytes(), Big, bytes(&[2]));
        check(Number::F64, &2.5f64.to_le_bytes(), Little, Err(2.5));
        check(Number::I64, &9i64.to_le_bytes(), Little, bytes(&[9]));
    }

    #[test]
    fn what_is_no_number_is_no_label() {
        let mut labels = Labels::new();
        assert!(Number::F32.labels(&f32::NAN.to_le_bytes(), ByteOrder::Little, &mut labels).is_err());
    }
}
