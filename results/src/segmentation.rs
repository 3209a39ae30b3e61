//! Segmentation objects (PS3.3 §A.51): a label map over the source's frames, frame for frame.
//!
//! Each frame names the source frame that it was derived from and copies that frame's
//! position, so that a viewer puts it on the right slice whatever the geometry. The label
//! map is read slice by slice; what is held is the object itself and one slice.

mod frames;
mod groups;
mod image;
mod labels;
mod pack;
mod pixels;
mod rle;

use std::collections::HashSet;

use dicom_dictionary_std::uids;
use imaging::Uid;
use ndarray::ArrayView3;

use crate::{
    Compression, EncodeError, Encoded, Packing, Production, Role, Segment, SegmentationType, Source,
    concepts::SEGMENTATION, validate,
};

pub(crate) use frames::Content;
use frames::Scan;
pub(crate) use groups::Groups;
pub(crate) use image::{dimensions, frame_of_reference, lossy_compression, referenced_series, shared_groups};
pub use labels::{LabelPlane, LabelPlanes};
use pixels::Voxels;
pub(crate) use pixels::{append_element, append_pixel_data};

/// What a segmentation is made of, besides the label map.
#[derive(Debug, Clone, Copy)]
pub struct SegmentationInput<'a> {
    pub production: &'a Production,
    pub source: &'a Source,
    /// What the values of the label map mean; 0 is the background and not listed.
    pub segments: &'a [Segment],
    /// For each of the segments how probable it is at each voxel. With these a FRACTIONAL segmentation
    /// holds probabilities; without, the label map as 0 and 1. Other forms do not look at them.
    pub probabilities: Option<&'a [ArrayView3<'a, f32>]>,
}

/// One segmentation object.
#[derive(Debug, Clone)]
pub struct Segmentation {
    pub encoded: Encoded,
    /// Segment Number in this object for each of the input's segments; none for one without a voxel,
    /// or one that lies in another file.
    pub numbers: Vec<Option<u16>>,
}

/// A segment of one object: which it is, and its number there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered<'a> {
    pub(crate) segment: &'a Segment,
    /// Position in the input, which decides its colour when it has none.
    pub(crate) index: usize,
    pub(crate) number: u16,
}

/// Writes the label map (`[slice, row, column]`; slice `k` lies on frame `k` of the source) as the
/// production's profile asks: one object, or one for each segment. None when no voxel is labelled.
///
/// # Errors
/// When the label map does not fit the source or has a value that is not described, or when the
/// written object breaks a rule.
pub fn segmentation(
    input: &SegmentationInput<'_>,
    labels: ArrayView3<'_, u8>,
) -> Result<Vec<Segmentation>, EncodeError> {
    segmentation_of_planes(input, &mut labels::ArrayPlanes::new(labels))
}

/// As [`segmentation`], with slices that are read one at a time.
///
/// # Errors
/// As [`segmentation`]; and when a slice cannot be read.
pub fn segmentation_of_planes(
    input: &SegmentationInput<'_>,
    labels: &mut dyn LabelPlanes,
) -> Result<Vec<Segmentation>, EncodeError> {
    check(input, labels.shape())?;
    let is_fractional = input.production.profile.segmentation == SegmentationType::Fractional;
    let (mut scan, mut voxels) = match input.probabilities.filter(|_| is_fractional) {
        Some(probabilities) => {
            check_probabilities(input, probabilities)?;
            (Scan::of_probabilities(probabilities)?, Voxels::Probabilities(probabilities))
        }
        None => (Scan::of_labels(input, labels)?, Voxels::Labels(labels)),
    };
    let present: Vec<usize> = (0..input.segments.len()).filter(|&index| scan.is_present(index)).collect();
    let files: Vec<Vec<usize>> = match input.production.profile.packing {
        _ if present.is_empty() => Vec::new(),
        Packing::OneFile => vec![present],
        Packing::FilePerSegment => present.into_iter().map(|index| vec![index]).collect(),
    };
    files.into_iter().map(|members| write(input, &mut scan, &mut voxels, &members)).collect()
}

