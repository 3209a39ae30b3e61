//! The planes of the output that windows still add to.

use ndarray::{Array3, Array4, ArrayView4, Axis, Zip};

use super::{Plane, PlaneSink};
use crate::error::InferenceError;

const SIDE_BY_SIDE: &str = "blocks are made in standard layout";

/// Weighted sums for as many planes as a window is deep.
#[derive(Debug)]
pub(super) struct Slab {
    /// The tensor plane of the first one held.
    base: usize,
    depth: usize,
    /// Height and width of the tensor.
    plane: [usize; 2],
    /// (classes, depth, height, width); made when the first window says how many classes there are.
    sums: Option<Array4<f32>>,
    /// (depth, height, width)
    weights: Array3<f32>,
}

impl Slab {
    pub(super) fn new(depth: usize, plane: [usize; 2]) -> Self {
        Self { base: 0, depth, plane, sums: None, weights: Array3::zeros([depth, plane[0], plane[1]]) }
    }

    /// Adds a window (classes, depth, h, w) that begins at `origin`.
    pub(super) fn add(
        &mut self,
        window: ArrayView4<'_, f32>,
        importance: &Array3<f32>,
        [a, b, c]: [usize; 3],
    ) -> Result<(), InferenceError> {
        let (classes, depth, height, width) = window.dim();
        let ([rows, columns], held) = (self.plane, self.depth);
        let sums = self.sums.get_or_insert_with(|| Array4::zeros([classes, held, rows, columns]));
        if sums.dim().0 != classes {
            return Err(InferenceError::OutputShape { found: vec![classes], expected: vec![sums.dim().0] });
        }
        let window = window.as_standard_layout();
        let window = window.as_slice().expect(SIDE_BY_SIDE);
        let importance = importance.as_slice().expect(SIDE_BY_SIDE);
        let class = held * rows * columns;
        let sums = sums.as_slice_mut().expect(SIDE_BY_SIDE);
        let weights = self.weights.as_slice_mut().expect(SIDE_BY_SIDE);
        // A row at a time, all classes of it: its weights stay at hand, and what lies side by side is added several at once.
        for row in 0..depth * height {
            let importance = &importance[row * width..][..width];
            let (plane, line) = (a - self.base + row / height, b + row % height);
            let at = (plane * rows + line) * columns + c;
            for (sums, values) in
                sums.chunks_exact_mut(class).zip(window.chunks_exact(depth * height * width))
            {
                let values = &values[row * width..][..width];
                for ((sum, value), weight) in sums[at..][..width].iter_mut().zip(values).zip(importance) {
                    *sum += value * weight;
                }
            }
            for (sum, weight) in weights[at..][..width].iter_mut().zip(importance) {
                *sum += weight;
            }
        }
        Ok(())
    }

    /// Gives away the planes before tensor plane `until`: no window adds to them any more.
    pub(super) fn finish_before(
        &mut self,
        until: usize,
        sink: &mut dyn PlaneSink,
    ) -> Result<(), InferenceError> {
        let count = until - self.base;
        if count == 0 {
            return Ok(());
        }
        for plane in 0..count.min(self.depth) {
            let weights = self.weights.index_axis(Axis(0), plane);
            let classes = self.sums.as_ref().map_or(1, |sums| sums.dim().0);
            let mut values = match &self.sums {
                Some(sums) => sums.index_axis(Axis(1), plane).to_owned(),
                None => Array3::zeros([classes, self.plane[0], self.plane[1]]),
            };
            for mut class in values.outer_iter_mut() {
                Zip::from(&mut class).and(&weights).for_each(|value, weight| {
                    // Where nothing was run the sum is 0, and stays it.
                    *value /= if *weight > 0.0 { *weight } else { 1.0 };
                });
            }
            sink.plane(Plane { values, weights })?;
        }
        self.shift(count);
        self.base = until;
        Ok(())
    }

    /// Moves the planes from `count` on to the front; what becomes free is 0.
    fn shift(&mut self, count: usize) {
        let count = count.min(self.depth);
        let plane = self.plane[0] * self.plane[1];
        let shift = |block: &mut [f32]| {
            block.copy_within(count * plane.., 0);
            let kept = block.len() - count * plane;
            block[kept..].fill(0.0);
        };
        shift(self.weights.as_slice_mut().expect(SIDE_BY_SIDE));
        if let Some(sums) = &mut self.sums {
            let class = depth_of(sums);
            sums.as_slice_mut().expect(SIDE_BY_SIDE).chunks_mut(class).for_each(shift);
        }
    }
}

/// The numbers that one class holds.
fn depth_of(sums: &Array4<f32>) -> usize {
    sums.len() / sums.dim().0
}
