//! Uneven and leaning stacks on an even, upright grid, and labels back to where they belong.
//!
//! The convention: the new grid keeps orientation and pixel spacing, takes the usual step of
//! the stack between slices and begins at the first slice; in the plane it grows as far as the
//! stack leans. Each of its voxels is interpolated linearly between the true positions of the
//! source slices; outside the source it takes the lowest source value. A stack is refused
//! when slices are missing, when a step is so long that anatomy would be invented, or when it
//! leans too far.

use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

use crate::{
    geometry::{Grid, Point, dot, scale, sub},
    series::usual_step,
    volume::{Volume, VolumeError, check_size},
};

/// A step longer than this many usual ones is not bridged.
const BRIDGE_MAX: f64 = 2.5;
/// A stack that leans more than this is not set upright, degrees.
const TILT_MAX: f64 = 45.0;

impl Volume {
    /// This volume on an even, upright grid; itself when it is on one already.
    ///
    /// # Errors
    /// When it cannot be resampled honestly; the reason is in the error.
    pub fn regular(self) -> Result<Self, VolumeError> {
        if self.grid.is_regular() {
            return Ok(self);
        }
        if let Some(hole) = self.holes.first() {
            return Err(VolumeError::NotResampled(format!(
                "{} slices are missing behind slice {}",
                hole.missing,
                hole.after + 1
            )));
        }
        let grid = regular_grid(&self.grid)?;
        let voxels = resample(&self, &grid);
        Ok(Self { grid, voxels, frames: Vec::new(), ..self })
    }
}

/// Whole numbers on a grid: 0 is background.
#[derive(Clone, PartialEq)]
pub struct LabelMap {
    pub grid: Grid,
    /// [slice, row, column]
    pub labels: Array3<u8>,
}

impl LabelMap {
    /// The same labels on `target`: each of its voxels takes the nearest voxel's, background
    /// outside.
    pub fn onto(&self, target: &Grid) -> Self {
        if self.grid == *target {
            return self.clone();
        }
        let labels = nearest_onto(self.labels.view(), &self.grid, target);
        Self { grid: target.clone(), labels }
    }
}

/// Values on `source` brought to `target`: each of its voxels takes the nearest voxel's, 0 outside.
pub fn nearest_onto<T: Copy + Default + Send + Sync>(
    values: ArrayView3<'_, T>,
    source: &Grid,
    target: &Grid,
) -> Array3<T> {
    by_slice(target, |row, column, slice| {
        let index = source.index(target.point([column as f64, row as f64, slice as f64]));
        let [column, row, slice] = index.map(f64::round);
        if column < 0.0 || row < 0.0 || slice < 0.0 {
            return T::default();
        }
        values.get((slice as usize, row as usize, column as usize)).copied().unwrap_or_default()
    })
}

impl std::fmt::Debug for LabelMap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LabelMap").field("dims", &self.grid.dims).finish_non_exhaustive()
    }
}

fn regular_grid(source: &Grid) -> Result<Grid, VolumeError> {
    let normal = source.normal();
    let heights: Vec<f64> =
        source.positions.iter().map(|at| dot(sub(*at, source.origin()), normal)).collect();
    let only = || VolumeError::NotResampled("one slice has no step".to_owned());
    let step = usual_step(&heights).ok_or_else(only)?;
    let longest = heights.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    if longest > BRIDGE_MAX * step {
        return Err(VolumeError::NotResampled(format!(
            "a step of {longest:.2} mm among steps of {step:.2} mm"
        )));
    }
    let tilt = source.regularity().tilt_degrees;
    if tilt > TILT_MAX {
        return Err(VolumeError::NotResampled(format!(
            "it leans {tilt:.1} degrees against the normal of its slices"
        )));
    }
    let [right, down, _] = source.spacing();
    let [a, b, c, d, e, f] = source.orientation();
    let (along_row, along_column) = ([a, b, c], [d, e, f]);
    let (columns_before, columns_behind) = lean(source, along_row, right);
    let (rows_before, rows_behind) = lean(source, along_column, down);
    let shift = |direction: Point, steps: usize, mm: f64| scale(direction, -(steps as f64) * mm);
    let (left, up) = (shift(along_row, columns_before, right), shift(along_column, rows_before, down));
    let origin = [0, 1, 2].map(|axis| source.origin()[axis] + left[axis] + up[axis]);
    let covered = heights[heights.len() - 1];
    let slices = ((covered / step + 1e-6).floor() as usize).saturating_add(1);
    let row =
        |axis: usize| [along_row[axis] * right, along_column[axis] * down, normal[axis] * step, origin[axis]];
    let affine = [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]];
    let dims = [
        source.columns().saturating_add(columns_before).saturating_add(columns_behind),
        source.rows().saturating_add(rows_before).saturating_add(rows_behind),
        slices,
    ];
    check_size(dims)?;
    Ok(Grid::from_affine(dims, affine))
}

