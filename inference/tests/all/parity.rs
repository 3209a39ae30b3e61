//! The same numbers as in Python: `tests/reference/make_references.py` wrote them.

use std::collections::BTreeMap;

use inference::{Control, Outcome};
use ndarray::Axis;

use crate::fixture::{Folder, HEAD, reference, reference_volume, segmentation, volume, with_label};

fn windows(overlap: &str, input: &str, expected: &str) {
    let folder = Folder::new();
    let manifest = with_label(&segmentation("", &format!("overlap = {overlap}")), 2);
    let model = folder.model("conv.onnx", &manifest);
    let outcome = model.segment(vec![volume(reference_volume(input))], &Control::unattended()).unwrap();
    let Outcome::Findings(found) = outcome else { panic!("analysed") };
    let expected = reference(expected).mapv(|label| label as u8);
    let wrong = found.labels.labels.iter().zip(&expected).filter(|(one, other)| one != other).count();
    assert_eq!(found.labels.labels.shape(), expected.shape());
    assert_eq!(wrong, 0);
}

#[test]
fn sliding_windows_give_the_label_map_of_numpy() {
    windows("0.25", "windows_input.npy", "windows_25.npy");
    windows("0.5", "windows_input.npy", "windows_50.npy");
}

#[test]
fn a_volume_smaller_than_the_window_is_padded_as_monai_does() {
    windows("0.25", "small_input.npy", "small.npy");
}

fn classifier(explain: &str) -> String {
    let class = |value: usize, name: &str| {
        format!(
            "[[output.class]]\nvalue = {value}\nname = \"{name}\"\ncode = [\"{value}\", \"99TEST\", \"{name}\"]\n"
        )
    };
    let classes = [class(0, "None"), class(1, "One"), class(2, "Two")].concat();
    format!(
        "task = \"classification\"\n{HEAD}\n[applies_to]\nmodality = [\"MR\"]\n[input]\ntensor = \"input\"\ndimensions = 2\n\
         [[input.channel]]\nname = \"T1\"\n[output]\ntensor = \"scores\"\nactivation = \"softmax\"\n{classes}\n[explain]\n{explain}\n"
    )
}

fn check_cam(explain: &str) {
    let folder = Folder::new();
    let model = folder.model("classify.onnx", &classifier(explain));
    let slice = reference("slice.npy").mapv(|value| value as f32).insert_axis(Axis(0));
    let slice = slice.into_dimensionality().unwrap();
    let Outcome::Findings(found) = model.classify(vec![volume(slice)], &Control::unattended()).unwrap()
    else {
        panic!("analysed")
    };
    for (class, expected) in found.findings.classes.iter().zip(&reference("scores.npy")) {
        assert!((class.probability - expected).abs() < 1e-6, "{class:?} {expected}");
    }
    let heatmap = found.heatmap.unwrap();
    let cam = reference("cam.npy");
    assert_eq!(heatmap.values.shape(), [1, 20, 24]);
    let largest = heatmap
        .values
        .iter()
        .zip(&cam)
        .map(|(one, other)| (f64::from(*one) - other).abs())
        .fold(0.0, f64::max);
    assert!(largest <= 1e-4, "{largest}");
}

#[test]
fn grad_cam_is_that_of_numpy_from_gradients_and_from_head_weights() {
    check_cam("kind = \"grad-cam\"\nfeatures = \"features\"\ngradients = \"gradients\"");
    check_cam("kind = \"grad-cam\"\nfeatures = \"features\"\nhead_weights = \"head_weights\"");
}

pub(crate) fn table() -> String {
    format!(
        r#"task = "tabular"
{HEAD}
[tabular]
threshold = 0.5
selected = ["ratio", "age", "exposure"]
[[tabular.feature]]
name = "exposure"
[[tabular.feature]]
name = "age"
unit = "a"
range = {{ min = 0, max = 120 }}
[[tabular.derived]]
name = "ratio"
expression = "exposure / (age + 1e-6)"
[input]
tensor = "selected"
[output]
tensor = "probability"
"#
    )
}

#[test]
fn tabular_probabilities_are_bit_for_bit_those_of_numpy() {
    let folder = Folder::new();
    let model = folder.model("forest.onnx", &table());
    let rows = reference("rows.npy");
    let row = |row: ndarray::ArrayViewD<'_, f64>| {
        BTreeMap::from([("exposure".into(), row[0]), ("age".into(), row[1])])
    };
    let answers = model.predict(&rows.outer_iter().map(row).collect::<Vec<_>>()).unwrap();
    assert_eq!(answers.len(), 200);
    for (answer, expected) in answers.iter().zip(&reference("probabilities.npy")) {
        let Outcome::Findings(answer) = answer else { panic!("analysed") };
        assert_eq!(answer.probability.to_bits(), expected.to_bits());
        assert_eq!(answer.label, u8::from(*expected >= 0.5));
    }
}

#[test]
fn unknown_columns_are_ignored_and_odd_values_are_named() {
    let folder = Folder::new();
    let model = folder.model("forest.onnx", &table());
    let row =
        BTreeMap::from([("exposure".to_owned(), 20.0), ("age".to_owned(), 165.0), ("other".to_owned(), 1.0)]);
    let answers = model.predict(&[row]).unwrap();
    let [Outcome::Findings(answer)] = answers.as_slice() else { panic!("analysed") };
    assert_eq!(answer.warnings, ["age is 165 a, the model is made for 0 to 120"]);
    let row = BTreeMap::from([("age".to_owned(), 65.0)]);
    let answers = model.predict(&[row]).unwrap();
    let [Outcome::Findings(answer)] = answers.as_slice() else { panic!("analysed") };
    assert_eq!(answer.warnings, ["exposure is missing"]);

    let manifest = table().replace("unit = \"a\"", "missing = \"refuse\"");
    let refusing = Folder::new();
    let model = refusing.model("forest.onnx", &manifest);
    let answers = model.predict(&[BTreeMap::new()]).unwrap();
    assert_eq!(answers, [Outcome::NotAnalysed { reason: "age is missing".into() }]);
}
