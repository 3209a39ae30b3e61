//! The planes of the output that windows still add to.

use ndarray::{Array3, Array4, ArrayView4, Axis, Zip, s};
use rayon::prelude::*;

use super::{Plane, PlaneSink};
use crate::error::InferenceError;

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
        let at = s![a - self.base..a - self.base + depth, b..b + height, c..c + width];
        let class = depth_of(sums);
        let sums = sums.as_slice_mut().expect("the sums are made in standard layout");
        sums.par_chunks_mut(class).zip(0..classes).for_each(|(sums, class)| {
            let sums = ndarray::ArrayViewMut3::from_shape([held, rows, columns], sums);
            let mut sums = sums.expect("a class is one block of the sums");
            Zip::from(sums.slice_mut(at))
                .and(window.index_axis(Axis(0), class))
                .and(importance)
                .for_each(|sum, value, weight| *sum += value * weight);
        });
        Zip::from(self.weights.slice_mut(at)).and(importance).for_each(|sum, weight| *sum += weight);
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
            let mut values = Array3::zeros([classes, self.plane[0], self.plane[1]]);
            if let Some(sums) = &self.sums {
                values.assign(&sums.index_axis(Axis(1), plane));
                for mut class in values.axis_iter_mut(Axis(0)) {
                    Zip::from(&mut class).and(&weights).for_each(|value, weight| {
                        if *weight > 0.0 {
                            *value /= weight;
                        }
                    });
                }
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
        shift(self.weights.as_slice_mut().expect("the weights are made in standard layout"));
        if let Some(sums) = &mut self.sums {
            let class = depth_of(sums);
            sums.as_slice_mut()
                .expect("the sums are made in standard layout")
                .chunks_mut(class)
                .for_each(shift);
        }
    }
}

/// The numbers that one class holds.
fn depth_of(sums: &Array4<f32>) -> usize {
    sums.len() / sums.dim().0
}
