//! One ball in patient space, acquired every way: its centre and volume stay where they are.

use dicom_dictionary_std::uids;
use imaging::{LabelMap, Volume, load_volume};

use crate::builder::{CENTRE, Planes, RADIUS, classic, enhanced, rle, transcoded};

const AXIAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
const SAGITTAL: [f64; 6] = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
const CORONAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0];
/// The normal points to the feet: slices run from head to feet.
const REVERSED: [f64; 6] = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

/// Turned by 30° about x and then by 30° about z.
fn oblique() -> [f64; 6] {
    let (sin, cos) = 30_f64.to_radians().sin_cos();
    [cos, sin, 0.0, -sin * cos, cos * cos, sin]
}

fn heights(from: f64, step: f64, count: usize) -> Vec<f64> {
    (0..count).map(|slice| from + step * slice as f64).collect()
}

/// Centre and volume (ml) of what is brighter than half, weighted by voxel volume.
fn measure(volume: &Volume) -> ([f64; 3], f64) {
    let (mut sum, mut mm3) = ([0.0; 3], 0.0);
    for ((slice, row, column), value) in volume.voxels.indexed_iter() {
        let mass = f64::from(*value) / 1000.0 * volume.grid.voxel_volume_mm3(slice);
        let at = volume.grid.point([column as f64, row as f64, slice as f64]);
        mm3 += mass;
        (0..3).for_each(|axis| sum[axis] += mass * at[axis]);
    }
    (sum.map(|sum| sum / mm3), mm3 / 1000.0)
}

#[track_caller]
fn ball_is_in_place(volume: &Volume) {
    let (centre, ml) = measure(volume);
    let half_voxel = volume.grid.spacing().into_iter().fold(0.0, f64::max) / 2.0;
    for axis in 0..3 {
        assert!((centre[axis] - CENTRE[axis]).abs() < half_voxel, "{centre:?} against {CENTRE:?}");
    }
    let expected = 4.0 / 3.0 * std::f64::consts::PI * RADIUS.powi(3) / 1000.0;
    assert!((ml / expected - 1.0).abs() < 0.03, "{ml} ml against {expected} ml");
}

#[track_caller]
fn check(planes: &Planes) {
    let folder = tempfile::tempdir().unwrap();
    let volume = load_volume(&classic(planes, folder.path())).unwrap();
    assert_eq!(volume.frames.len(), planes.positions.len());
    ball_is_in_place(&volume);
    let multi_frame = load_volume(&enhanced(planes, folder.path())).unwrap();
    ball_is_in_place(&multi_frame);
    assert_eq!(multi_frame.grid, volume.grid);
    let regular = volume.clone().regular().unwrap();
    ball_is_in_place(&regular);
    labels_come_back(&volume, &regular);
}

/// What is segmented on the regular grid lies on the right voxels of the source grid.
#[track_caller]
fn labels_come_back(source: &Volume, regular: &Volume) {
    let labels = regular.voxels.mapv(|value| u8::from(value > 500.0));
    let back = LabelMap { grid: regular.grid.clone(), labels }.onto(&source.grid);
    assert_eq!(back.labels.dim(), source.voxels.dim());
    let expected = source.voxels.mapv(|value| u8::from(value > 500.0));
    let both = back.labels.iter().zip(&expected).filter(|(a, b)| **a == 1 && **b == 1).count() as f64;
    let sum = back.labels.iter().chain(&expected).filter(|label| **label == 1).count() as f64;
    let dice = 2.0 * both / sum;
    assert!(dice > if source.grid == regular.grid { 0.9999 } else { 0.93 }, "dice {dice}");
}

#[test]
fn axial_slices() {
    check(&Planes::through_ball(AXIAL, [1.0, 1.0], &heights(-14.0, 2.0, 15)));
}

#[test]
fn sagittal_slices() {
    check(&Planes::through_ball(SAGITTAL, [1.1, 0.9], &heights(-15.0, 1.5, 21)));
}

#[test]
fn coronal_slices() {
    check(&Planes::through_ball(CORONAL, [0.9, 1.1], &heights(-15.0, 1.5, 21)));
}

#[test]
fn slices_oblique_about_two_axes() {
    check(&Planes::through_ball(oblique(), [1.0, 1.2], &heights(-14.0, 2.0, 15)));
}

#[test]
fn slices_in_reversed_order() {
    check(&Planes::through_ball(REVERSED, [1.0, 1.0], &heights(-14.0, 2.0, 15)));
}

#[test]
fn unevenly_spaced_slices() {
    let mut uneven = heights(-14.0, 1.0, 14);
    uneven.extend(heights(1.0, 2.0, 8));
    check(&Planes::through_ball(AXIAL, [1.0, 1.0], &uneven));
    check(&Planes::through_ball(oblique(), [1.0, 1.0], &uneven));
}

#[test]
fn slices_of_a_tilted_gantry() {
    check(&Planes::through_ball(AXIAL, [1.0, 1.0], &heights(-14.0, 2.0, 15)).tilted(15.0));
    check(&Planes::through_ball(SAGITTAL, [1.0, 1.0], &heights(-14.0, 2.0, 15)).tilted(-20.0));
}

/// The syntaxes that something here can write without loss; the others are in `syntaxes.rs`.
#[test]
fn slices_in_every_lossless_syntax() {
    const SYNTAXES: [&str; 7] = [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        // Explicit VR Big Endian, retired.
        "1.2.840.10008.1.2.2",
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::DEFLATED_IMAGE_FRAME_COMPRESSION,
        uids::JPEGLS_LOSSLESS,
        uids::RLE_LOSSLESS,
    ];
    let planes = Planes::through_ball(oblique(), [1.0, 1.2], &heights(-14.0, 2.0, 15));
    let folder = tempfile::tempdir().unwrap();
    let plain = classic(&planes, folder.path());
    let expected = load_volume(&plain).unwrap();
    for syntax in SYNTAXES {
        let written: Vec<_> = plain
            .iter()
            .map(|(_, path)| if syntax == uids::RLE_LOSSLESS { rle(path) } else { transcoded(path, syntax) })
            .collect();
        assert!(written.iter().all(|(header, _)| header.transfer_syntax.as_str() == syntax), "{syntax}");
        let volume = load_volume(&written).unwrap();
        assert!(volume.voxels == expected.voxels, "{syntax}");
        assert_eq!(volume.grid, expected.grid, "{syntax}");
        ball_is_in_place(&volume);
    }
}

#[test]
fn missing_slices_are_reported_and_not_bridged() {
    let folder = tempfile::tempdir().unwrap();
    let mut sources =
        classic(&Planes::through_ball(AXIAL, [1.0, 1.0], &heights(-14.0, 2.0, 15)), folder.path());
    sources.drain(6..8);
    let volume = load_volume(&sources).unwrap();
    assert_eq!(volume.holes.len(), 1);
    assert_eq!((volume.holes[0].after, volume.holes[0].missing), (5, 2));
    let refused = volume.regular().unwrap_err();
    assert_eq!(refused.to_string(), "the stack cannot be resampled: 2 slices are missing behind slice 6");
}
