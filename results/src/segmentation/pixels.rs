//! Pixel Data of a segmentation, written straight into the file's bytes.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use ndarray::{ArrayView3, Axis};

use super::{
    LabelPlane, LabelPlanes, Numbered, SegmentationInput,
    frames::{Content, Mask, Scan},
    labels::Label,
    pack::BitStream,
    rle::Fragments,
};
use crate::{Compression, EncodeError, SegmentationType};

/// Maximum Fractional Value (0062,000E) of a FRACTIONAL segmentation.
pub(super) const FRACTION_MAX: u8 = 255;

/// Where the voxels of a segmentation come from.
pub(super) enum Voxels<'a> {
    Labels(&'a mut dyn LabelPlanes),
    /// For each of the input's segments.
    Probabilities(&'a [ArrayView3<'a, f32>]),
}

/// Appends the frames of a segmentation.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    input: &SegmentationInput<'_>,
    scan: &mut Scan,
    voxels: &mut Voxels<'_>,
    segments: &[Numbered<'_>],
    content: &Content,
) -> Result<(), EncodeError> {
    let profile = &input.production.profile;
    let frame_pixels = input.source.rows() as usize * input.source.columns() as usize;
    let bits = bits_allocated(profile.segmentation, segments.len());
    let length = (frame_pixels as u64 * content.frames.len() as u64 * u64::from(bits)).div_ceil(8);
    match (profile.segmentation, voxels) {
        (SegmentationType::Binary, _) => append_pixel_data(bytes, VR::OB, length, |bytes| {
            binary(bytes, frame_pixels, scan, segments, content);
            Ok(())
        }),
        (SegmentationType::Fractional, Voxels::Probabilities(probabilities)) => {
            append_pixel_data(bytes, VR::OB, length, |bytes| {
                for frame in &content.frames {
                    let segment = &probabilities[segments[frame.segment].index];
                    bytes.extend(
                        segment.index_axis(Axis(0), frame.slice).iter().map(|&value| fraction(value)),
                    );
                }
                Ok(())
            })
        }
        (SegmentationType::Fractional, Voxels::Labels(_)) => {
            append_pixel_data(bytes, VR::OB, length, |bytes| {
                fractional(bytes, frame_pixels, scan, segments, content);
                Ok(())
            })
        }
        (SegmentationType::LabelMap, Voxels::Labels(labels)) => {
            let renumbered = Renumbered::of(*labels, segments);
            let columns = input.source.columns() as usize;
            match profile.compression {
                Compression::Rle => compressed(bytes, columns, renumbered, content),
                Compression::None => {
                    let vr = if bits == 8 { VR::OB } else { VR::OW };
                    append_pixel_data(bytes, vr, length, |bytes| label_map(bytes, renumbered, content))
                }
            }
        }
        (SegmentationType::LabelMap, Voxels::Probabilities(_)) => Err(EncodeError::NoLabels),
    }
}

/// Bits Allocated (0028,0100) of an object with so many segments.
pub(super) fn bits_allocated(kind: SegmentationType, segments: usize) -> u16 {
    match kind {
        SegmentationType::Binary => 1,
        SegmentationType::LabelMap if segments > usize::from(u8::MAX) => 16,
        SegmentationType::LabelMap | SegmentationType::Fractional => 8,
    }
}

/// A probability as a part of [`FRACTION_MAX`].
pub(super) fn fraction(probability: f32) -> u8 {
    // from 0 to 255 after clamping; not a number becomes 0
    (probability.clamp(0.0, 1.0) * f32::from(FRACTION_MAX)).round() as u8
}

/// Appends Pixel Data (7FE0,0010) in Explicit VR Little Endian; `write` appends `length` bytes.
pub(crate) fn append_pixel_data(
    bytes: &mut Vec<u8>,
    vr: VR,
    length: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    append_element(bytes, (tags::PIXEL_DATA, vr), length, write)
}

