//! Reads a volume at the voxels of a tensor: linear between centres, axis by axis.

use imaging::{Grid, Volume};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

use super::placement::{AxisMap, Tap};

/// The voxels of a volume with axes in the order of the tensor.
pub(crate) fn in_tensor_order<'a>(voxels: &'a Array3<f32>, axes: &[AxisMap; 3]) -> ArrayView3<'a, f32> {
    // Volumes are (slice, row, column); a source axis counts from the column.
    let [slow, middle, fast] = axes.map(|axis| 2 - axis.source_axis);
    voxels.view().permuted_axes([slow, middle, fast])
}

/// The image of `volume` in the tensor, without padding.
pub(crate) fn sample(voxels: &Array3<f32>, axes: &[AxisMap; 3]) -> Array3<f32> {
    let view = in_tensor_order(voxels, axes);
    let taps = axes.map(|axis| axis.source_taps());
    filled([axes[0].inner, axes[1].inner, axes[2].inner], |slow, row| {
        sample_plane(&view, taps[0][slow], &taps[1], &taps[2], row);
    })
}

/// One plane of the image of `volume`: slice models need no more at once.
pub(crate) fn sample_slice(voxels: &Array3<f32>, axes: &[AxisMap; 3], index: usize) -> Vec<f32> {
    let view = in_tensor_order(voxels, axes);
    let tap = Tap::new(axes[0].source(index), axes[0].source_len() - 1);
    let mut plane = vec![0.0; axes[1].inner * axes[2].inner];
    sample_plane(&view, tap, &axes[1].source_taps(), &axes[2].source_taps(), &mut plane);
    plane
}

/// A further channel in the same tensor: sampled at the same places in the patient, 0 outside.
pub(crate) fn sample_registered(channel: &Volume, grid: &Grid, axes: &[AxisMap; 3]) -> Array3<f32> {
    filled([axes[0].inner, axes[1].inner, axes[2].inner], |slow, plane| {
        sample_registered_plane(channel, grid, axes, slow, plane);
    })
}

/// One plane of [`sample_registered`].
pub(crate) fn sample_registered_slice(
    channel: &Volume,
    grid: &Grid,
    axes: &[AxisMap; 3],
    index: usize,
) -> Vec<f32> {
    let mut plane = vec![0.0; axes[1].inner * axes[2].inner];
    sample_registered_plane(channel, grid, axes, index, &mut plane);
    plane
}

fn filled(shape: [usize; 3], fill: impl Fn(usize, &mut [f32]) + Sync) -> Array3<f32> {
    let mut numbers = vec![0.0_f32; shape.iter().product()];
    let plane = (shape[1] * shape[2]).max(1);
    numbers.par_chunks_mut(plane).enumerate().for_each(|(slow, plane)| fill(slow, plane));
    Array3::from_shape_vec(shape, numbers).expect("the numbers are counted by the shape")
}

fn between(low: f64, high: f64, weight: f64) -> f64 {
    low + (high - low) * weight
}

fn sample_plane(view: &ArrayView3<'_, f32>, slow: Tap, rows: &[Tap], columns: &[Tap], plane: &mut [f32]) {
    let mut voxel = 0;
    for row in rows {
        for column in columns {
            let line = |slice: usize, row: usize| {
                let low = f64::from(view[[slice, row, column.low]]);
                if column.weight == 0.0 {
                    low
                } else {
                    between(low, f64::from(view[[slice, row, column.high]]), column.weight)
                }
            };
            let face = |slice: usize| {
                let low = line(slice, row.low);
                if row.weight == 0.0 { low } else { between(low, line(slice, row.high), row.weight) }
            };
            let low = face(slow.low);
            let value = if slow.weight == 0.0 { low } else { between(low, face(slow.high), slow.weight) };
            plane[voxel] = value as f32;
            voxel += 1;
        }
    }
}

fn sample_registered_plane(
    channel: &Volume,
    grid: &Grid,
    axes: &[AxisMap; 3],
    slow: usize,
    plane: &mut [f32],
) {
    let mut voxel = 0;
    for middle in 0..axes[1].inner {
        for fast in 0..axes[2].inner {
            let mut index = [0.0; 3];
            for (axis, at) in axes.iter().zip([slow, middle, fast]) {
                index[axis.source_axis] = axis.source(at);
            }
            plane[voxel] = trilinear(&channel.voxels, channel.grid.index(grid.point(index)));
            voxel += 1;
        }
    }
}

/// The value at (column, row, slice); 0 more than half a voxel outside.
fn trilinear(voxels: &Array3<f32>, index: [f64; 3]) -> f32 {
    let (slices, rows, columns) = voxels.dim();
    let mut taps = [Tap { low: 0, high: 0, weight: 0.0 }; 3];
    for (tap, (at, len)) in taps.iter_mut().zip(index.into_iter().zip([columns, rows, slices])) {
        let last = (len - 1) as f64;
        if !(-0.5..=last + 0.5).contains(&at) {
            return 0.0;
        }
        *tap = Tap::new(at.clamp(0.0, last), len - 1);
    }
    let [column, row, slice] = taps;
    let line = |s: usize, r: usize| {
        between(f64::from(voxels[[s, r, column.low]]), f64::from(voxels[[s, r, column.high]]), column.weight)
    };
    let face = |s: usize| between(line(s, row.low), line(s, row.high), row.weight);
    between(face(slice.low), face(slice.high), slice.weight) as f32
}

/// `image` in the middle of a larger tensor of zeros, where the axes ask for it.
pub(crate) fn padded(image: Array3<f32>, axes: &[AxisMap; 3]) -> Array3<f32> {
    let lens = axes.map(|axis| axis.len);
    if lens == axes.map(|axis| axis.inner) {
        return image;
    }
    let mut tensor = Array3::zeros(lens);
    let [a, b, c] = axes.map(|axis| axis.pad..axis.pad + axis.inner);
    tensor.slice_mut(ndarray::s![a, b, c]).assign(&image);
    tensor
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ndarray::Ix3;

    use super::*;
    use crate::{image::placement, npy, package::Package};

    fn reference(name: &str) -> Array3<f32> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
        npy::read(&path).unwrap().mapv(|value| value as f32).into_dimensionality::<Ix3>().unwrap()
    }

    #[test]
    fn resampling_is_that_of_simpleitk() {
        let manifest = include_str!("../../tests/reference/resampled.toml");
        let package = Package::parse(Path::new("resampled"), manifest).unwrap();
        let crate::package::Task::Segmentation(spec) = &package.task else { panic!("a segmentation") };
        let affine = [[0.9, 0.0, 0.0, 0.0], [0.0, 1.1, 0.0, 0.0], [0.0, 0.0, 2.5, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid::from_affine([10, 12, 14], affine);
        let found = sample(&reference("volume.npy"), &placement::place(&spec.input, &grid));
        let expected = reference("resampled.npy");
        assert_eq!(found.dim(), expected.dim());
        let largest = found.iter().zip(&expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(largest <= 1e-4, "{largest}");
    }
}
