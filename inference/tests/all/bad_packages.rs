//! Bad packages: each has its own sentence, and the line that it names is the one at fault.

use std::{fs, path::Path};

use inference::{Device, Model, Package};

use crate::{
    fixture::{Folder, HEAD, runtime, segmentation, threads},
    parity::table,
};

/// Replaces `old` by `new` in a good manifest and expects `sentence`, at the line that holds `at`.
#[track_caller]
fn refuse_in(manifest: &str, old: &str, new: &str, at: &str, sentence: &str) {
    assert!(manifest.contains(old), "the good manifest has no {old:?}");
    let text = manifest.replacen(old, new, 1).replace("SHA256", &"0".repeat(64));
    let error = Package::parse(Path::new("tiny"), &text).expect_err(sentence);
    assert_eq!(error.problem, sentence);
    let line = error.line.expect("a line is named");
    let found = text.lines().nth(line - 1).unwrap_or_default();
    assert!(found.contains(at), "line {line} is {found:?}, not the one with {at:?}");
    assert_eq!(error.to_string(), format!("tiny/model.toml:{line}: {sentence}"));
}

#[track_caller]
fn refuse(old: &str, new: &str, at: &str, sentence: &str) {
    refuse_in(&segmentation("", "overlap = 0.25"), old, new, at, sentence);
}

#[test]
fn the_head_of_a_package_is_checked() {
    refuse("format = 1", "format = 2", "format", "`format` is 2: expected 1");
    refuse("format = 1", "", "", "`format` is missing: expected format = 1");
    refuse(
        "id = \"tiny\"",
        "id = \"Tiny Model\"",
        "Tiny Model",
        "`id` is \"Tiny Model\": expected 1 to 40 lower case letters, digits and '-'",
    );
    refuse(
        "id = \"tiny\"",
        "id = \"small\"",
        "small",
        "`id` is \"small\" but the folder is \"tiny\": expected the same name",
    );
    refuse("\"1.0.0\"", "\"1.0\"", "1.0", "`version` is \"1.0\": expected three numbers such as \"1.0.0\"");
    refuse("name = \"Tiny\"", "name = 7", "name", "`name` is a number: expected a text in quotes");
    refuse(
        "intended_use = \"for tests\"",
        "intended_use = \" \"",
        "intended_use",
        "`intended_use` is empty: expected \"demonstration\", or a sentence",
    );
    refuse(
        "intended_use = \"for tests\"",
        "intended_use = \"x\"\naliases = [\"a\", \"a\"]",
        "aliases",
        "the alias \"a\" is there twice",
    );
    refuse(
        "task = \"segmentation\"",
        "task = \"detection\"",
        "detection",
        "`task` is \"detection\": expected one of \"segmentation\", \"classification\", \"tabular\", \"fusion\"",
    );
    refuse(
        "task = \"segmentation\"",
        "task = \"segmentation\"\nlicence = \"MIT\"",
        "licence",
        "unknown key `licence`: expected one of aliases, applies_to, description, fitness, format, id, input, intended_use, name, output, retrain, selftest, task, version, weights, window, writes",
    );
    refuse("format = 1", "format = = 1", "format = =", "this is not TOML: extra `=`, expected nothing");
}

#[test]
fn weights_and_self_test_are_checked() {
    refuse("SHA256", "abc", "abc", "`weights[0].sha256` is no SHA-256: expected 64 hexadecimal digits");
    refuse(
        "sha256 = \"SHA256\"",
        "",
        "[[weights]]",
        "`weights[0].sha256` is missing: expected the 64 hexadecimal digits that sha256sum prints",
    );
    refuse(
        "file = \"model.onnx\"",
        "file = \"../model.onnx\"",
        "../model.onnx",
        "`weights[0].file` leaves the package: expected a file name inside this folder",
    );
    refuse(
        "[[weights]]",
        "[weights]",
        "[weights]",
        "`weights` is one table: expected a list of them, `[[weights]]`",
    );
    refuse(
        "tolerance = 1e-4",
        "tolerance = -1",
        "tolerance",
        "`selftest.tolerance` is -1: expected 0 or more",
    );
    refuse(
        "tolerance = 1e-4",
        "enabled = false",
        "[selftest]",
        "`selftest.tolerance` is missing: expected the largest absolute difference",
    );
}