/// By how many pixels slices reach before and behind the first one along `direction`.
fn lean(source: &Grid, direction: Point, spacing: f64) -> (usize, usize) {
    // A hundredth of a pixel is rounding.
    let pixels = |mm: f64| (mm / spacing - 0.01).max(0.0).ceil() as usize;
    let offsets = source.positions.iter().map(|at| dot(sub(*at, source.origin()), direction));
    let (low, high) = offsets.fold((0.0, 0.0), |(low, high): (f64, f64), mm| (low.min(mm), high.max(mm)));
    (pixels(-low), pixels(high))
}

fn resample(source: &Volume, grid: &Grid) -> Array3<f32> {
    let outside = source.voxels.iter().copied().fold(f32::INFINITY, f32::min);
    by_slice(grid, |row, column, slice| {
        let index = source.grid.index(grid.point([column as f64, row as f64, slice as f64]));
        trilinear(&source.voxels, index).unwrap_or(outside)
    })
}

/// An array on `grid`, its slices computed in parallel.
fn by_slice<T: Copy + Default + Send>(
    grid: &Grid,
    value: impl Fn(usize, usize, usize) -> T + Sync,
) -> Array3<T> {
    let [columns, rows, slices] = grid.dims;
    let mut all = vec![T::default(); columns * rows * slices];
    all.par_chunks_mut((columns * rows).max(1)).enumerate().for_each(|(slice, plane)| {
        for (pixel, place) in plane.iter_mut().enumerate() {
            *place = value(pixel / columns, pixel % columns, slice);
        }
    });
    Array3::from_shape_vec((slices, rows, columns), all).expect("one value for each voxel")
}

/// Linear along each axis; `None` outside the voxel centres, with a little tolerance.
fn trilinear(voxels: &Array3<f32>, index: [f64; 3]) -> Option<f32> {
    let (slices, rows, columns) = voxels.dim();
    let [column, row, slice] = index;
    let [x, y, z] = [between(column, columns)?, between(row, rows)?, between(slice, slices)?];
    let at = |slice, row| {
        let line = |column| f64::from(voxels[(slice, row, column)]);
        line(x.below) + (line(x.above) - line(x.below)) * x.part
    };
    let plane = |slice| at(slice, y.below) + (at(slice, y.above) - at(slice, y.below)) * y.part;
    let (low, high) = (plane(z.below), plane(z.above));
    Some((low + (high - low) * z.part) as f32)
}

struct Between {
    below: usize,
    above: usize,
    part: f64,
}

fn between(index: f64, count: usize) -> Option<Between> {
    const TOLERANCE: f64 = 1e-3;
    let last = (count - 1) as f64;
    if !(-TOLERANCE..=last + TOLERANCE).contains(&index) {
        return None;
    }
    let index = index.clamp(0.0, last);
    let below = index.floor();
    let above = (below as usize + 1).min(count - 1);
    Some(Between { below: below as usize, above, part: index - below })
}