fn write(
    input: &SegmentationInput<'_>,
    scan: &mut Scan,
    voxels: &mut Voxels<'_>,
    members: &[usize],
) -> Result<Segmentation, EncodeError> {
    let part = part(input, members);
    // there are no more values than numbers
    let segments: Vec<Numbered<'_>> = members
        .iter()
        .zip(1..=u16::MAX)
        .map(|(&index, number)| Numbered { segment: &input.segments[index], index, number })
        .collect();
    let content = Content::of(input, scan, &segments);
    let head = image::head(input, &segments, &content, &part);
    let mut encoded = Encoded::begin(Role::Segmentation, &head, transfer_syntax(input.production))?;
    Groups {
        source: input.source,
        content: &content,
        derivation: SEGMENTATION,
        by_segment: input.production.profile.segmentation != SegmentationType::LabelMap,
    }
    .append(&mut encoded.bytes);
    pixels::append(&mut encoded.bytes, input, scan, voxels, &segments, &content)?;
    validate(&encoded.bytes, Some(input.source)).map_err(EncodeError::Invalid)?;
    let mut numbers = vec![None; input.segments.len()];
    for numbered in &segments {
        numbers[numbered.index] = Some(numbered.number);
    }
    Ok(Segmentation { encoded, numbers })
}

/// Part of the UIDs: empty for the one file, the value of its segment for each of several.
fn part(input: &SegmentationInput<'_>, members: &[usize]) -> String {
    match (input.production.profile.packing, members) {
        (Packing::FilePerSegment, [index]) => input.segments[*index].value.to_string(),
        _ => String::new(),
    }
}

fn check(input: &SegmentationInput<'_>, shape: [usize; 3]) -> Result<(), EncodeError> {
    check_shape(input.source, shape)?;
    let mut seen = HashSet::new();
    for segment in input.segments {
        if segment.value == 0 {
            return Err(EncodeError::BackgroundSegment);
        }
        if !seen.insert(segment.value) {
            return Err(EncodeError::RepeatedValue(segment.value));
        }
    }
    Ok(())
}

fn check_probabilities(
    input: &SegmentationInput<'_>,
    probabilities: &[ArrayView3<'_, f32>],
) -> Result<(), EncodeError> {
    if probabilities.len() != input.segments.len() {
        let (probabilities, segments) = (probabilities.len(), input.segments.len());
        return Err(EncodeError::Probabilities { probabilities, segments });
    }
    probabilities.iter().try_for_each(|segment| check_shape(input.source, segment.dim().into()))
}

/// Whether a volume has the source's frames, rows and columns.
pub(crate) fn check_shape(source: &Source, [slices, rows, columns]: [usize; 3]) -> Result<(), EncodeError> {
    let (source_rows, source_columns) = (source.rows() as usize, source.columns() as usize);
    let frames = source.frames().len();
    if (slices, rows, columns) == (frames, source_rows, source_columns) {
        return Ok(());
    }
    Err(EncodeError::Shape { slices, rows, columns, frames, source_rows, source_columns })
}

/// Tracking id and UID of a segment: its own, or derived from the job; equal in SEG and SR.
pub(crate) fn tracking(production: &Production, segment: &Segment) -> (String, Uid) {
    segment.tracking.clone().unwrap_or_else(|| {
        let uid = production.identity.tracking(&format!("segment {}", segment.value));
        (format!("{} {}", production.algorithm.id, segment.label), uid)
    })
}

/// Only label maps are compressed: viewers do not decode anything else (1-bit RLE least of all).
fn transfer_syntax(production: &Production) -> &'static str {
    match (production.profile.segmentation, production.profile.compression) {
        (SegmentationType::LabelMap, Compression::Rle) => uids::RLE_LOSSLESS,
        _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
    }
}

pub(crate) fn sop_class(kind: SegmentationType) -> &'static str {
    match kind {
        SegmentationType::Binary | SegmentationType::Fractional => uids::SEGMENTATION_STORAGE,
        SegmentationType::LabelMap => uids::LABEL_MAP_SEGMENTATION_STORAGE,
    }
}