#[test]
fn conditions_and_fitness_are_checked() {
    refuse(
        "modality = [\"MR\"]",
        "",
        "[applies_to]",
        "`applies_to.modality` is missing: expected a list such as [\"MR\"]",
    );
    refuse(
        "modality = [\"MR\"]",
        "modality = []",
        "modality",
        "`applies_to.modality` is an empty list: it would never hold",
    );
    refuse(
        "modality = [\"MR\"]",
        "modality = [\"MR\"]\nseries_description = \"t1(\"",
        "t1(",
        "`applies_to.series_description` is no regular expression: error: unclosed group",
    );
    refuse(
        "modality = [\"MR\"]",
        "modality = [\"MR\"]\nslices = { min = 9, max = 3 }",
        "slices",
        "`applies_to.slices` is empty: `min` 9 is above `max` 3",
    );
    refuse(
        "modality = [\"MR\"]",
        "modality = [\"MR\"]\nage_years = {}",
        "age_years",
        "`applies_to.age_years` has no bound: expected `min`, `max` or both",
    );
    refuse(
        "modality = [\"MR\"]",
        "modality = [\"MR\"]\norientation = [\"flat\"]",
        "flat",
        "`applies_to.orientation[0]` is \"flat\": expected one of \"axial\", \"sagittal\", \"coronal\", \"oblique\", \"unplaced\"",
    );
    refuse(
        "[applies_to]",
        "[fitness]\nspacing = 1\n[applies_to]",
        "spacing",
        "unknown key `fitness.spacing`: expected one of age_years, coverage_mm, in_plane_mm, in_plane_spacing_mm, intensity, orientation, slice_spacing_mm",
    );
}

#[test]
fn the_input_is_checked() {
    refuse("dimensions = 3", "dimensions = 4", "dimensions", "`input.dimensions` is 4: expected 2 or 3");
    refuse(
        "dimensions = 3",
        "dimensions = 3\norientation = \"LPP\"",
        "LPP",
        "`input.orientation` is \"LPP\": expected \"acquired\", or three letters, one each of L/R, P/A and S/I",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 3\nspacing_mm = [1, 1]",
        "spacing_mm",
        "`input.spacing_mm` has 2 entries: expected 3, for x, y and z",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 3\nspacing_mm = [1, 0, 1]",
        "spacing_mm",
        "`input.spacing_mm[1]` is 0: expected more than 0",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 3\ncolour = true",
        "[input]",
        "`input.colour` is for `dimensions = 2` only",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 2\ncolour = true",
        "[input]",
        "with `input.colour` expected three `[[input.channel]]`, for red, green and blue; `applies_to` stands in the \
         first",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 3\nsize = [64, 64]",
        "size",
        "`input.size` is for `dimensions = 2` only",
    );
    refuse(
        "dimensions = 3",
        "dimensions = 2",
        "[window]",
        "`[window]` is for `dimensions = 3` only: slices are run whole",
    );
    refuse(
        "[[input.channel]]\nname = \"T1\"",
        "",
        "[input]",
        "`[[input.channel]]` is missing: expected one for each series that goes in",
    );
    refuse(
        "name = \"T1\"",
        "name = \"T1\"\nintensity = [{ kind = \"log\" }]",
        "log",
        "`input.channel[0].intensity[0].kind` is \"log\": expected one of \"window\", \"clip\", \"percentile-clip\", \"z-score\", \"min-max\", \"scale\"",
    );
    refuse(
        "name = \"T1\"",
        "name = \"T1\"\nintensity = [{ kind = \"window\", center = 0, width = 0 }]",
        "width",
        "`input.channel[0].intensity[0]`: `width` is 0: expected more than 0",
    );
    refuse(
        "name = \"T1\"",
        "name = \"T1\"\n[[input.channel]]\nname = \"T1\"",
        "[[input.channel]]",
        "two channels are called \"T1\"",
    );
    refuse(
        "roi = [16, 16, 16]",
        "roi = [16, 16, 0]",
        "roi",
        "`window.roi[2]` is 0: expected a whole number from 1 to 1024",
    );
    refuse("overlap = 0.25", "overlap = 1.5", "overlap", "`window.overlap` is 1.5: expected 0 to 0.9");
}

