//! Where each index of a tensor lies on the source grid, axis by axis.
//!
//! The axes of a tensor are those of the source grid, permuted, flipped, rescaled and
//! padded: never rotated. So each axis has a map of its own, and the way back from a
//! source voxel is exact. The conventions are those of `docs/MODELS.md`.

use imaging::Grid;

use crate::package::{Direction, ImageInput, Layout, Orientation, TensorAxes};

/// How far outside the outermost tensor voxel a source voxel may lie and still take its value.
/// Rounding the number of voxels leaves at most half a voxel.
const REACH: f64 = 0.5 + 1e-9;

/// One axis of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AxisMap {
    /// 0 column, 1 row, 2 slice.
    pub(crate) source_axis: usize,
    flip: bool,
    source_len: usize,
    /// Source voxels for each tensor voxel.
    scale: f64,
    /// The (flipped) source index of the first tensor voxel behind the padding.
    shift: f64,
    /// Tensor voxels before the image.
    pub(crate) pad: usize,
    /// Tensor voxels of the image.
    pub(crate) inner: usize,
    /// All tensor voxels.
    pub(crate) len: usize,
}

/// Two source indices and the weight of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tap {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) weight: f64,
}

impl Tap {
    /// Between whole numbers; `at` is within `0 ..= last`.
    pub(crate) fn new(at: f64, last: usize) -> Self {
        let low = (at.floor() as usize).min(last);
        let weight = at - low as f64;
        Self { low, high: if weight > 0.0 { (low + 1).min(last) } else { low }, weight }
    }
}

impl AxisMap {
    fn native(source_axis: usize, flip: bool, source_len: usize) -> Self {
        Self {
            source_axis,
            flip,
            source_len,
            scale: 1.0,
            shift: 0.0,
            pad: 0,
            inner: source_len,
            len: source_len,
        }
    }

    /// Centre to centre: the first voxel stays, as many follow as come closest to the last.
    fn spaced(self, old_mm: f64, new_mm: f64) -> Self {
        let steps = (self.source_len - 1) as f64 * old_mm / new_mm;
        let inner = (steps.round_ties_even() as usize).saturating_add(1);
        Self { scale: new_mm / old_mm, inner, len: inner, ..self }
    }

    /// Resized by `factor` (tensor voxels for each source voxel), edges to edges.
    fn resized(self, inner: usize, factor: f64) -> Self {
        let scale = 1.0 / factor;
        Self { scale, shift: 0.5 * scale - 0.5, inner, len: inner, ..self }
    }

    /// Padded with nothing, or cropped, on both sides to `len`.
    fn fitted(self, len: usize) -> Self {
        if self.inner <= len {
            return self.padded(len);
        }
        let before = (self.inner - len) / 2;
        Self { shift: self.shift + before as f64 * self.scale, inner: len, len, ..self }
    }

    /// At least `len` voxels; the smaller half of the padding comes first.
    pub(crate) fn padded(self, len: usize) -> Self {
        if self.inner >= len {
            return self;
        }
        Self { pad: (len - self.inner) / 2, len, ..self }
    }

    /// The source index of image voxel `index` (counted without padding).
    pub(crate) fn source(&self, index: usize) -> f64 {
        let last = (self.source_len - 1) as f64;
        let along = (index as f64 * self.scale + self.shift).clamp(0.0, last);
        if self.flip { last - along } else { along }
    }

    /// The tensor index of source voxel `index`, none where the tensor does not reach.
    pub(crate) fn tensor(&self, index: usize) -> Option<f64> {
        let along = if self.flip { self.source_len - 1 - index } else { index } as f64;
        let inner = (along - self.shift) / self.scale;
        let last = (self.inner - 1) as f64;
        let reached =
            -REACH.max(REACH / self.scale) <= inner && inner <= last + REACH.max(REACH / self.scale);
        reached.then(|| inner.clamp(0.0, last) + self.pad as f64)
    }

    /// For each image voxel the source voxels it is made of.
    pub(crate) fn source_taps(&self) -> Vec<Tap> {
        (0..self.inner).map(|index| Tap::new(self.source(index), self.source_len - 1)).collect()
    }

    /// For each source voxel the tensor voxels it is made of.
    pub(crate) fn tensor_taps(&self) -> Vec<Option<Tap>> {
        (0..self.source_len).map(|index| self.tensor(index).map(|at| Tap::new(at, self.len - 1))).collect()
    }

    /// Whether tensor and source voxels coincide.
    pub(crate) fn is_exact(&self) -> bool {
        self.scale == 1.0 && self.shift == self.shift.trunc()
    }

    pub(crate) fn source_len(&self) -> usize {
        self.source_len
    }
}

/// The axes of the tensor in its own order (slowest first).
///
/// For slice models the first is the slice axis, which is not resampled.
pub(crate) fn place(input: &ImageInput, grid: &Grid) -> [AxisMap; 3] {
    let axes = oriented(input.orientation, grid);
    let spacing = grid.spacing();
    let spaced = |letter: usize| {
        let axis = axes[letter];
        match input.spacing_mm {
            Some(wanted) => axis.spaced(spacing[axis.source_axis], wanted[letter]),
            None => axis,
        }
    };
    match (input.layout, input.tensor_axes) {
        (Layout::Volume, TensorAxes::Zyx) => [spaced(2), spaced(1), spaced(0)],
        (Layout::Volume, TensorAxes::Xyz) => [spaced(0), spaced(1), spaced(2)],
        (Layout::Slices { size, .. }, order) => {
            let (rows, columns) = (spaced(1), spaced(0));
            let (rows, columns) = match size {
                Some(size) => fit(rows, columns, size, input.spacing_mm.is_some()),
                None => (rows, columns),
            };
            match order {
                TensorAxes::Zyx => [axes[2], rows, columns],
                TensorAxes::Xyz => [axes[2], columns, rows],
            }
        }
    }
}

