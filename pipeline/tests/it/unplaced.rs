//! Images that do not say where in the patient they lie: radiographs, photographs.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, InMemDicomObject};
use inference::{Control, Model};
use ledger::JobState::Done;
use pipeline::{ReadOnce, ReadOnceError, Reading, read_once};
use time::macros::datetime;
use uuid::Uuid;

use crate::{
    phantom::Phantom,
    world::{World, registry, variant},
};

const SIDE: u16 = 32;

/// Slice `number` of a phantom as an image without a place.
fn unplaced(
    phantom: &Phantom,
    number: u32,
    modality: &str,
    change: impl FnOnce(&mut FileDicomObject<InMemDicomObject>),
) -> Vec<u8> {
    let mut object = dicom_object::from_reader(phantom.file(number).as_slice()).unwrap();
    for tag in [
        tags::IMAGE_POSITION_PATIENT,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::FRAME_OF_REFERENCE_UID,
        tags::PIXEL_SPACING,
        tags::SLICE_THICKNESS,
    ] {
        object.remove_element(tag);
    }
    object.put(DataElement::new(tags::MODALITY, VR::CS, modality));
    let class = match modality {
        "XC" => uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE,
        _ => uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    };
    object.put(DataElement::new(tags::SOP_CLASS_UID, VR::UI, class));
    object.meta_mut().media_storage_sop_class_uid = class.to_owned();
    change(&mut object);
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// A radiograph of one grey value, 0 to 65535.
fn radiograph(phantom: &Phantom, number: u32, value: u16, photometric: &str) -> Vec<u8> {
    unplaced(phantom, number, "DX", |object| {
        let pixels = vec![value; usize::from(SIDE) * usize::from(SIDE)];
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric));
    })
}

/// A photograph of one colour.
fn photograph(phantom: &Phantom, colour: [u8; 3]) -> Vec<u8> {
    unplaced(phantom, 1, "XC", |object| {
        let pixels: Vec<u8> = colour.repeat(usize::from(SIDE) * usize::from(SIDE));
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
        object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"));
        object.put(DataElement::new(tags::SAMPLES_PER_PIXEL, VR::US, PrimitiveValue::from(3_u16)));
        object.put(DataElement::new(tags::PLANAR_CONFIGURATION, VR::US, PrimitiveValue::from(0_u16)));
        for (tag, bits) in [(tags::BITS_ALLOCATED, 8_u16), (tags::BITS_STORED, 8), (tags::HIGH_BIT, 7)] {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(bits)));
        }
    })
}

fn read(model: &str, folder: &Path, bytes: &[u8]) -> Result<Reading, ReadOnceError> {
    read_with(&registry().get(model).unwrap(), folder, bytes)
}

fn read_with(model: &Model, folder: &Path, bytes: &[u8]) -> Result<Reading, ReadOnceError> {
    let file: PathBuf = folder.join("one.dcm");
    std::fs::write(&file, bytes).unwrap();
    let order = ReadOnce { installation: Uuid::from_u128(7), written_at: datetime!(2026-01-02 03:04:05 UTC) };
    read_once(model, &[file], &order, &Control::unattended())
}

fn probability(findings: &serde_json::Value, class: usize) -> f64 {
    findings["classes"][class]["probability"].as_f64().unwrap_or_else(|| panic!("{findings}"))
}

#[test]
fn a_radiograph_is_classified_as_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let phantom = Phantom::new(1);
    let bright = |photometric: &str, value: u16| {
        let file = radiograph(&phantom, 1, value, photometric);
        probability(&read("shade", folder.path(), &file).unwrap().findings, 0)
    };
    assert!((bright("MONOCHROME2", 800) - 0.8).abs() < 1e-5);
    // The lowest stored value of MONOCHROME1 is the brightest.
    assert!((bright("MONOCHROME1", 65535 - 800) - 0.8).abs() < 1e-5);
}

#[test]
fn a_photograph_is_classified_by_its_colours() {
    let folder = tempfile::tempdir().unwrap();
    let file = photograph(&Phantom::new(1), [51, 204, 102]);
    let reading = read("tint", folder.path(), &file).unwrap();
    for (class, expected) in [0.2, 0.8, 0.4].into_iter().enumerate() {
        assert!((probability(&reading.findings, class) - expected).abs() < 1e-5, "{}", reading.findings);
    }
    assert_eq!(reading.objects.iter().map(|object| object.role).collect::<Vec<_>>(), ["sr"]);
}

#[test]
fn a_grey_photograph_gets_no_answer_from_a_model_of_colours() {
    let folder = tempfile::tempdir().unwrap();
    let file = unplaced(&Phantom::new(1), 1, "XC", |_| {});
    let findings = read("tint", folder.path(), &file).unwrap().findings;
    assert_eq!(findings["outcome"], "not_analysed");
    assert!(findings["reason"].as_str().unwrap().contains("is a grey image"), "{findings}");
}

#[test]
fn a_model_of_volumes_is_not_run_on_an_image_without_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = unplaced(&Phantom::new(1), 1, "MR", |_| {});
    let model = variant(folder.path(), &[("slices = { min = 4 }", "")]).get("bright").unwrap();
    let error = read_with(&model, folder.path(), &file).unwrap_err().to_string();
    assert!(error.contains("images is an image without one"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_image_of_a_series_has_a_job_of_its_own_and_a_late_one_replaces_none() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    // The late image has the lowest UID: it comes before the others in every order.
    let images: Vec<_> = [2, 3].map(|number| radiograph(&phantom, number, 700, "MONOCHROME2")).to_vec();
    world.send(&images).await;
    world.wait_for_jobs(&phantom.study(), &[Done, Done]).await;

    world.send(&[radiograph(&phantom, 1, 100, "MONOCHROME2")]).await;

    world.wait_for_jobs(&phantom.study(), &[Done, Done, Done]).await;
    world.wait_for_proof("disk", 3).await;
    let mut bright = Vec::new();
    for job in world.jobs(&phantom.study()).await {
        let result = world.ledger.result_of_job(job.id).await.unwrap().unwrap();
        assert!(result.superseded_by.is_none());
        bright.push((probability(&result.findings, 0) * 10.0).round());
    }
    bright.sort_by(f64::total_cmp);
    assert_eq!(bright, [1.0, 7.0, 7.0]);
    running.stop().await;
}