#[test]
fn the_output_is_checked() {
    let kind = "type = [\"52988006\", \"SCT\", \"Lesion\"]";
    refuse(
        kind,
        "",
        "[[output.label]]",
        "`output.label[0].type` is missing: expected a code: [\"code\", \"scheme\", \"meaning\"]",
    );
    refuse(
        kind,
        "type = [\"52988006\"]",
        "type",
        "`output.label[0].type` has 1 parts: expected [\"code\", \"scheme\", \"meaning\"]",
    );
    refuse(
        kind,
        "type = [\"52988006\", \"\", \"Lesion\"]",
        "type",
        "`output.label[0].type` has the part \"\": expected 1 to 16 characters without backslash",
    );
    refuse(
        "value = 1",
        "value = 0",
        "value",
        "`output.label[0].value` is 0: expected a whole number from 1 to 255",
    );
    refuse(
        "value = 1",
        "value = 1\ncolor = \"red\"",
        "red",
        "`output.label[0].color` is \"red\": expected \"#rrggbb\"",
    );
    refuse(
        "activation = \"softmax\"",
        "activation = \"softmax\"\nthreshold = 0.5",
        "threshold",
        "`output.threshold` needs `decision = \"threshold\"`",
    );
    refuse(
        "activation = \"softmax\"",
        "activation = \"relu\"",
        "relu",
        "`output.activation` is \"relu\": expected one of \"none\", \"softmax\", \"sigmoid\"",
    );
    refuse(
        "[applies_to]",
        "[writes]\nheatmap = true\n[applies_to]",
        "heatmap",
        "`writes.heatmap` needs a classification with `[explain]`",
    );
    refuse(
        "[applies_to]",
        "[writes]\npolicy = \"send\"\n[applies_to]",
        "policy",
        "`writes.policy` is \"send\": expected one of \"hold-for-review\", \"write\", \"shadow\"",
    );
}

#[test]
fn tables_and_fusions_are_checked() {
    let refuse = |old: &str, new: &str, at: &str, sentence: &str| refuse_in(&table(), old, new, at, sentence);
    refuse(
        "exposure / (age + 1e-6)",
        "exposure / (years + 1e-6)",
        "years",
        "`tabular.derived[0].expression` is no formula: at character 13: nothing is called \"years\"",
    );
    refuse(
        "exposure / (age + 1e-6)",
        "exposure / (age",
        "expression",
        "`tabular.derived[0].expression` is no formula: it ends before a parenthesis is closed",
    );
    refuse(
        "\"age\", \"exposure\"]",
        "\"weight\"]",
        "weight",
        "`tabular.selected[1]` is \"weight\": no feature and no derived one has this name",
    );
    refuse("name = \"ratio\"", "name = \"age\"", "[[tabular.derived]]", "two features are called \"age\"");
    refuse("threshold = 0.5", "threshold = 29", "threshold", "`tabular.threshold` is 29: expected 0 to 1");
    refuse(
        "unit = \"a\"",
        "missing = \"mean\"",
        "missing",
        "`tabular.feature[1].missing` is \"mean\": expected one of \"nan\", \"refuse\"",
    );

    let fusion = format!(
        "task = \"fusion\"\n{HEAD}\n[[fusion.feature]]\nname = \"risk\"\nmodel = \"other\"\nmeasure = \"probability\"\n\
         [tabular]\n[input]\ntensor = \"x\"\n[output]\ntensor = \"y\"\n"
    );
    let refuse = |old: &str, new: &str, at: &str, sentence: &str| refuse_in(&fusion, old, new, at, sentence);
    refuse(
        "model = \"other\"",
        "model = \"tiny\"",
        "",
        "`fusion.feature` \"risk\" takes the model's own findings: a circle",
    );
    refuse(
        "measure = \"probability\"",
        "measure = \"volume_ml\"",
        "measure",
        "`fusion.feature[0].measure` does not fit: segments are measured, classes and rows have a probability",
    );
}