/// Brings a slice to `size` (rows, columns): cropped and padded where the spacing is given, else resized as a whole.
fn fit(rows: AxisMap, columns: AxisMap, size: [usize; 2], is_spaced: bool) -> (AxisMap, AxisMap) {
    if is_spaced {
        return (rows.fitted(size[0]), columns.fitted(size[1]));
    }
    let ratio = |wanted: usize, axis: &AxisMap| wanted as f64 / axis.source_len as f64;
    let factor = ratio(size[0], &rows).min(ratio(size[1], &columns));
    let side = |axis: AxisMap, wanted: usize| {
        let inner = ((axis.source_len as f64 * factor).round_ties_even() as usize).clamp(1, wanted);
        axis.resized(inner, factor).fitted(wanted)
    };
    (side(rows, size[0]), side(columns, size[1]))
}

/// The source axes in the order of the letters.
fn oriented(orientation: Orientation, grid: &Grid) -> [AxisMap; 3] {
    let native = |axis: usize, flip: bool| AxisMap::native(axis, flip, grid.dims[axis]);
    let Orientation::Anatomical(directions) = orientation else {
        return [0, 1, 2].map(|axis| native(axis, false));
    };
    let nearest = nearest_axes(grid, directions);
    [0, 1, 2].map(|letter| {
        let axis = nearest[letter];
        let along = cosine(grid, axis, directions[letter]);
        native(axis, along < 0.0)
    })
}

/// The component of a source axis along an anatomical direction, −1 … 1.
fn cosine(grid: &Grid, axis: usize, direction: Direction) -> f64 {
    let column = [0, 1, 2].map(|row| grid.affine[row][axis]);
    let length = column.iter().map(|component| component * component).sum::<f64>().sqrt();
    let along = column[direction.axis.index()] / length;
    if direction.is_lps { along } else { -along }
}

/// Which source axis goes with each direction, so that together they turn least.
fn nearest_axes(grid: &Grid, directions: [Direction; 3]) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let agreement = |order: &[usize; 3]| -> f64 {
        order.iter().zip(directions).map(|(axis, direction)| cosine(grid, *axis, direction).abs()).sum()
    };
    let mut best = ORDERS[0];
    for order in ORDERS {
        // A tie, as at 45°, keeps the order of the source.
        if agreement(&order) > agreement(&best) + 1e-9 {
            best = order;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(len: usize, flip: bool) -> AxisMap {
        AxisMap::native(0, flip, len)
    }

    #[test]
    fn the_first_voxel_stays_and_the_count_is_rounded_half_to_even() {
        let spaced = axis(10, false).spaced(0.5, 1.0);
        assert_eq!(spaced.inner, 5, "4.5 steps round to 4");
        assert_eq!((spaced.source(0), spaced.source(4)), (0.0, 8.0));
        let finer = axis(3, false).spaced(2.0, 0.5);
        assert_eq!(finer.inner, 9);
        assert_eq!(finer.source(1), 0.25);
    }

    #[test]
    fn resizing_aligns_edges_as_half_pixel_centres_do() {
        let half = axis(8, false).resized(4, 0.5);
        assert_eq!([0, 1, 2, 3].map(|index| half.source(index)), [0.5, 2.5, 4.5, 6.5]);
        let double = axis(2, false).resized(4, 2.0);
        assert_eq!([0, 1, 2, 3].map(|index| double.source(index)), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn cropping_and_padding_are_centred() {
        let cropped = axis(10, false).fitted(4);
        assert_eq!((cropped.source(0), cropped.inner, cropped.pad), (3.0, 4, 0));
        assert_eq!((cropped.tensor(3), cropped.tensor(1), cropped.tensor(8)), (Some(0.0), None, None));
        let padded = axis(3, false).fitted(8);
        assert_eq!((padded.pad, padded.inner, padded.len), (2, 3, 8));
        assert_eq!(padded.tensor(0), Some(2.0));
    }

    proptest! {
        #[test]
        fn the_way_back_is_the_inverse(len in 2..200_usize, flip: bool, old in 0.3..5.0_f64, new in 0.3..5.0_f64, pad in 0..300_usize) {
            let map = axis(len, flip).spaced(old, new).padded(pad);
            for index in 0..len {
                let at = map.tensor(index).expect("every source voxel is within reach");
                let inner = at - map.pad as f64;
                // At whole tensor indices the source position must lead back to the same place, up to the edge.
                let low = map.source(inner.floor() as usize);
                let step = if flip { -map.scale } else { map.scale };
                let there = (low + step * inner.fract()).clamp(0.0, (len - 1) as f64);
                let half = 0.5 * new / old + 1e-6;
                prop_assert!((there - index as f64).abs() <= half, "{index} → {at} → {there}");
                if inner > 0.0 && inner < (map.inner - 1) as f64 {
                    prop_assert!((there - index as f64).abs() < 1e-6);
                }
            }
        }
    }
}
