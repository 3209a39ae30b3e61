//! What a segment measures: on the source grid, of the source's own values.

mod diameter;
mod key_point;

use imaging::{Grid, LabelMap};
use ndarray::{Array3, ArrayView2};

use crate::findings::{BoundingBox, Measures};

/// The measures of the voxels labelled `value`, none when there is none.
pub(crate) fn measure(map: &LabelMap, values: &Array3<f32>, value: u8) -> Option<Measures> {
    let totals = Totals::of(map, values, value)?;
    let [longest_diameter, perpendicular_diameter] = diameter::diameters(map, value)?;
    Some(Measures {
        voxels: totals.voxels,
        volume_ml: totals.volume_mm3 / 1000.0,
        longest_diameter,
        perpendicular_diameter,
        centroid_lps: totals.centroid.map(|sum| sum / totals.volume_mm3),
        bounding_box: totals.bounding_box,
        mean: totals.mean,
        sd: totals.sd(map, values, value),
        min: totals.min,
        max: totals.max,
        touches_edge: touches_edge(&map.grid, &totals.bounding_box),
        key_point: key_point::key_point(map, value, totals.largest_slice),
    })
}

fn touches_edge(grid: &Grid, bounds: &BoundingBox) -> bool {
    (0..3).any(|axis| bounds.first[axis] == 0 || bounds.last[axis] + 1 == grid.dims[axis])
}

struct Totals {
    voxels: u64,
    volume_mm3: f64,
    /// Sum of voxel centres, each weighed with its volume.
    centroid: [f64; 3],
    bounding_box: BoundingBox,
    mean: f64,
    min: f64,
    max: f64,
    largest_slice: usize,
}

/// Sums over the voxels of one slice.
#[derive(Default)]
struct InSlice {
    voxels: u64,
    columns: u64,
    rows: u64,
}

