//! Which frames an object has: one look at the label map, then the list of (segment, slice).

use std::collections::HashMap;

use ndarray::{ArrayView3, Axis};

use super::{LabelPlane, LabelPlanes, Numbered, SegmentationInput, labels::Label, pixels};
use crate::{EmptyFrames, EncodeError, SegmentationType};

/// What one pass over the label map, or over probabilities, found.
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
    /// Empty for what is read again when it is written.
    pub(super) packed: Vec<u8>,
}

/// One frame of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Position in the object's segments; 0 in a label map, whose frames hold all segments.
    pub(super) segment: usize,
    pub(super) slice: usize,
}

/// The frames of one object and how its dimensions count them.
pub(crate) struct Content {
    pub(crate) frames: Vec<Frame>,
    /// For each slice, its ordinal from 1 among the slices of the object; 0 for one that is not there.
    pub(super) position_index: Vec<u32>,
}

impl Scan {
    /// Reads every slice once.
    pub(super) fn of_labels(
        input: &SegmentationInput<'_>,
        labels: &mut dyn LabelPlanes,
    ) -> Result<Self, EncodeError> {
        let keep_bits = input.production.profile.segmentation != SegmentationType::LabelMap;
        let [slices, _, columns] = labels.shape();
        let mut looker = Looker {
            index_of: input
                .segments
                .iter()
                .enumerate()
                .map(|(index, segment)| (segment.value, index))
                .collect(),
            segments: input.segments.iter().map(|_| Vec::new()).collect(),
            rows: Vec::new(),
            columns: columns.max(1),
            keep_bits,
        };
        for slice in 0..slices {
            match labels.plane(slice).map_err(EncodeError::Labels)? {
                LabelPlane::Bytes(plane) => looker.look(plane, slice)?,
                LabelPlane::Words(plane) => looker.look(plane, slice)?,
            }
        }
        Ok(Self { segments: looker.segments, slices })
    }

    /// The slices on which a segment is at all probable.
    pub(super) fn of_probabilities(probabilities: &[ArrayView3<'_, f32>]) -> Result<Self, EncodeError> {
        let slices = probabilities.first().map_or(0, |segment| segment.len_of(Axis(0)));
        let slices_of = |segment: &ArrayView3<'_, f32>| {
            let mut masks = Vec::new();
            for (slice, plane) in segment.axis_iter(Axis(0)).enumerate() {
                if !plane.iter().all(|value| value.is_finite()) {
                    return Err(EncodeError::NotFinite("a probability"));
                }
                if plane.iter().any(|&value| pixels::fraction(value) > 0) {
                    masks.push(Mask { slice, first_byte: 0, packed: Vec::new() });
                }
            }
            Ok(masks)
        };
        let segments = probabilities.iter().map(slices_of).collect::<Result<_, _>>()?;
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

/// The state of one pass over a label map.
struct Looker {
    index_of: HashMap<u16, usize>,
    segments: Vec<Vec<Mask>>,
    /// For each value, its rows on the slice that is looked at.
    rows: Vec<Option<Rows>>,
    columns: usize,
    keep_bits: bool,
}

impl Looker {
    fn look<L: Label>(&mut self, plane: &[L], slice: usize) -> Result<(), EncodeError> {
        self.rows.resize(self.rows.len().max(L::VALUES), None);
        for value in values(plane, self.columns, &mut self.rows) {
            let Some(rows) = self.rows[usize::from(value)].take() else { continue };
            let index = *self.index_of.get(&value).ok_or(EncodeError::UndescribedValue { value, slice })?;
            let first_byte = rows.first * self.columns / 8;
            let pixels = &plane[first_byte * 8..rows.end * self.columns];
            let packed = if self.keep_bits { L::pack(pixels, value) } else { Vec::new() };
            self.segments[index].push(Mask { slice, first_byte, packed });
        }
        Ok(())
    }
}

/// Rows that hold a value, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    first: usize,
    end: usize,
}

/// The values of a slice other than 0, in rising order; `rows` gets the rows of each.
fn values<L: Label>(plane: &[L], columns: usize, rows: &mut [Option<Rows>]) -> Vec<u16> {
    let background = L::default();
    let mut found = Vec::new();
    for (row, pixels) in plane.chunks_exact(columns).enumerate() {
        if pixels.iter().fold(background, |all, &pixel| all | pixel) == background {
            continue;
        }
        // neighbours are mostly equal, and most runs are long
        let mut last = background;
        for &pixel in pixels {
            if pixel != last {
                last = pixel;
                if pixel == background {
                    continue;
                }
                let value = pixel.value();
                let rows = rows[usize::from(value)].get_or_insert_with(|| {
                    found.push(value);
                    Rows { first: row, end: row + 1 }
                });
                rows.end = row + 1;
            }
        }
    }
    found.sort_unstable();
    found
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

impl Content {
    /// One frame for each frame of the source.
    pub(crate) fn of_all(slices: usize) -> Self {
        let frames = (0..slices).map(|slice| Frame { segment: 0, slice }).collect();
        Self { frames, position_index: ordinals(&vec![true; slices]) }
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
        let plane = [0_u8, 0, 0, 2, 2, 0, 0, 9, 2, 0, 0, 0];
        check(&plane, 3, &[(2, 1..3), (9, 2..3)]);
        check(&plane.map(|value| 100 * u16::from(value)), 3, &[(200, 1..3), (900, 2..3)]);
    }

    #[test]
    fn a_row_that_starts_with_a_value_is_seen() {
        check(&[7_u8, 7], 2, &[(7, 0..1)]);
    }

    #[track_caller]
    fn check<L: Label>(plane: &[L], columns: usize, expected: &[(u16, std::ops::Range<usize>)]) {
        let mut rows = vec![None; L::VALUES];
        let found: Vec<_> = values(plane, columns, &mut rows)
            .into_iter()
            .map(|value| (value, rows[usize::from(value)].map(|rows| rows.first..rows.end).unwrap()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ordinals_have_no_gaps() {
        assert_eq!(ordinals(&[false, true, false, true]), [0, 1, 0, 2]);
    }
}
