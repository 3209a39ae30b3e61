//! Which frames an object has: one look at the label map, then the list of (segment, slice).

use super::{LabelPlanes, Numbered, SegmentationInput, pack::pack};
use crate::{EmptyFrames, EncodeError, SegmentationType};

/// What one pass over the label map found.
pub(super) struct Scan {
    /// For each of the input's segments, its slices in rising order.
    pub(super) segments: Vec<Vec<Mask>>,
    pub(super) slices: usize,
}

/// The voxels of one segment on one slice.
pub(super) struct Mask {
    pub(super) slice: usize,
    /// Offset of `packed` in the packed frame; what lies before and after is empty.
    pub(super) first_byte: usize,
    /// Empty for a label map, which is read again when it is written.
    pub(super) packed: Vec<u8>,
}

/// One frame of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Position in the object's segments; 0 in a label map, whose frames hold all segments.
    pub(super) segment: usize,
    pub(super) slice: usize,
}

/// The frames of one object and how its dimensions count them.
pub(super) struct Content {
    pub(super) frames: Vec<Frame>,
    /// For each slice, its ordinal from 1 among the slices of the object; 0 for one that is not there.
    pub(super) position_index: Vec<u32>,
}

impl Scan {
    /// Reads every slice once.
    pub(super) fn of(
        input: &SegmentationInput<'_>,
        labels: &mut dyn LabelPlanes,
    ) -> Result<Self, EncodeError> {
        let mut index_of = [None; 256];
        for (index, segment) in input.segments.iter().enumerate() {
            index_of[usize::from(segment.value)] = Some(index);
        }
        let keep_bits = input.production.profile.segmentation != SegmentationType::LabelMap;
        let [slices, _, columns] = labels.shape();
        let mut segments: Vec<Vec<Mask>> = input.segments.iter().map(|_| Vec::new()).collect();
        let mut buffer = Vec::new();
        for slice in 0..slices {
            let plane = labels.plane(slice, &mut buffer).map_err(EncodeError::Labels)?;
            for (value, rows) in values(plane, columns) {
                let index =
                    index_of[usize::from(value)].ok_or(EncodeError::UndescribedValue { value, slice })?;
                segments[index].push(mask(
                    plane,
                    value,
                    slice,
                    (rows.first * columns, rows.end * columns),
                    keep_bits,
                ));
            }
        }
        Ok(Self { segments, slices })
    }

    pub(super) fn is_present(&self, index: usize) -> bool {
        !self.segments[index].is_empty()
    }

    /// Takes the bits of a segment's slice, so that memory goes over into the object that is written.
    pub(super) fn take_mask(&mut self, index: usize, slice: usize) -> Option<Mask> {
        let masks = &mut self.segments[index];
        let found = masks.binary_search_by_key(&slice, |mask| mask.slice).ok()?;
        let Mask { first_byte, ref mut packed, .. } = masks[found];
        Some(Mask { slice, first_byte, packed: std::mem::take(packed) })
    }
}

fn mask(plane: &[u8], value: u8, slice: usize, (start, end): (usize, usize), keep_bits: bool) -> Mask {
    let first_byte = start / 8;
    let packed = if keep_bits { pack(&plane[first_byte * 8..end], value) } else { Vec::new() };
    Mask { slice, first_byte, packed }
}

/// Rows that hold a value, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    first: usize,
    end: usize,
}

/// The values of a slice other than 0, in rising order, each with its rows.
fn values(plane: &[u8], columns: usize) -> Vec<(u8, Rows)> {
    let mut found: [Option<Rows>; 256] = [None; 256];
    for (row, pixels) in plane.chunks_exact(columns.max(1)).enumerate() {
        if pixels.iter().fold(0, |all, pixel| all | pixel) == 0 {
            continue;
        }
        // neighbours are mostly equal, and most runs are long
        let mut last = 0;
        for &pixel in pixels {
            if pixel != last {
                last = pixel;
                let rows = found[usize::from(pixel)].get_or_insert(Rows { first: row, end: row + 1 });
                rows.end = row + 1;
            }
        }
    }
    (1..=u8::MAX).filter_map(|value| Some((value, found[usize::from(value)]?))).collect()
}

impl Content {
    /// The frames of an object with these segments: segment after segment, slice after slice.
    pub(super) fn of(input: &SegmentationInput<'_>, scan: &Scan, segments: &[Numbered<'_>]) -> Self {
        let profile = &input.production.profile;
        let slices_of = |numbered: &Numbered<'_>| -> Vec<usize> {
            match profile.empty_frames {
                EmptyFrames::Keep => (0..scan.slices).collect(),
                EmptyFrames::LeaveOut => {
                    scan.segments[numbered.index].iter().map(|mask| mask.slice).collect()
                }
            }
        };
        let mut is_used = vec![false; scan.slices];
        let mut frames = Vec::new();
        for (segment, numbered) in segments.iter().enumerate() {
            for slice in slices_of(numbered) {
                is_used[slice] = true;
                frames.push(Frame { segment, slice });
            }
        }
        if profile.segmentation == SegmentationType::LabelMap {
            let used = |slice: &usize| is_used[*slice];
            frames = (0..scan.slices).filter(used).map(|slice| Frame { segment: 0, slice }).collect();
        }
        Self { frames, position_index: ordinals(&is_used) }
    }
}

fn ordinals(is_used: &[bool]) -> Vec<u32> {
    let mut count = 0;
    is_used
        .iter()
        .map(|&used| {
            count += u32::from(used);
            if used { count } else { 0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_with_the_rows_that_hold_them() {
        let plane = [0, 0, 0, 2, 2, 0, 0, 9, 2, 0, 0, 0];
        let rows = |first, end| Rows { first, end };
        assert_eq!(values(&plane, 3), [(2, rows(1, 3)), (9, rows(2, 3))]);
    }

    #[test]
    fn a_row_that_starts_with_a_value_is_seen() {
        assert_eq!(values(&[7, 7], 2), [(7, Rows { first: 0, end: 1 })]);
    }

    #[test]
    fn ordinals_have_no_gaps() {
        assert_eq!(ordinals(&[false, true, false, true]), [0, 1, 0, 2]);
    }
}