impl Totals {
    fn of(map: &LabelMap, values: &Array3<f32>, value: u8) -> Option<Self> {
        let mut bounds = BoundingBox { first: [usize::MAX; 3], last: [0; 3] };
        let (mut sum, mut min, mut max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
        let mut in_slices = Vec::new();
        for (slice, labels) in map.labels.outer_iter().enumerate() {
            let mut here = InSlice::default();
            for [row, column] in places(&labels, value) {
                here.voxels += 1;
                here.columns += column as u64;
                here.rows += row as u64;
                for (axis, index) in [column, row, slice].into_iter().enumerate() {
                    bounds.first[axis] = bounds.first[axis].min(index);
                    bounds.last[axis] = bounds.last[axis].max(index);
                }
                let intensity = f64::from(values[[slice, row, column]]);
                sum += intensity;
                min = min.min(intensity);
                max = max.max(intensity);
            }
            in_slices.push(here);
        }
        let voxels = in_slices.iter().map(|here| here.voxels).sum::<u64>();
        if voxels == 0 {
            return None;
        }
        let (volume_mm3, centroid) = weighed(&map.grid, &in_slices);
        // The first of equally large slices.
        let areas = in_slices.iter().map(|here| here.voxels).enumerate();
        let largest = areas.rev().max_by_key(|(_, area)| *area)?;
        Some(Self {
            voxels,
            volume_mm3,
            centroid,
            bounding_box: bounds,
            mean: sum / voxels as f64,
            min,
            max,
            largest_slice: largest.0,
        })
    }

    fn sd(&self, map: &LabelMap, values: &Array3<f32>, value: u8) -> f64 {
        let mut squares = 0.0;
        for (labels, values) in map.labels.outer_iter().zip(values.outer_iter()) {
            let inside = places(&labels, value).map(|place| f64::from(values[place]) - self.mean);
            squares = inside.fold(squares, |sum, difference| sum + difference.powi(2));
        }
        (squares / self.voxels as f64).sqrt()
    }
}

/// Row and column of the voxels of a slice that are labelled `value`; most rows have none and are passed over at once.
fn places<'a>(labels: &'a ArrayView2<'_, u8>, value: u8) -> impl Iterator<Item = [usize; 2]> + 'a {
    let rows = labels.outer_iter().enumerate();
    let rows =
        rows.filter(move |(_, labels)| labels.iter().fold(false, |any, label| any | (*label == value)));
    rows.flat_map(move |(row, labels)| {
        let columns = (0..labels.len()).filter(move |column| labels[*column] == value);
        columns.map(move |column| [row, column])
    })
}

/// Volume in mm³, and the sum of voxel centres weighed with it.
fn weighed(grid: &Grid, in_slices: &[InSlice]) -> (f64, [f64; 3]) {
    let (mut volume, mut sum) = (0.0, [0.0; 3]);
    for (slice, here) in in_slices.iter().enumerate().filter(|(_, here)| here.voxels > 0) {
        let count = here.voxels as f64;
        let middle = grid.point([here.columns as f64 / count, here.rows as f64 / count, slice as f64]);
        let weight = count * grid.voxel_volume_mm3(slice);
        volume += weight;
        for (sum, middle) in sum.iter_mut().zip(middle) {
            *sum += middle * weight;
        }
    }
    (volume, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns 0.5 mm, rows 1 mm, slices 1, 1, 4 mm apart, straight.
    fn grid() -> Grid {
        let positions = [0.0, 1.0, 2.0, 6.0].map(|z| [10.0, 20.0, z]).to_vec();
        Grid::from_slices([8, 6], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.5], positions, 1.0).unwrap()
    }

    fn map(voxels: &[[usize; 3]]) -> LabelMap {
        let grid = grid();
        let mut labels = Array3::zeros((4, 6, 8));
        voxels.iter().for_each(|[column, row, slice]| labels[[*slice, *row, *column]] = 3);
        LabelMap { grid, labels }
    }

    fn intensities() -> Array3<f32> {
        Array3::from_shape_fn((4, 6, 8), |(slice, row, column)| (slice * 100 + row * 10 + column) as f32)
    }

    #[test]
    fn what_is_not_there_has_no_measures() {
        assert_eq!(measure(&map(&[]), &intensities(), 3), None);
    }

    #[test]
    fn volumes_follow_the_true_distances_of_slices() {
        let found = measure(&map(&[[2, 2, 1], [2, 2, 2]]), &intensities(), 3).unwrap();
        // Slice 1 stands for 1 mm, slice 2 for 2.5 mm.
        assert!((found.volume_ml - (0.5 + 1.25) / 1000.0).abs() < 1e-12);
        let z = (0.5 * 1.0 + 1.25 * 2.0) / 1.75;
        assert!((found.centroid_lps[2] - z).abs() < 1e-12, "{:?}", found.centroid_lps);
        assert_eq!(found.centroid_lps[..2], [11.0, 22.0]);
    }

    #[test]
    fn statistics_are_those_of_the_source_values() {
        let found = measure(&map(&[[1, 2, 1], [3, 2, 1]]), &intensities(), 3).unwrap();
        assert_eq!((found.mean, found.sd, found.min, found.max, found.voxels), (122.0, 1.0, 121.0, 123.0, 2));
        assert_eq!(found.bounding_box, BoundingBox { first: [1, 2, 1], last: [3, 2, 1] });
    }

    #[test]
    fn a_segment_at_the_border_says_that_it_may_go_on() {
        let touches = |voxel| measure(&map(&[voxel]), &intensities(), 3).unwrap().touches_edge;
        assert!(!touches([2, 2, 1]));
        assert!(touches([0, 2, 1]) && touches([7, 2, 1]) && touches([2, 5, 1]) && touches([2, 2, 3]));
    }

    #[test]
    fn the_key_point_is_inside_even_of_a_ring() {
        let ring = (0..6).flat_map(|row| (0..8).map(move |column| [column, row, 2]));
        let ring = ring.filter(|[column, row, _]| *column == 0 || *column == 7 || *row == 0 || *row == 5);
        let ring = ring.chain([[3, 3, 1]]).collect::<Vec<_>>();
        let map = map(&ring);
        let [column, row, slice] = measure(&map, &intensities(), 3).unwrap().key_point;
        assert_eq!((slice, map.labels[[slice, row, column]]), (2, 3));
    }
}
