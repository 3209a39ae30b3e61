//! A voxel that stands for a segment: the one a marker is put on.

use imaging::LabelMap;
use ndarray::{Array2, ArrayView2, Axis};

/// The voxel (column, row, slice) of `slice` that lies deepest inside the label, in city blocks.
pub(super) fn key_point(map: &LabelMap, value: u8, slice: usize) -> [usize; 3] {
    let depth = depth(map.labels.index_axis(Axis(0), slice), value);
    let mut best = ([0, 0], 0);
    for ((row, column), depth) in depth.indexed_iter() {
        if *depth > best.1 {
            best = ([column, row], *depth);
        }
    }
    let [column, row] = best.0;
    [column, row, slice]
}

/// Steps to the nearest pixel outside; what is beyond the image is outside.
fn depth(labels: ArrayView2<'_, u8>, value: u8) -> Array2<u32> {
    let (rows, columns) = labels.dim();
    let mut depth = Array2::<u32>::zeros((rows, columns));
    for row in 0..rows {
        for column in 0..columns {
            if labels[[row, column]] == value {
                let above = if row == 0 { 0 } else { depth[[row - 1, column]] };
                let left = if column == 0 { 0 } else { depth[[row, column - 1]] };
                depth[[row, column]] = above.min(left) + 1;
            }
        }
    }
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let below = if row + 1 == rows { 0 } else { depth[[row + 1, column]] };
            let right = if column + 1 == columns { 0 } else { depth[[row, column + 1]] };
            let here = &mut depth[[row, column]];
            *here = (*here).min(below.min(right) + 1);
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn depth_counts_steps_to_the_outside() {
        let labels = Array2::from_shape_fn((5, 7), |(row, column)| u8::from(row > 0 && column > 0));
        let depth = depth(labels.view(), 1);
        assert_eq!((depth[[2, 3]], depth[[1, 1]], depth[[0, 0]], depth[[4, 6]]), (2, 1, 0, 1));
    }
}
