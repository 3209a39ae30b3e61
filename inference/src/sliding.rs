//! Runs a graph over a volume window by window and blends what comes out, a slab at a time.
//!
//! Positions and weights are those of MONAI's `sliding_window_inference`. Only as many
//! planes of the graph's output are held as one window is deep: finished planes are given
//! away in order, whatever the number of classes.

mod slab;
mod weights;

use ndarray::{Array3, ArrayD, ArrayViewD, Ix5, s};

use self::slab::Slab;
use crate::{
    control::Control,
    error::InferenceError,
    graph::tensor,
    package::{Blend, Window},
};

/// What the engine needs of a model: one window in, its output read in place.
pub(crate) trait WindowModel {
    /// Runs on (1, channels, a, b, c) and gives `read` the output (1, classes, a, b, c).
    fn run(
        &self,
        window: ArrayViewD<'_, f32>,
        control: &Control<'_>,
        read: &mut dyn FnMut(ArrayViewD<'_, f32>) -> Result<(), InferenceError>,
    ) -> Result<(), InferenceError>;
}

/// Takes the finished planes of the output in order: (classes, rows, columns).
pub(crate) trait PlaneSink {
    fn plane(&mut self, plane: Plane<'_>) -> Result<(), InferenceError>;
}

/// One finished plane of the blended output.
#[derive(Debug)]
pub(crate) struct Plane<'a> {
    /// (classes, rows, columns); 0 where nothing was run.
    pub(crate) values: ndarray::Array3<f32>,
    /// Sum of the weights (rows, columns); 0 where nothing was run.
    pub(crate) weights: ndarray::ArrayView2<'a, f32>,
}

/// How many windows were run, and how many were empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    pub(crate) run: usize,
    pub(crate) skipped: usize,
}

/// The windows of a tensor.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Depth, height, width.
    roi: [usize; 3],
    blend: Blend,
    starts: [Vec<usize>; 3],
    /// One for each window in running order.
    empty: Vec<bool>,
}

impl Windows {
    /// `roi` in the order of the tensor; the tensor is at least as large.
    pub(crate) fn new(window: &Window, roi: [usize; 3], lens: [usize; 3]) -> Self {
        let starts = [0, 1, 2].map(|axis| starts(lens[axis], roi[axis], window.overlap));
        let count = starts.iter().map(Vec::len).product();
        Self { roi, blend: window.blend, starts, empty: vec![false; count] }
    }

    /// Marks the windows in which no channel has a voxel above `limit`. `channels` are images
    /// before intensity steps, without the `pads` voxels that the tensor has before them.
    pub(crate) fn skip_empty(&mut self, channels: &[Array3<f32>], pads: [usize; 3], limit: f64) {
        // As exact as voxels are: the limit -0.7 is that of voxels of -0.7.
        let limit = limit as f32;
        let above = |value: &f32| *value > limit;
        let empty = self.origins().map(|origin| {
            let holds = |image: &Array3<f32>| {
                let [a, b, c] = [0, 1, 2].map(|axis| {
                    let begin = origin[axis].saturating_sub(pads[axis]);
                    let end =
                        (origin[axis] + self.roi[axis]).saturating_sub(pads[axis]).min(image.shape()[axis]);
                    begin.min(end)..end
                });
                image.slice(s![a, b, c]).iter().any(above)
            };
            !channels.iter().any(holds)
        });
        self.empty = empty.collect();
    }

    fn origins(&self) -> impl Iterator<Item = [usize; 3]> {
        let [slow, middle, fast] = &self.starts;
        slow.iter().flat_map(move |a| middle.iter().flat_map(move |b| fast.iter().map(move |c| [*a, *b, *c])))
    }

    /// Runs every window that is not empty and hands finished planes to `sink`.
    pub(crate) fn run(
        &self,
        channels: &[Array3<f32>],
        model: &dyn WindowModel,
        sink: &mut dyn PlaneSink,
        control: &Control<'_>,
    ) -> Result<Counted, InferenceError> {
        let (depth, height, width) = channels[0].dim();
        let importance = weights::importance(self.roi, self.blend);
        let mut window = tensor(
            &[1, channels.len(), self.roi[0], self.roi[1], self.roi[2]],
            vec![0.0; channels.len() * self.roi.iter().product::<usize>()],
        );
        let mut slab = Slab::new(self.roi[0], [height, width]);
        let mut counted = Counted::default();
        for (number, (origin, empty)) in self.origins().zip(&self.empty).enumerate() {
            slab.finish_before(origin[0], sink)?;
            if *empty {
                counted.skipped += 1;
                continue;
            }
            control.checkpoint()?;
            gather(channels, origin, &mut window);
            model.run(window.view(), control, &mut |output| {
                let found = output.shape().to_vec();
                let output = output.into_dimensionality::<Ix5>().ok().filter(|output| {
                    let (one, _, d, h, w) = output.dim();
                    one == 1 && [d, h, w] == self.roi
                });
                let output = output
                    .ok_or_else(|| InferenceError::OutputShape { found, expected: self.roi.to_vec() })?;
                slab.add(output.index_axis(ndarray::Axis(0), 0), &importance, origin)
            })?;
            counted.run += 1;
            (control.progress)((number + 1) as f32 / self.empty.len() as f32);
        }
        slab.finish_before(depth, sink)?;
        (control.progress)(1.0);
        Ok(counted)
    }
}

/// Steps of `roi * (1 - overlap)`, the last one moved back to end at the edge.
fn starts(len: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let step = ((roi as f64 * (1.0 - overlap)) as usize).max(1);
    let mut starts = Vec::new();
    let mut at = 0;
    loop {
        starts.push(at.min(len - roi));
        if at + roi >= len {
            return starts;
        }
        at += step;
    }
}

fn gather(channels: &[Array3<f32>], [a, b, c]: [usize; 3], window: &mut ArrayD<f32>) {
    let mut window = window.view_mut().into_dimensionality::<Ix5>().expect("windows are made with five axes");
    let (_, _, d, h, w) = window.dim();
    for (channel, image) in channels.iter().enumerate() {
        let part = image.slice(s![a..a + d, b..b + h, c..c + w]);
        window.slice_mut(s![0, channel, .., .., ..]).assign(&part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_voxel_at_the_limit_is_empty_though_no_float_is_that_number() {
        let window = Window { roi: [2, 2, 2], overlap: 0.0, blend: Blend::Constant, skip_at: Some(-0.7) };
        let mut image = Array3::from_elem([2, 2, 4], -0.7_f32);
        image[[0, 0, 3]] = -0.6;
        let mut windows = Windows::new(&window, window.roi, [2, 2, 4]);
        windows.skip_empty(&[image], [0; 3], -0.7);
        assert_eq!(windows.empty, [true, false]);
    }

    #[test]
    fn positions_are_those_of_monai() {
        assert_eq!(starts(256, 96, 0.25), [0, 72, 144, 160]);
        assert_eq!(starts(160, 96, 0.5), [0, 48, 64]);
        assert_eq!(starts(96, 96, 0.25), [0]);
        assert_eq!(starts(97, 96, 0.25), [0, 1]);
    }

    proptest! {
        #[test]
        fn windows_cover_everything_in_order(len in 1..300_usize, roi in 1..100_usize, overlap in 0.0..0.9_f64) {
            prop_assume!(roi <= len);
            let starts = starts(len, roi, overlap);
            prop_assert_eq!(starts[0], 0);
            prop_assert_eq!(starts[starts.len() - 1] + roi, len);
            for pair in starts.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[1] <= pair[0] + roi);
            }
        }
    }
}
