//! Real series load with the geometry and the values that SimpleITK gives.

use imaging::{Header, Plane, Volume, load_volume, stacks};
use serde_json::Value;

use crate::data;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours} against {theirs}");
    }
}

fn slice_means(volume: &Volume) -> Vec<f64> {
    let mean = |slice: ndarray::ArrayView2<'_, f32>| {
        slice.iter().map(|value| f64::from(*value)).sum::<f64>() / slice.len() as f64
    };
    volume.voxels.outer_iter().map(mean).collect()
}

#[track_caller]
fn same_geometry(volume: &Volume, reference: &Value) {
    let grid = &volume.grid;
    let dims: Vec<f64> = grid.dims.iter().map(|edge| *edge as f64).collect();
    close("size", &dims, &numbers(&reference["size"]), 0.0);
    close("origin", &grid.origin(), &numbers(&reference["origin"]), 1e-4);
    close("spacing", &grid.spacing(), &numbers(&reference["spacing"]), 1e-4);
    let ([a, b, c, d, e, f], [x, y, z]) = (grid.orientation(), grid.normal());
    // Rows of the matrix whose columns are the three directions.
    close("direction", &[a, d, x, b, e, y, c, f, z], &numbers(&reference["direction"]), 1e-5);
    let last = grid.dims.map(|edge| edge as f64 - 1.0);
    close("far corner", &grid.point(last), &numbers(&reference["corner"]), 1e-3);
    close("means", &slice_means(volume), &numbers(&reference["slice_means"]), 1e-3);
}

#[test]
fn sagittal_mr_with_gaps_between_slices() {
    let (_folder, sources) = data::series("mr-brain/siemens-prisma-t1-sag2d.tar.xz");
    let volume = load_volume(&sources).unwrap();
    same_geometry(&volume, &data::reference("geometry.json")["siemens-prisma-t1-sag2d"]);
    assert_eq!(volume.grid.plane(), Plane::Sagittal);
    assert!(volume.grid.is_regular());
    assert!(volume.holes.is_empty());
}

#[test]
fn axial_ct_in_hounsfield_units() {
    let (_folder, sources) = data::series("ct-head/philips-ingenuity-head-5mm.tar.xz");
    let volume = load_volume(&sources).unwrap();
    same_geometry(&volume, &data::reference("geometry.json")["philips-ingenuity-head-5mm"]);
    assert_eq!(volume.grid.plane(), Plane::Axial);
}

#[test]
fn enhanced_mr_frames_are_slices_in_order() {
    let path = data::folder("mr-enhanced").join("siemens-xa30-t1w-enhanced.dcm");
    let header = Header::read_file(&path).unwrap();
    assert_eq!(header.number_of_frames, 96);
    let volume = load_volume(&[(header, path)]).unwrap();
    // SimpleITK keeps the order of the frames, which here runs against the normal.
    let reference = &data::reference("geometry.json")["siemens-xa30-t1w-enhanced.dcm"];
    let last = volume.grid.dims.map(|edge| edge as f64 - 1.0);
    close("first frame", &volume.grid.point([0.0, 0.0, last[2]]), &numbers(&reference["origin"]), 1e-3);
    close("far corner", &volume.grid.point([last[0], last[1], 0.0]), &numbers(&reference["corner"]), 1e-3);
    close("spacing", &volume.grid.spacing(), &numbers(&reference["spacing"]), 1e-4);
    let mut means = numbers(&reference["slice_means"]);
    means.reverse();
    close("means", &slice_means(&volume), &means, 1e-3);
    let mut numbers: Vec<u32> = volume.frames.iter().map(|frame| frame.frame_number.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=96).collect::<Vec<u32>>());
}

#[test]
fn tilted_and_uneven_ct_keeps_its_true_positions() {
    let (_folder, sources) = data::series("ct-odd/ge-hispeed-head-tilt-uneven.tar.xz");
    let headers: Vec<Header> = sources.iter().map(|(header, _)| header.clone()).collect();
    let stacks = stacks(&headers);
    // The step grows from 4 to 7 mm with consecutive instance numbers: nothing is missing.
    assert!(stacks.stacks.len() == 1 && stacks.stacks[0].holes.is_empty());
    let volume = load_volume(&sources).unwrap();
    let regularity = volume.grid.regularity();
    assert!(!regularity.is_even && !regularity.is_upright);
    assert!((regularity.tilt_degrees - 18.5).abs() < 0.1, "{regularity:?}");
    for (slice, (header, _)) in sources.iter().enumerate() {
        let index = [0.0, 0.0, slice as f64];
        close("position", &volume.grid.point(index), &header.position.unwrap(), 1e-9);
        assert_eq!(volume.frames[slice].sop_instance, header.sop_instance);
    }
}

#[test]
fn tilted_and_uneven_ct_is_set_upright_by_true_positions() {
    let (_folder, sources) = data::series("ct-odd/ge-hispeed-head-tilt-uneven.tar.xz");
    let source = load_volume(&sources).unwrap();
    let upright = source.clone().regular().unwrap();
    assert!(upright.grid.is_regular());
    assert!(upright.frames.is_empty());
    close("spacing", &upright.grid.spacing()[..2], &source.grid.spacing()[..2], 1e-9);
    // Both begin with the same plane, and the new grid only grew by whole pixels.
    let [columns, rows, _] = source.grid.dims;
    for (column, row) in [(0, 0), (columns / 2, rows / 2), (columns / 3, rows / 4), (columns - 1, rows - 1)] {
        let point = source.grid.point([column as f64, row as f64, 0.0]);
        let [x, y, z] = upright.grid.index(point).map(|index| index.round() as usize);
        assert_eq!(z, 0);
        assert_eq!(upright.voxels[(z, y, x)], source.voxels[(0, row, column)], "column {column}, row {row}");
    }
}

#[test]
fn padding_of_a_ct_becomes_the_lowest_measured_value() {
    let (_folder, sources) = data::series("ct-odd/ge-hispeed-head-tilt-uneven.tar.xz");
    let volume = load_volume(&sources).unwrap();
    let lowest = volume.voxels.iter().copied().fold(f32::INFINITY, f32::min);
    // Pixel Padding Value is -1500 in these files.
    assert!(lowest > -1500.0, "{lowest}");
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let (_folder, mut sources) = data::series("ct-head/philips-ingenuity-head-5mm.tar.xz");
    let in_order = load_volume(&sources).unwrap();
    sources.reverse();
    sources.swap(1, 7);
    let shuffled = load_volume(&sources).unwrap();
    assert_eq!(in_order.grid, shuffled.grid);
    assert_eq!(in_order.frames, shuffled.frames);
    assert!(in_order.voxels == shuffled.voxels);
}
