//! How a run goes: skipped windows, cancelling, repeatability, unfit input.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use imaging::Grid;
use inference::{Cancelled, Control, Deidentified, InferenceError, Model, Outcome, Segmentation, Urgency};
use ndarray::{Array3, s};

use crate::fixture::{Folder, reference_volume, segmentation, volume, volume_on, with_label};

fn findings(model: &Model, voxels: Array3<f32>) -> Segmentation {
    match model.segment(vec![volume(voxels)], &Control::unattended()).unwrap() {
        Outcome::Findings(found) => found,
        Outcome::NotAnalysed { reason } => panic!("{reason}"),
    }
}

fn corner_lesion() -> Array3<f32> {
    let mut voxels = Array3::zeros((40, 40, 40));
    voxels.slice_mut(s![2..9, 3..8, 4..12]).fill(1.0);
    voxels
}

#[test]
fn empty_windows_are_skipped_and_nothing_else_changes() {
    let (plain, skipping) = (Folder::new(), Folder::new());
    let every = findings(&plain.model("threshold.onnx", &segmentation("", "")), corner_lesion());
    let some =
        findings(&skipping.model("threshold.onnx", &segmentation("", "skip_empty = true")), corner_lesion());
    assert_eq!(every.labels.labels, some.labels.labels);
    assert_eq!((every.findings.windows_run, every.findings.windows_skipped), (27, 0));
    assert_eq!((some.findings.windows_run, some.findings.windows_skipped), (1, 26));
    assert_eq!(some.findings.segments[0].measures.unwrap().voxels, 7 * 5 * 8);
}

#[test]
fn an_empty_volume_has_an_absent_segment_and_no_error() {
    let folder = Folder::new();
    let model = folder.model("threshold.onnx", &segmentation("", "skip_empty = true"));
    let found = findings(&model, Array3::zeros((20, 20, 20)));
    assert!(!found.findings.segments[0].is_present());
    assert_eq!(found.findings.windows_run, 0);
}

#[test]
fn the_same_input_gives_the_same_bits() {
    let folder = Folder::new();
    let model = folder.model("conv.onnx", &with_label(&segmentation("", ""), 2));
    let one = findings(&model, reference_volume("windows_input.npy"));
    let other = findings(&model, reference_volume("windows_input.npy"));
    assert_eq!(one.labels.labels, other.labels.labels);
    assert_eq!(one.findings, other.findings);
}

#[test]
fn flips_of_a_symmetric_model_change_nothing() {
    let folder = Folder::new();
    let manifest = segmentation("", "")
        .replace("activation = \"softmax\"", "activation = \"softmax\"\ntest_time_flips = [\"x\", \"z\"]");
    let found = findings(&folder.model("threshold.onnx", &manifest), corner_lesion());
    assert_eq!(found.findings.segments[0].measures.unwrap().voxels, 7 * 5 * 8);
}

#[test]
fn a_cancelled_run_ends_before_its_next_window() {
    let folder = Folder::new();
    let model = folder.model("threshold.onnx", &segmentation("", ""));
    let asked = AtomicUsize::new(0);
    let control = Control {
        progress: &|_| {},
        cancelled: &|| asked.fetch_add(1, Ordering::SeqCst) == 3,
        urgency: Urgency::Background,
    };
    let error = model.segment(vec![volume(corner_lesion())], &control).unwrap_err();
    assert!(matches!(error, InferenceError::Cancelled(Cancelled)));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[test]
fn progress_grows_to_the_end() {
    let folder = Folder::new();
    let model = folder.model("threshold.onnx", &segmentation("", "skip_empty = true"));
    let told = Mutex::new(Vec::new());
    let control = Control {
        progress: &|part| told.lock().unwrap().push(part),
        cancelled: &|| false,
        urgency: Urgency::Interactive,
    };
    model.segment(vec![volume(corner_lesion())], &control).unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
}

fn reason(manifest: &str, volumes: Vec<Deidentified<imaging::Volume>>, graph: &str) -> String {
    let folder = Folder::new();
    match folder.model(graph, manifest).segment(volumes, &Control::unattended()).unwrap() {
        Outcome::NotAnalysed { reason } => reason,
        Outcome::Findings(_) => panic!("it was analysed"),
    }
}

#[test]
fn what_the_package_does_not_declare_is_not_analysed() {
    let fit = |line: &str| format!("{}\n[fitness]\n{line}\n", segmentation("", ""));
    let check = |line: &str, expected: &str| {
        assert_eq!(reason(&fit(line), vec![volume(corner_lesion())], "threshold.onnx"), expected);
    };
    check("coverage_mm = { min = 80 }", "the coverage is 40.00 mm, the model is made for at least 80 mm");
    check(
        "slice_spacing_mm = { min = 2, max = 6 }",
        "the slice spacing is 1.00 mm, the model is made for 2 to 6 mm",
    );
    check(
        "in_plane_mm = { min = 100 }",
        "the field of view is 40.00 mm, the model is made for at least 100 mm",
    );
    check("orientation = [\"sagittal\"]", "the slices are axial, the model is made for sagittal");
    check("intensity = { min = 0.5 }", "the values go from 0.0 to 0.0, the model is made for at least 0.5");
}

fn two_series() -> String {
    segmentation("", "").replace("name = \"T1\"\n", "name = \"T1\"\n[[input.channel]]\nname = \"FLAIR\"\n")
}

#[test]
fn a_second_series_is_registered_through_the_patient() {
    // The same ball, sagittal: its columns go to P, its rows to I, its slices to R.
    let axial = volume(Array3::from_elem((40, 40, 40), 0.5));
    let affine = [[0.0, 0.0, -1.0, 39.0], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 39.0], [0.0, 0.0, 0.0, 1.0]];
    let sagittal_grid = Grid::from_affine([40, 40, 40], affine);
    let bright = |slice: usize, row: usize, column: usize| {
        let [x, y, z] = sagittal_grid.point([column as f64, row as f64, slice as f64]);
        if (5.0..12.0).contains(&x) && (20.0..30.0).contains(&y) && (8.0..11.0).contains(&z) {
            1.0
        } else {
            0.0
        }
    };
    let voxels = Array3::from_shape_fn((40, 40, 40), |(slice, row, column)| bright(slice, row, column));
    let sagittal = volume_on(sagittal_grid.clone(), voxels);
    let folder = Folder::new();
    let model = folder.model("two_series.onnx", &two_series());
    let Outcome::Findings(found) = model.segment(vec![axial, sagittal], &Control::unattended()).unwrap()
    else {
        panic!("analysed")
    };
    let bounds = found.findings.segments[0].measures.unwrap().bounding_box;
    assert_eq!((bounds.first, bounds.last), ([5, 20, 8], [11, 29, 10]));
}

