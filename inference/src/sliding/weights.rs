//! How much each voxel of a window counts.

use ndarray::Array3;

use crate::package::Blend;

/// Standard deviation of the Gaussian, as part of the window.
const SIGMA: f64 = 0.125;
/// No voxel counts less than this.
const FLOOR: f32 = 1e-3;

pub(super) fn importance(roi: [usize; 3], blend: Blend) -> Array3<f32> {
    match blend {
        Blend::Constant => Array3::ones(roi),
        Blend::Gaussian => gaussian(roi),
    }
}

/// The product of one bell for each axis, centred between the middle voxels.
fn gaussian(roi: [usize; 3]) -> Array3<f32> {
    let [slow, middle, fast] = roi.map(bell);
    let product = Array3::from_shape_fn(roi, |(a, b, c)| slow[a] * middle[b] * fast[c]);
    let smallest = product.iter().copied().filter(|weight| *weight > 0.0).fold(f32::INFINITY, f32::min);
    product.mapv(|weight| weight.max(smallest.max(FLOOR)))
}

fn bell(len: usize) -> Vec<f32> {
    let sigma = len as f64 * SIGMA;
    let weight = |index: usize| {
        let from_centre = index as f64 - (len - 1) as f64 / 2.0;
        (-from_centre * from_centre / (2.0 * sigma * sigma)).exp() as f32
    };
    (0..len).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts_most_and_no_corner_nothing() {
        let weights = gaussian([5, 4, 8]);
        assert_eq!(weights[[2, 1, 3]], weights[[2, 2, 4]]);
        assert!(weights[[2, 1, 3]] > weights[[0, 1, 3]]);
        assert!(weights.iter().all(|weight| *weight >= FLOOR));
    }
}
