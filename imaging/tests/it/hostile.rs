//! Bytes that mean harm: no panic, no memory beyond the input's own size.

use std::path::PathBuf;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use imaging::{Header, Volume, VolumeError, load_image, load_volume, load_volumes};
use proptest::prelude::*;

use crate::data;

const SYNTAXES: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];

fn samples() -> Vec<Vec<u8>> {
    let small = |path: &PathBuf| std::fs::metadata(path).unwrap().len() < 60_000;
    ["syntaxes", "charsets", "bad"]
        .iter()
        .flat_map(|folder| data::files(folder))
        .filter(small)
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Everything that the crate does with a file.
fn use_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    std::fs::write(&path, bytes).unwrap();
    let image = load_image(&path, 1);
    if let Ok(header) = Header::read_file(&path) {
        let volumes: Result<Vec<_>, _> = load_volumes(&[(header, path)])
            .and_then(|volumes| volumes.into_iter().map(Volume::regular).collect());
        // Errors are expected; they must be printable.
        if let Err(error) = volumes {
            assert!(!error.to_string().is_empty());
        }
    }
    if let Err(error) = image {
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), syntax in 0..4_usize) {
        let from_noise = Header::from_front(&bytes, SYNTAXES[syntax]);
        prop_assert!(from_noise.is_err());
        use_file(&bytes);
    }

    #[test]
    fn damaged_files_do_no_harm(
        sample in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let samples = samples();
        let mut bytes = sample.get(&samples).clone();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        use_file(&bytes);
    }

    #[test]
    fn any_text_in_any_character_set_decodes(
        text in prop::collection::vec(any::<u8>(), 0..200),
        set in prop::sample::select(vec![
            "ISO_IR 192", "\\ISO 2022 IR 149", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 58", "GB18030", "nonsense",
            "ISO_IR 148", "\\ISO 2022 IR 87\\ISO 2022 IR 159", "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144",
        ]),
    ) {
        let mut bytes = element(0x0005, set.as_bytes());
        for (tag, uid) in [(0x0016, &b"1.2"[..]), (0x0018, b"1.3")] {
            bytes.extend(element(tag, uid));
        }
        bytes.extend(element_of(0x0010, 0x0010, &text));
        bytes.extend(element_of(0x0020, 0x000d, b"1.4"));
        bytes.extend(element_of(0x0020, 0x000e, b"1.5"));
        let header = Header::from_front(&bytes, SYNTAXES[0]).unwrap();
        prop_assert!(header.patient.name.len() <= text.len() * 4 + 4);
    }
}

/// One implicit element of group 0008.
fn element(number: u16, value: &[u8]) -> Vec<u8> {
    element_of(0x0008, number, value)
}

fn element_of(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u32).to_le_bytes();
    [&group.to_le_bytes()[..], &number.to_le_bytes(), &length, value].concat()
}

#[test]
fn a_length_beyond_the_end_claims_no_memory() {
    // PatientComments of 4 GiB, in a data set of a few bytes.
    let mut bytes = element(0x0016, b"1.2");
    bytes.extend([0x10, 0x00, 0x00, 0x40, 0xf0, 0xff, 0xff, 0xff]);
    let before = std::time::Instant::now();
    assert!(Header::from_front(&bytes, SYNTAXES[0]).is_err());
    assert!(before.elapsed().as_secs() < 1);
}

#[test]
fn sequences_without_end_do_not_overflow_the_stack() {
    let mut bytes = element(0x0016, b"1.2");
    for _ in 0..200_000 {
        // Referenced Series Sequence, undefined length, and an item of undefined length.
        bytes.extend([0x08, 0x00, 0x15, 0x11, 0xff, 0xff, 0xff, 0xff]);
        bytes.extend([0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    }
    assert!(Header::from_front(&bytes, SYNTAXES[0]).is_err());
}

#[test]
fn an_image_larger_than_its_pixels_is_refused_before_it_is_allocated() {
    let bytes = std::fs::read(data::folder("syntaxes").join("MR_small.dcm")).unwrap();
    let rows = bytes.windows(8).position(|window| window == [0x28, 0, 0x10, 0, b'U', b'S', 2, 0]).unwrap();
    let mut bytes = bytes;
    bytes[rows + 8..rows + 10].copy_from_slice(&[0xff, 0xff]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tall.dcm");
    std::fs::write(&path, bytes).unwrap();
    let error = load_image(&path, 1).unwrap_err().to_string();
    assert!(error.contains("the pixel data ends inside the frame"), "{error}");
}

/// MR_small with some of its attributes written anew.
fn changed(changes: &[(Tag, VR, PrimitiveValue)]) -> Vec<u8> {
    let mut object = dicom_object::open_file(data::folder("syntaxes").join("MR_small.dcm")).unwrap();
    for (tag, vr, value) in changes {
        object.put(DataElement::new(*tag, *vr, value.clone()));
    }
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

#[test]
fn attributes_that_make_no_sense_do_no_harm() {
    for tag in [
        tags::ROWS,
        tags::COLUMNS,
        tags::SAMPLES_PER_PIXEL,
        tags::BITS_ALLOCATED,
        tags::BITS_STORED,
        tags::HIGH_BIT,
        tags::PIXEL_REPRESENTATION,
        tags::PLANAR_CONFIGURATION,
    ] {
        for value in [0_u16, 1, 3, 7, 8, 12, 17, 32, 33, 64, 65535] {
            use_file(&changed(&[(tag, VR::US, PrimitiveValue::from(value))]));
        }
    }
    for tag in [
        tags::PIXEL_SPACING,
        tags::IMAGE_POSITION_PATIENT,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::SLICE_THICKNESS,
        tags::SPACING_BETWEEN_SLICES,
        tags::RESCALE_SLOPE,
        tags::RESCALE_INTERCEPT,
        tags::PIXEL_PADDING_VALUE,
    ] {
        for text in
            ["", "0", "-1", "nan", "inf", "1e300", "x", "1e-300\\inf\\nan", "1\\1e300\\-1e300\\0\\1\\0"]
        {
            use_file(&changed(&[(tag, VR::DS, PrimitiveValue::from(text))]));
        }
    }
    for frames in ["0", "-1", "4294967295", "x"] {
        use_file(&changed(&[(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from(frames))]));
    }
}

#[test]
fn a_leaning_stack_of_tiny_pixels_is_refused_before_it_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let sources = (1..=4).map(|slice| {
        let path = folder.path().join(format!("{slice}.dcm"));
        let position = format!("{}\\0\\{}", slice * 50, slice * 100);
        let text = |text: &str| PrimitiveValue::from(text);
        let bytes = changed(&[
            (tags::SOP_INSTANCE_UID, VR::UI, text(&format!("1.2.3.{slice}"))),
            (tags::INSTANCE_NUMBER, VR::IS, text(&slice.to_string())),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, text(&position)),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, text("1\\0\\0\\0\\1\\0")),
            (tags::PIXEL_SPACING, VR::DS, text("1e-6\\1e-6")),
        ]);
        std::fs::write(&path, bytes).unwrap();
        (Header::read_file(&path).unwrap(), path)
    });
    let volume = load_volume(&sources.collect::<Vec<_>>()).unwrap();
    let error = volume.regular().map(|volume| volume.grid.dims).unwrap_err();
    assert!(matches!(error, VolumeError::TooLarge(_)), "{error}");
}