#[test]
fn the_wrong_number_of_series_is_an_error() {
    let folder = Folder::new();
    let model = folder.model("two_series.onnx", &two_series());
    let error = model.segment(vec![volume(corner_lesion())], &Control::unattended()).unwrap_err();
    assert_eq!(error.to_string(), "the model takes 2 series, 1 were given");
}

#[test]
fn a_slice_model_sees_every_slice() {
    let folder = Folder::new();
    let manifest = segmentation("", "")
        .replace("dimensions = 3", "dimensions = 2")
        .replace("[window]\nroi = [16, 16, 16]\n", "");
    let found = findings(&folder.model("slices.onnx", &manifest), corner_lesion());
    assert_eq!(found.findings.segments[0].measures.unwrap().voxels, 7 * 5 * 8);
    assert_eq!(found.findings.windows_run, 40);
}

#[test]
fn probabilities_are_kept_where_the_results_need_them_and_change_no_label() {
    let sigmoid = |value: f32| 1.0 / (1.0 + (-value).exp());
    for (input, skipped) in [("", 0.0), ("spacing_mm = [1.0, 1.0, 1.1]", 0.0)] {
        let manifest = segmentation(input, "skip_empty = true");
        let (plain, fractional) = (Folder::new(), Folder::new());
        let plain = findings(&plain.model("threshold.onnx", &manifest), corner_lesion());
        let manifest = format!("{manifest}[writes]\nseg = \"fractional\"\n");
        let found = findings(&fractional.model("threshold.onnx", &manifest), corner_lesion());
        assert_eq!(plain.labels.labels, found.labels.labels);
        assert!(plain.probabilities.is_none());
        let probabilities = found.probabilities.unwrap();
        assert_eq!((probabilities.len(), probabilities[0].dim()), (1, (40, 40, 40)));
        // The graph gives 0.5 - x and x - 0.5; softmax of those is the sigmoid of 2x - 1.
        let inside = probabilities[0][[5, 5, 6]];
        assert!((inside - sigmoid(1.0)).abs() < 1e-6, "{inside}");
        let beside = probabilities[0][[5, 12, 6]];
        assert!((beside - sigmoid(-1.0)).abs() < 1e-6, "{beside}");
        assert_eq!(probabilities[0][[35, 35, 35]], skipped, "no window was run there");
        let likely = probabilities[0].mapv(|value| u8::from(value > 0.5));
        assert_eq!(likely, found.labels.labels);
    }
}

#[test]
fn a_spacing_beyond_reason_is_not_analysed_and_takes_no_memory() {
    let affine = [[1e7, 0.0, 0.0, 0.0], [0.0, 1e7, 0.0, 0.0], [0.0, 0.0, 1e7, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let huge = volume_on(Grid::from_affine([20, 20, 20], affine), Array3::zeros((20, 20, 20)));
    let reason = reason(&segmentation("spacing_mm = [1.0, 1.0, 1.0]", ""), vec![huge], "threshold.onnx");
    assert!(reason.ends_with("of the model's, at most 1073741824 are computed"), "{reason}");
}
