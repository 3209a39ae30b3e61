//! What a radiologist sees: a real OHIF in Chromium, on what lies in a real Orthanc.

use std::{collections::BTreeMap, process::Command};

use peers::{Orthanc, program, python, workspace};
use serde_json::Value;

use crate::{
    delivery::{delivered_results, destination, instances_of},
    service::Site,
    study::Study,
};

/// Voxels for each image, as `instance#frame`.
type OnImages = BTreeMap<String, u64>;

#[test]
fn ohif_shows_the_overlay_where_the_model_put_it_and_the_report_beside_it() {
    let seen = seen("");
    let report = &seen["report"];
    assert_eq!(report["stopped"], false, "the viewer stopped on the report");
    let measurements = report["measurements"].as_array().expect("measurements");
    assert!(!measurements.is_empty() && measurements.iter().all(|one| one["drawn"] == true), "{report}");
    assert!(report.to_string().contains("Volume"), "{report}");
}

/// Colours and labels go by position there: a background among the segments would shift them.
#[test]
fn ohif_shows_a_label_map_in_the_same_colours_and_places() {
    seen("[destination.form]\nseg = 'labelmap'\n");
}

/// What the viewer shows of one study, once it was seen to be what was written in that form.
#[track_caller]
fn seen(form: &str) -> Value {
    let orthanc = Orthanc::start();
    let site = Site::new(&format!("{}{form}", destination(&orthanc)));
    let service = site.serve();
    let study = Study::small(1);
    study.dcmsend(orthanc.dicom_port());
    study.dcmsend(site.dicom_port());
    let results = delivered_results(&service.api, &study.study_uid);
    let id = results[0]["id"].as_str().expect("a result has an id");
    let found = service.api.get(&format!("/v1/results/{id}")).json();

    let pictures = tempfile::tempdir().expect("a temporary folder");
    let series = |role: &str| {
        let artifacts = found["artifacts"].as_array().expect("a result has artifacts");
        let artifact = artifacts.iter().find(|artifact| artifact["role"] == role).expect(role);
        artifact["series_uid"].as_str().expect("an artifact has a series").to_owned()
    };
    let seen = look(&orthanc, &study, &series("seg"), &series("sr"), pictures.path());

    let written = written(&orthanc, &study);
    let segments = seen["segments"].as_array().expect("the viewer lists segments");
    assert_eq!(segments.len(), written.len(), "{seen}");
    for segment in segments {
        let label = segment["label"].as_str().expect("a segment has a label");
        let shown: OnImages = serde_json::from_value(segment["voxels_on_images"].clone()).expect("counts");
        let (color, expected) = written.get(label).unwrap_or_else(|| panic!("{label} was not written"));
        assert_eq!(&shown, expected, "{label}: voxels of each slice");
        let shown_color: Vec<i64> =
            segment["color"].as_array().expect("a colour").iter().filter_map(Value::as_i64).collect();
        for (channel, expected) in shown_color.iter().zip(color) {
            assert!((channel - expected).abs() <= 3, "{label} is {shown_color:?}, not {color:?}");
        }
        let pixels = |key: &str| segment[key].as_u64().expect("a count");
        assert!(pixels("coloured_pixels_shown") > 50, "{label} is not drawn: {seen}");
        assert_eq!(pixels("coloured_pixels_hidden"), 0, "{label} stays when hidden: {seen}");
        let listed = seen["labels"].as_array().expect("rows");
        assert!(
            listed.iter().any(|row| row.as_str().is_some_and(|row| row.contains(label))),
            "{label} is not listed"
        );
    }
    seen
}

fn look(orthanc: &Orthanc, study: &Study, seg: &str, sr: &str, pictures: &std::path::Path) -> Value {
    let node = program("node", &[], "nodejs npm");
    let mut command = Command::new(node);
    command.arg(workspace().join("tests/viewer/look.mjs"));
    command.args([
        "--orthanc",
        &orthanc.url(),
        "--study",
        &study.study_uid,
        "--seg",
        seg,
        "--sr",
        sr,
        "--pictures",
    ]);
    let output = command.arg(pictures).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the eyes print JSON")
}

/// What highdicom reads of the SEG: for each label its colour and its voxels on each source image.
fn written(orthanc: &Orthanc, study: &Study) -> BTreeMap<String, (Vec<i64>, OnImages)> {
    let ids = instances_of(orthanc, &study.study_uid, "SEG");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("seg.dcm");
    std::fs::write(&file, orthanc.get_bytes(&format!("/instances/{}/file", ids[0])))
        .expect("a file in our folder");
    let script = workspace().join("tests/e2e/read_seg.py");
    let output =
        Command::new(python()).arg(script).arg(&file).arg(study.path()).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let segments = read["segments"].as_array().expect("segments");
    let entry = |segment: &Value| {
        let label = segment["label"].as_str().expect("a label").to_owned();
        let color = segment["rgb"].as_array().expect("a colour").iter().filter_map(Value::as_i64).collect();
        let counts: OnImages = serde_json::from_value(segment["voxels_on_images"].clone()).expect("counts");
        (label, (color, counts))
    };
    segments.iter().map(entry).collect()
}
