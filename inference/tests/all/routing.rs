//! The first condition of `[applies_to]` that fails, with the value seen.

use std::path::Path;

use imaging::Plane;
use inference::{Package, SeriesFacts};

use crate::fixture::segmentation;

fn facts() -> SeriesFacts {
    SeriesFacts {
        modality: "MR".into(),
        body_part: "Brain".into(),
        study_description: String::new(),
        series_description: "T1 MPRAGE post GD".into(),
        protocol_name: String::new(),
        manufacturer: "Siemens Healthineers".into(),
        contrast_agent: String::new(),
        age_years: Some(44.0),
        slice_thickness_mm: None,
        plane: Plane::Axial,
        slices: 160,
        calling_ae: "MR1".into(),
    }
}

#[track_caller]
fn check(condition: &str, expected: Option<&str>) {
    let manifest = segmentation("", "")
        .replace("modality = [\"MR\"]", &format!("modality = [\"MR\", \"CT\"]\n{condition}"));
    let package = Package::parse(Path::new("tiny"), &manifest.replace("SHA256", &"0".repeat(64))).unwrap();
    let mismatch = package.applies_to.unwrap().mismatch(&facts());
    assert_eq!(mismatch.map(|mismatch| mismatch.to_string()).as_deref(), expected);
}

#[test]
fn a_condition_that_holds_says_nothing() {
    check("", None);
    check("body_part = [\"BRAIN\", \"\"]", None);
    check("series_description = \"(?i)t1.*gd\"\nseries_description_not = \"(?i)scout\"", None);
    check("manufacturer = [\"siemens\"]\norientation = [\"axial\"]\nslices = { min = 20, max = 160 }", None);
    check(
        "study_description = \"^$\"\ncontrast = \"absent\"\nage_years = { min = 18 }\ncalling_ae = [\"MR1\"]",
        None,
    );
}

#[test]
fn the_first_condition_that_fails_is_named_with_what_was_seen() {
    check("body_part = [\"CHEST\", \"\"]", Some("body_part is \"Brain\": expected \"CHEST\" or not stated"));
    check(
        "slices = { max = 50 }\nbody_part = [\"CHEST\"]",
        Some("body_part is \"Brain\": expected \"CHEST\""),
    );
    check(
        "series_description_not = \"MPRAGE\"",
        Some("series_description_not is \"T1 MPRAGE post GD\": expected no match of /MPRAGE/"),
    );
    check("protocol_name = \"brain\"", Some("protocol_name is not stated: expected a match of /brain/"));
    check("contrast = \"required\"", Some("contrast is not stated: expected a contrast agent"));
    check(
        "orientation = [\"coronal\", \"sagittal\"]",
        Some("orientation is axial: expected coronal or sagittal"),
    );
    check("slices = { max = 50 }", Some("slices is 160: expected at most 50"));
    check("slice_thickness_mm = { max = 3 }", Some("slice_thickness_mm is not stated: expected at most 3"));
    check("age_years = { min = 65 }", Some("age_years is 44: expected at least 65"));
    check("calling_ae = [\"CT1\"]", Some("calling_ae is \"MR1\": expected \"CT1\""));
}