#[test]
fn files_that_are_missing_or_changed_are_named() {
    let folder = Folder::new();
    let dir = folder.write("tiny", "threshold.onnx", &segmentation("", ""));
    let shown = dir.display();

    fs::write(dir.join("model.onnx"), "changed").unwrap();
    let error = Package::read(&dir).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{shown}/model.toml:")), "{error}");
    assert!(
        error.contains("model.onnx has the SHA-256 ") && error.ends_with(", not the one pinned here"),
        "{error}"
    );

    fs::remove_file(dir.join("model.onnx")).unwrap();
    let error = Package::read(&dir).unwrap_err().to_string();
    assert_eq!(error, format!("{shown}/model.onnx: there is no such file: `weights.file` names it"));

    fs::remove_file(dir.join("model.toml")).unwrap();
    let error = Package::read(&dir).unwrap_err().to_string();
    assert_eq!(error, format!("{shown}/model.toml: there is no such file: a model package needs it"));

    fs::write(dir.join("model.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(
        Package::read(&dir).unwrap_err().to_string(),
        format!("{shown}/model.toml: this is not UTF-8 text")
    );
}

#[track_caller]
fn does_not_fit(graph: &str, manifest: &str, problem: &str) {
    let folder = Folder::new();
    let dir = folder.write("tiny", graph, manifest);
    let package = Package::read(&dir).unwrap_or_else(|error| panic!("{error}"));
    let error = Model::open(&runtime(), package, Device::Cpu, threads()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} does not fit model.toml: {problem}", dir.join("model.onnx").display())
    );
}

#[test]
fn a_graph_that_does_not_fit_its_description_is_refused() {
    let plain = segmentation("", "");
    let change = |old: &str, new: &str| plain.replace(old, new);
    does_not_fit(
        "threshold.onnx",
        &change("tensor = \"input\"", "tensor = \"image\""),
        "it has no input \"image\": its inputs are \"input\"",
    );
    does_not_fit(
        "threshold.onnx",
        &change("tensor = \"logits\"", "tensor = \"mask\""),
        "it has no output \"mask\": its outputs are \"logits\"",
    );
    does_not_fit("slices.onnx", &plain, "\"input\" is 1×1×?×?, 4 axes: expected 5");
    does_not_fit(
        "two_series.onnx",
        &plain,
        "the input \"input\" is 1×2×?×?×?: the description gives 1 channels",
    );
    does_not_fit(
        "threshold.onnx",
        &change("value = 1", "value = 5"),
        "the output \"logits\" is 1×2×?×?×?: the labels need 6 channels",
    );
    does_not_fit(
        "conv.onnx",
        &change("roi = [16, 16, 16]", "roi = [16, 16, 32]"),
        "the input \"input\" is 1×1×16×16×16: the description gives 32 voxels along this axis of `window.roi`",
    );
    let columns = table().replace("selected = [\"ratio\", \"age\", \"exposure\"]", "selected = [\"age\"]");
    does_not_fit("forest.onnx", &columns, "the input \"selected\" has 3 columns: 1 features are selected");
}

#[test]
fn what_is_no_graph_is_refused() {
    let folder = Folder::new();
    let dir = folder.write("tiny", "make_models.py", &segmentation("", ""));
    let error = Model::open(&runtime(), Package::read(&dir).unwrap(), Device::Cpu, threads()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} is no ONNX graph that ONNX Runtime can run", dir.join("model.onnx").display())
    );
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let folder = Folder::new();
    let dir = folder.write("tiny", "threshold.onnx", &segmentation("", ""));
    let error =
        Model::open(&runtime(), Package::read(&dir).unwrap(), Device::Cuda(0), threads()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the device cuda:0 cannot be used: this ONNX Runtime has no provider for it, or its driver is missing"
    );
}

#[test]
fn a_package_without_its_self_test_says_how_to_make_one() {
    let folder = Folder::new();
    let dir = folder.write("tiny", "threshold.onnx", &segmentation("", ""));
    let error = crate::fixture::open(&dir).self_test().unwrap_err().to_string();
    let file = dir.join("selftest/input.npy");
    assert_eq!(
        error,
        format!(
            "{} is missing: the self-test needs it (`overread model check --record` can write it)",
            file.display()
        )
    );
}
