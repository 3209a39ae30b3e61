//! Pixel Data of a segmentation, written straight into the file's bytes.

use super::{
    LabelPlanes, Numbered, SegmentationInput,
    frames::{Content, Mask, Scan},
    pack::BitStream,
    rle::Fragments,
};
use crate::{Compression, EncodeError, SegmentationType};

/// Maximum Fractional Value (0062,000E) of a FRACTIONAL segmentation.
pub(super) const FRACTION_MAX: u8 = 255;

/// Appends the frames of a segmentation.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    input: &SegmentationInput<'_>,
    scan: &mut Scan,
    labels: &mut dyn LabelPlanes,
    segments: &[Numbered<'_>],
    content: &Content,
) -> Result<(), EncodeError> {
    let profile = &input.production.profile;
    let kind = profile.segmentation;
    if (kind, profile.compression) == (SegmentationType::LabelMap, Compression::Rle) {
        return compressed(bytes, input, labels, segments, content);
    }
    let frame_pixels = input.source.rows() as usize * input.source.columns() as usize;
    let pixels = frame_pixels as u64 * content.frames.len() as u64;
    let length = match kind {
        SegmentationType::Binary => pixels.div_ceil(8),
        SegmentationType::Fractional | SegmentationType::LabelMap => pixels,
    };
    append_pixel_data(bytes, length, |bytes| {
        match kind {
            SegmentationType::Binary => binary(bytes, frame_pixels, scan, segments, content),
            SegmentationType::Fractional => fractional(bytes, frame_pixels, scan, segments, content),
            SegmentationType::LabelMap => label_map(bytes, labels, segments, content)?,
        }
        Ok(())
    })
}

/// Appends Pixel Data (7FE0,0010) with VR OB, Explicit VR Little Endian; `write` appends `length` bytes.
pub(crate) fn append_pixel_data(
    bytes: &mut Vec<u8>,
    length: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    const HEADER: [u8; 8] = [0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0];
    // PS3.5 §7.1.1: values have an even length; the largest number means "undefined"
    let padded = u32::try_from(length.next_multiple_of(2))
        .ok()
        .filter(|length| *length < u32::MAX)
        .ok_or(EncodeError::TooLarge(length))?;
    bytes.reserve_exact(padded as usize + HEADER.len() + 4);
    bytes.extend_from_slice(&HEADER);
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

fn label_map(
    bytes: &mut Vec<u8>,
    labels: &mut dyn LabelPlanes,
    segments: &[Numbered<'_>],
    content: &Content,
) -> Result<(), EncodeError> {
    let number_of = numbers(segments);
    let mut buffer = Vec::new();
    for frame in &content.frames {
        let plane = labels.plane(frame.slice, &mut buffer).map_err(EncodeError::Labels)?;
        bytes.extend(plane.iter().map(|value| number_of[usize::from(*value)]));
    }
    Ok(())
}

/// A label map frame by frame in RLE Lossless.
fn compressed(
    bytes: &mut Vec<u8>,
    input: &SegmentationInput<'_>,
    labels: &mut dyn LabelPlanes,
    segments: &[Numbered<'_>],
    content: &Content,
) -> Result<(), EncodeError> {
    let number_of = numbers(segments);
    let (mut buffer, mut numbered) = (Vec::new(), Vec::new());
    let mut fragments = Fragments::begin(bytes, content.frames.len())?;
    for frame in &content.frames {
        let plane = labels.plane(frame.slice, &mut buffer).map_err(EncodeError::Labels)?;
        numbered.clear();
        numbered.extend(plane.iter().map(|value| number_of[usize::from(*value)]));
        fragments.push(&numbered, input.source.columns() as usize)?;
    }
    fragments.end();
    Ok(())
}

/// Segment Number for each value of the label map.
fn numbers(segments: &[Numbered<'_>]) -> [u8; 256] {
    let mut number_of = [0; 256];
    for numbered in segments {
        // at most 255 values other than the background exist, so a number fits in a byte
        number_of[usize::from(numbered.segment.value)] = numbered.number as u8;
    }
    number_of
}
