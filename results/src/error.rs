//! Why an object could not be made.

use crate::validate::Violation;

/// Nothing is sent when one of these comes back; the job is dead with this reason.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(
        "the label map has {slices} slices of {rows} x {columns}, the source {frames} frames of {source_rows} x {source_columns}"
    )]
    Shape {
        slices: usize,
        rows: usize,
        columns: usize,
        frames: usize,
        source_rows: usize,
        source_columns: usize,
    },
    #[error("the label map has value {value} on slice {slice}, which no segment describes")]
    UndescribedValue { value: u16, slice: usize },
    #[error("two segments have the value {0}")]
    RepeatedValue(u16),
    #[error("the value 0 is the background and cannot be a segment")]
    BackgroundSegment,
    #[error("{probabilities} probability maps are given for {segments} segments")]
    Probabilities { probabilities: usize, segments: usize },
    #[error("a label map cannot be made of probabilities")]
    NoLabels,
    #[error("cannot read the label map")]
    Labels(#[source] std::io::Error),
    #[error("a report needs at least one finding")]
    NoFinding,
    #[error("a segment of a report needs at least one measurement")]
    NoMeasurement,
    #[error("a point lies outside the source: frame {frame}, row {row}, column {column}")]
    PointOutside { frame: usize, row: u32, column: u32 },
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    #[error("class {chosen} is chosen of {classes} classes")]
    NoSuchClass { chosen: usize, classes: usize },
    #[error("a rejection needs at least one object that it is about")]
    NothingToReject,
    #[error("the pixel data would have {0} bytes, more than one element holds")]
    TooLarge(u64),
    #[error("cannot write the data set")]
    Write(#[source] Box<dicom_object::WriteError>),
    #[error("cannot write the file meta information")]
    Meta(#[source] Box<dicom_object::meta::Error>),
    #[error("cannot read the object that was to be followed up")]
    Read(#[source] Box<dicom_object::ReadError>),
    #[error("the object that was to be followed up has no usable {0}")]
    Predecessor(&'static str),
    #[error("the written object breaks {} rules, the first: {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Invalid(Vec<Violation>),
}

impl From<dicom_object::WriteError> for EncodeError {
    fn from(error: dicom_object::WriteError) -> Self {
        Self::Write(Box::new(error))
    }
}
