//! One ball in the patient, acquired in many ways: it stays where it is and as large as it is.

use imaging::Grid;
use inference::{Control, Outcome, Segmentation};
use ndarray::Array3;

use crate::fixture::{Folder, segmentation, volume_on};

const CENTRE: [f64; 3] = [12.0, -20.0, 31.0];
const RADIUS: f64 = 11.0;

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| a[axis] * b[axis]).sum()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// A grid around the ball, slices at `heights` along the normal.
fn grid(row: [f64; 3], column: [f64; 3], spacing: [f64; 2], heights: &[f64]) -> Grid {
    let normal = cross(row, column);
    let half = [23.0, 19.0];
    let corner = [0, 1, 2]
        .map(|axis| CENTRE[axis] - row[axis] * half[0] - column[axis] * half[1] + normal[axis] * 0.7);
    let positions = heights.iter().map(|height| [0, 1, 2].map(|axis| corner[axis] + normal[axis] * height));
    let size = [(2.0 * half[0] / spacing[0]) as usize, (2.0 * half[1] / spacing[1]) as usize];
    let orientation = [row[0], row[1], row[2], column[0], column[1], column[2]];
    Grid::from_slices(size, orientation, [spacing[1], spacing[0]], positions.collect(), 2.0).unwrap()
}

fn even(step: f64) -> Vec<f64> {
    (0..(40.0 / step) as usize).map(|slice| slice as f64 * step - 20.0).collect()
}

/// 1 inside, falling to 0 over a voxel at the surface, so that 0.5 is the surface.
fn ball(grid: &Grid) -> Array3<f32> {
    let [columns, rows, slices] = grid.dims;
    Array3::from_shape_fn((slices, rows, columns), |(slice, row, column)| {
        let at = grid.point([column as f64, row as f64, slice as f64]);
        let away = [0, 1, 2].map(|axis| at[axis] - CENTRE[axis]);
        (0.5 + (RADIUS - dot(away, away).sqrt()) / 3.0).clamp(0.0, 1.0) as f32
    })
}

fn segment(grid: &Grid, input: &str) -> Segmentation {
    let folder = Folder::new();
    let model = folder.model("threshold.onnx", &segmentation(input, "overlap = 0.25"));
    match model.segment(vec![volume_on(grid.clone(), ball(grid))], &Control::unattended()).unwrap() {
        Outcome::Findings(found) => found,
        Outcome::NotAnalysed { reason } => panic!("{reason}"),
    }
}

#[track_caller]
fn check(grid: &Grid, input: &str) {
    let found = segment(grid, input);
    assert_eq!(found.labels.grid, *grid, "the answer is on the source grid");
    let measures = found.findings.segments[0].measures.expect("the ball is found");
    let truth = 4.0 / 3.0 * std::f64::consts::PI * RADIUS.powi(3) / 1000.0;
    assert!((measures.volume_ml / truth - 1.0).abs() < 0.05, "{} ml, not {truth}", measures.volume_ml);
    for (found, truth) in measures.centroid_lps.into_iter().zip(CENTRE) {
        assert!((found - truth).abs() < 0.5, "{:?}", measures.centroid_lps);
    }
    let [column, row, slice] = measures.key_point;
    assert_eq!(found.labels.labels[[slice, row, column]], 1);
    assert!(
        (measures.longest_diameter.length_mm - 2.0 * RADIUS).abs() < 2.5,
        "{:?}",
        measures.longest_diameter
    );
    assert!(!measures.touches_edge);
}

const X: [f64; 3] = [1.0, 0.0, 0.0];
const Y: [f64; 3] = [0.0, 1.0, 0.0];
const Z: [f64; 3] = [0.0, 0.0, 1.0];

fn negative(vector: [f64; 3]) -> [f64; 3] {
    vector.map(|component| -component)
}

#[test]
fn the_ball_is_the_same_in_every_plane() {
    let resampled = "orientation = \"LPS\"\nspacing_mm = [1.0, 1.0, 1.0]";
    let xyz = "orientation = \"RAS\"\nspacing_mm = [1.2, 1.0, 1.5]\ntensor_axes = \"xyz\"";
    for input in ["", resampled, xyz] {
        check(&grid(X, Y, [1.0, 1.0], &even(2.0)), input);
        check(&grid(Y, negative(Z), [0.8, 1.1], &even(1.5)), input);
        check(&grid(X, negative(Z), [1.0, 1.0], &even(2.0)), input);
        check(&grid(negative(X), Y, [1.3, 0.9], &even(2.0)), input);
    }
}

#[test]
fn the_ball_is_the_same_in_an_oblique_plane() {
    let (s, c) = 30.0_f64.to_radians().sin_cos();
    // Turned by 30° about z, then about the new row.
    let row = [c, s, 0.0];
    let column = [-s * c, c * c, s];
    check(&grid(row, column, [1.0, 1.0], &even(2.0)), "");
    check(&grid(row, column, [1.0, 1.0], &even(2.0)), "orientation = \"LPS\"\nspacing_mm = [1.0, 1.0, 1.0]");
}

#[test]
fn uneven_slices_count_for_what_they_stand_for() {
    let heights = (0..20).map(|slice| f64::from(slice) * 2.0 - 20.0 + if slice % 2 == 0 { 0.0 } else { 0.4 });
    check(
        &grid(X, Y, [1.0, 1.0], &heights.collect::<Vec<_>>()),
        "orientation = \"LPS\"\nspacing_mm = [1.0, 1.0, 1.0]",
    );
}
