use std::collections::HashSet;

use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject, open_file};

use super::*;

fn small(orientation: Orientation) -> PhantomStudy {
    PhantomStudy {
        orientation,
        slices: 20,
        matrix: 32,
        pixel_spacing_mm: 8.0,
        slice_spacing_mm: 9.0,
        ..Default::default()
    }
}

fn numbers(object: &FileDicomObject<InMemDicomObject>, tag: dicom_core::Tag) -> Vec<f64> {
    object.element(tag).expect("present").to_multi_float64().expect("decimal strings")
}

#[test]
fn same_options_give_the_same_bytes_and_others_give_other_uids() {
    let (first, second, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = small(Orientation::Axial);
    let one = write_study(&options, first.path()).unwrap();
    let two = write_study(&options, second.path()).unwrap();
    for (left, right) in one.files.iter().zip(&two.files) {
        assert_eq!(std::fs::read(left).unwrap(), std::fs::read(right).unwrap());
    }
    let three = write_study(&PhantomStudy { seed: 2, ..options }, other.path()).unwrap();
    assert_ne!((one.study, one.series), (three.study, three.series));
}

#[test]
fn slices_are_equally_spaced_along_the_normal_in_every_orientation() {
    for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique]
    {
        let dir = tempfile::tempdir().unwrap();
        let study = write_study(&small(orientation), dir.path()).unwrap();
        let mut instances = HashSet::new();
        let mut last: Option<Vec<f64>> = None;
        for file in &study.files {
            let object = open_file(file).unwrap();
            instances.insert(object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned());
            let cosines = numbers(&object, tags::IMAGE_ORIENTATION_PATIENT);
            let across: f64 = (0..3).map(|axis| cosines[axis] * cosines[axis + 3]).sum();
            assert!(across.abs() < 1e-5, "{orientation:?}: row and column are not perpendicular");
            let position = numbers(&object, tags::IMAGE_POSITION_PATIENT);
            if let Some(last) = last {
                let step: f64 = (0..3).map(|axis| (position[axis] - last[axis]).powi(2)).sum::<f64>().sqrt();
                assert!((step - 9.0).abs() < 1e-4, "{orientation:?}: step {step}");
            }
            last = Some(position);
        }
        assert_eq!(instances.len(), 20, "{orientation:?}: SOP Instance UIDs repeat");
    }
}

#[test]
fn truth_does_not_depend_on_how_the_head_is_cut() {
    let (axial, oblique) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = write_study(&small(Orientation::Axial), axial.path()).unwrap();
    let two = write_study(&small(Orientation::Oblique), oblique.path()).unwrap();
    assert_eq!(one.lesions, two.lesions);
    assert!(
        one.lesions.iter().all(|lesion| lesion.core_ml > 3.0 && lesion.oedema_ml > 1.0),
        "{:?}",
        one.lesions
    );
}

#[test]
fn bright_core_is_seen_where_the_truth_says_it_is() {
    let seed = (1..20)
        .find(|&seed| head::Head::draw(seed).known_lesions()[0].kind == LesionKind::Enhancing)
        .expect("one of twenty seeds has an enhancing lesion");
    let dir = tempfile::tempdir().unwrap();
    let options = PhantomStudy {
        seed,
        orientation: Orientation::Coronal,
        slices: 60,
        matrix: 64,
        pixel_spacing_mm: 4.0,
        slice_spacing_mm: 3.0,
        ..Default::default()
    };
    let study = write_study(&options, dir.path()).unwrap();
    let centre = study.lesions[0].core_centre_lps;
    let nearest = study
        .files
        .iter()
        .map(|file| open_file(file).unwrap())
        .min_by(|left, right| {
            let off = |object| (numbers(object, tags::IMAGE_POSITION_PATIENT)[1] - centre[1]).abs();
            off(left).total_cmp(&off(right))
        })
        .unwrap();
    let position = numbers(&nearest, tags::IMAGE_POSITION_PATIENT);
    let column = ((centre[0] - position[0]) / 4.0).round() as usize;
    let row = ((position[2] - centre[2]) / 4.0).round() as usize;
    let pixels = nearest.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
    let mean = pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64;
    assert!(f64::from(pixels[row * 64 + column]) > 2.0 * mean);
}

#[test]
fn korean_name_is_written_in_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    let options = PhantomStudy { name: PatientName::Korean, ..small(Orientation::Sagittal) };
    let study = write_study(&options, dir.path()).unwrap();
    let object = open_file(&study.files[0]).unwrap();
    assert_eq!(object.element(tags::SPECIFIC_CHARACTER_SET).unwrap().to_str().unwrap(), "ISO_IR 192");
    assert!(object.element(tags::PATIENT_NAME).unwrap().to_str().unwrap().contains("데모^팬텀"));
}

#[test]
fn option_out_of_range_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("study");
    let error = write_study(&PhantomStudy { slices: 0, ..Default::default() }, &target).unwrap_err();
    assert_eq!(error.to_string(), "a phantom study has slices of 0; expected 1 to 512");
    assert!(!target.exists());
}
