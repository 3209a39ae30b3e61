//! One study goes in, a SEG and an SR come out, in a real PACS, once.

use std::{process::Command, time::Duration};

use peers::{Http, Orthanc, dcmtk, python, wait_until};
use serde_json::{Value, json};

use crate::{service::Site, study::Study};

const COMPUTED: Duration = Duration::from_secs(180);

pub(crate) fn destination(orthanc: &Orthanc) -> String {
    format!("[[destination]]\nkind = 'orthanc'\nname = 'pacs'\nurl = '{}'\n", orthanc.url())
}

/// The study's results once every delivery of theirs is proved.
#[track_caller]
pub(crate) fn delivered_results(api: &Http, study_uid: &str) -> Vec<Value> {
    wait_until("the results to be delivered", COMPUTED, || {
        let jobs = items(api, &format!("/v1/jobs?study={study_uid}"));
        if let Some(dead) = jobs.iter().find(|job| job["state"] == "dead") {
            panic!("the job died: {dead}");
        }
        let deliveries = items(api, &format!("/v1/deliveries?study={study_uid}"));
        let all_there =
            !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery["state"] == "proved");
        all_there.then_some(())
    });
    items(api, &format!("/v1/results?study={study_uid}"))
}

#[track_caller]
pub(crate) fn items(api: &Http, path: &str) -> Vec<Value> {
    let page = api.get(path).json();
    page["items"].as_array().cloned().unwrap_or_else(|| panic!("{path} has no items: {page}"))
}

/// Orthanc's ids of the study's instances of one modality.
#[track_caller]
pub(crate) fn instances_of(orthanc: &Orthanc, study_uid: &str, modality: &str) -> Vec<String> {
    let found = orthanc.post(
        "/tools/find",
        &json!({ "Level": "Instance", "Query": { "StudyInstanceUID": study_uid, "Modality": modality } }),
    );
    let ids = found.as_array().expect("a list").iter();
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

#[test]
fn a_study_sent_by_dcmsend_comes_back_as_seg_and_sr_once() {
    let orthanc = Orthanc::start();
    let site = Site::new(&destination(&orthanc));
    let service = site.serve();
    let study = Study::small(1);

    // The PACS has the images too, as it would.
    study.dcmsend(orthanc.dicom_port());
    study.dcmsend(site.dicom_port());

    let results = delivered_results(&service.api, &study.study_uid);
    assert_eq!(results.len(), 1, "{results:?}");
    let seg = instances_of(&orthanc, &study.study_uid, "SEG");
    let sr = instances_of(&orthanc, &study.study_uid, "SR");
    assert_eq!((seg.len(), sr.len()), (1, 1));
    a_segmentation_that_highdicom_reads(&orthanc, &seg[0], &study);
    a_report_that_dsrdump_prints(&orthanc, &sr[0]);

    study.dcmsend(site.dicom_port());
    wait_until("the second arrival to be looked at", Duration::from_secs(30), || {
        let study = service.api.get(&format!("/v1/studies/{}", study.study_uid)).json();
        (study["looked_at"] == true).then_some(())
    });
    assert_eq!(items(&service.api, &format!("/v1/jobs?study={}", study.study_uid)).len(), 1);
    assert_eq!(instances_of(&orthanc, &study.study_uid, "SEG"), seg);
    assert_eq!(instances_of(&orthanc, &study.study_uid, "SR"), sr);
}

/// highdicom opens it, finds every frame's source image among the study's, and a core where it is.
#[track_caller]
fn a_segmentation_that_highdicom_reads(orthanc: &Orthanc, id: &str, study: &Study) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("seg.dcm");
    std::fs::write(&file, orthanc.get_bytes(&format!("/instances/{id}/file"))).expect("a file in our folder");
    let script = peers::workspace().join("tests/e2e/read_seg.py");
    let output =
        Command::new(python()).arg(script).arg(&file).arg(study.path()).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(read["study_uid"], study.study_uid.as_str());
    assert_eq!(read["frames_without_source"], 0, "{read}");
    let core = read["segments"].as_array().and_then(|segments| segments.first()).expect("a segment").clone();
    assert_near_a_lesion(&core["centroid_lps_mm"], study);
}

#[track_caller]
fn assert_near_a_lesion(centroid: &Value, study: &Study) {
    let point = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a point").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    let found = point(centroid);
    let lesions = study.truth["lesions"].as_array().expect("the truth has lesions");
    let nearest = lesions.iter().map(|lesion| {
        let truth = point(&lesion["core_centre_lps_mm"]);
        found.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    });
    let nearest = nearest.fold(f64::INFINITY, f64::min);
    assert!(nearest < 15.0, "the core at {found:?} is {nearest:.0} mm from every lesion of {lesions:?}");
}

#[track_caller]
fn a_report_that_dsrdump_prints(orthanc: &Orthanc, id: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sr.dcm");
    std::fs::write(&file, orthanc.get_bytes(&format!("/instances/{id}/file"))).expect("a file in our folder");
    let output = Command::new(dcmtk("dsrdump")).arg(&file).output().expect("dsrdump runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["Imaging Measurement Report", "Measurement Group", "Volume"] {
        assert!(text.contains(expected), "without {expected}:\n{text}");
    }
}