/// Appends an element whose length takes 32 bits.
pub(crate) fn append_element(
    bytes: &mut Vec<u8>,
    (tag, vr): (Tag, VR),
    length: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    // PS3.5 §7.1.1: values have an even length; the largest number means "undefined"
    let padded = u32::try_from(length.next_multiple_of(2))
        .ok()
        .filter(|length| *length < u32::MAX)
        .ok_or(EncodeError::TooLarge(length))?;
    bytes.reserve_exact(padded as usize + 12);
    bytes.extend_from_slice(&tag.group().to_le_bytes());
    bytes.extend_from_slice(&tag.element().to_le_bytes());
    bytes.extend_from_slice(&vr.to_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&padded.to_le_bytes());
    let start = bytes.len();
    write(bytes)?;
    bytes.resize(start + padded as usize, 0);
    Ok(())
}

fn binary(
    bytes: &mut Vec<u8>,
    frame_bits: usize,
    scan: &mut Scan,
    segments: &[Numbered<'_>],
    content: &Content,
) {
    let mut stream = BitStream::new(bytes);
    for frame in &content.frames {
        match scan.take_mask(segments[frame.segment].index, frame.slice) {
            Some(mask) => stream.push(frame_bits, mask.first_byte, &mask.packed),
            None => stream.push(frame_bits, 0, &[]),
        }
    }
}

fn fractional(
    bytes: &mut Vec<u8>,
    frame_pixels: usize,
    scan: &mut Scan,
    segments: &[Numbered<'_>],
    content: &Content,
) {
    for frame in &content.frames {
        let start = bytes.len();
        bytes.resize(start + frame_pixels, 0);
        if let Some(mask) = scan.take_mask(segments[frame.segment].index, frame.slice) {
            spread(&mask, &mut bytes[start..]);
        }
    }
}

fn spread(mask: &Mask, frame: &mut [u8]) {
    for (pixels, bits) in frame[mask.first_byte * 8..].chunks_mut(8).zip(&mask.packed) {
        for (bit, pixel) in pixels.iter_mut().enumerate() {
            *pixel = (bits >> bit & 1) * FRACTION_MAX;
        }
    }
}

/// A label map whose values are the numbers of the object's segments.
struct Renumbered<'a> {
    labels: &'a mut dyn LabelPlanes,
    /// By value of the label map.
    number_of: Vec<u16>,
    bits: u16,
}

impl<'a> Renumbered<'a> {
    fn of(labels: &'a mut dyn LabelPlanes, segments: &[Numbered<'_>]) -> Self {
        let mut number_of = vec![0; 1 << 16];
        for numbered in segments {
            number_of[usize::from(numbered.segment.value)] = numbered.number;
        }
        Self { labels, number_of, bits: bits_allocated(SegmentationType::LabelMap, segments.len()) }
    }

    /// Appends a slice, numbers of 16 bits with the low byte first.
    fn append(&mut self, slice: usize, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (number_of, bits) = (&self.number_of[..], self.bits);
        match self.labels.plane(slice).map_err(EncodeError::Labels)? {
            LabelPlane::Bytes(plane) => append_numbers(plane, number_of, bits, bytes),
            LabelPlane::Words(plane) => append_numbers(plane, number_of, bits, bytes),
        }
        Ok(())
    }
}

fn append_numbers<L: Label>(plane: &[L], number_of: &[u16], bits: u16, bytes: &mut Vec<u8>) {
    let number_of = &number_of[..L::VALUES];
    let numbers = plane.iter().map(|label| number_of[usize::from(label.value())]);
    if bits == 8 {
        bytes.extend(numbers.map(|number| number as u8));
    } else {
        bytes.extend(numbers.flat_map(u16::to_le_bytes));
    }
}

fn label_map(bytes: &mut Vec<u8>, mut labels: Renumbered<'_>, content: &Content) -> Result<(), EncodeError> {
    content.frames.iter().try_for_each(|frame| labels.append(frame.slice, bytes))
}

/// A label map frame by frame in RLE Lossless.
fn compressed(
    bytes: &mut Vec<u8>,
    columns: usize,
    mut labels: Renumbered<'_>,
    content: &Content,
) -> Result<(), EncodeError> {
    let pixel_bytes = usize::from(labels.bits / 8);
    let mut frame_bytes = Vec::new();
    let mut fragments = Fragments::begin(bytes, content.frames.len())?;
    for frame in &content.frames {
        frame_bytes.clear();
        labels.append(frame.slice, &mut frame_bytes)?;
        fragments.push(&frame_bytes, pixel_bytes, columns)?;
    }
    fragments.end();
    Ok(())
}
