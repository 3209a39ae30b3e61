//! One slice as a classic MR Image (PS3.3 §A.4), with the headers that a scanner writes.

use std::error::Error;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use uuid::Uuid;

use super::{PatientName, PhantomStudy, geometry::Stack};

/// Name space of the UIDs of phantom studies.
const PHANTOMS: Uuid = Uuid::from_u128(0x8d0f_54b1_9a3e_5f0c_b1d6_2f7f_1c83_a0e5);

/// What all slices of a study share.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) study: String,
    pub(super) series: String,
    pub(super) frame_of_reference: String,
    instances: Uuid,
}

impl Identity {
    pub(super) fn of(options: &PhantomStudy) -> Self {
        // Every option is in the name, so another study never bears the same UIDs.
        let study = Uuid::new_v5(&PHANTOMS, format!("{options:?}").as_bytes());
        let role = |role: &str| Uuid::new_v5(&study, role.as_bytes());
        Self {
            study: uid(study),
            series: uid(role("series")),
            frame_of_reference: uid(role("frame of reference")),
            instances: role("instances"),
        }
    }

    fn instance(&self, slice: usize) -> String {
        uid(Uuid::new_v5(&self.instances, slice.to_string().as_bytes()))
    }
}

/// PS3.5 §B.2: a UID from a UUID.
fn uid(uuid: Uuid) -> String {
    format!("2.25.{}", uuid.as_u128())
}

/// A whole Part 10 file, Explicit VR Little Endian.
pub(super) fn encode(
    options: &PhantomStudy,
    identity: &Identity,
    stack: &Stack,
    slice: usize,
    pixels: &[u16],
) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let instance = identity.instance(slice);
    let mut object = InMemDicomObject::new_empty();
    put_patient(&mut object, options);
    put_study_and_series(&mut object, options, identity);
    put_acquisition(&mut object, options);
    put_plane(&mut object, options, stack, slice);
    text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, &instance);
    put_pixels(&mut object, options, pixels);
    let file = object.with_meta(
        FileMetaTableBuilder::new()
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
            .media_storage_sop_class_uid(uids::MR_IMAGE_STORAGE)
            .media_storage_sop_instance_uid(instance),
    )?;
    let mut bytes = Vec::with_capacity(pixels.len() * 2 + 4096);
    file.write_all(&mut bytes)?;
    Ok(bytes)
}

fn put_patient(object: &mut InMemDicomObject, options: &PhantomStudy) {
    let name = match options.name {
        PatientName::Latin => "DEMO^PHANTOM",
        PatientName::Korean => "Demo^Phantom=示範^模型=데모^팬텀",
    };
    text(object, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    text(object, tags::PATIENT_NAME, VR::PN, name);
    text(object, tags::PATIENT_ID, VR::LO, &format!("DEMO-{:04}", options.seed));
    text(object, tags::ISSUER_OF_PATIENT_ID, VR::LO, "OVERREAD-DEMO");
    text(object, tags::PATIENT_BIRTH_DATE, VR::DA, "19610412");
    text(object, tags::PATIENT_SEX, VR::CS, "O");
    text(object, tags::PATIENT_AGE, VR::AS, "064Y");
    text(object, tags::PATIENT_WEIGHT, VR::DS, "70");
    text(object, tags::PATIENT_COMMENTS, VR::LT, "Synthetic phantom, not a person.");
}

fn put_study_and_series(object: &mut InMemDicomObject, options: &PhantomStudy, identity: &Identity) {
    let description = format!("T1 3D {} +C (synthetic)", options.orientation.word());
    text(object, tags::STUDY_INSTANCE_UID, VR::UI, &identity.study);
    text(object, tags::SERIES_INSTANCE_UID, VR::UI, &identity.series);
    text(object, tags::FRAME_OF_REFERENCE_UID, VR::UI, &identity.frame_of_reference);
    text(object, tags::POSITION_REFERENCE_INDICATOR, VR::LO, "");
    for date in [tags::STUDY_DATE, tags::SERIES_DATE, tags::ACQUISITION_DATE, tags::CONTENT_DATE] {
        text(object, date, VR::DA, "20260105");
    }
    text(object, tags::STUDY_TIME, VR::TM, "093000");
    for time in [tags::SERIES_TIME, tags::ACQUISITION_TIME, tags::CONTENT_TIME] {
        text(object, time, VR::TM, "094210");
    }
    text(object, tags::ACCESSION_NUMBER, VR::SH, &format!("DEMO{:06}", options.seed));
    text(object, tags::STUDY_ID, VR::SH, &format!("D{}", options.seed));
    text(object, tags::STUDY_DESCRIPTION, VR::LO, "MR brain (synthetic phantom)");
    text(object, tags::SERIES_DESCRIPTION, VR::LO, &description);
    text(object, tags::PROTOCOL_NAME, VR::LO, &description);
    text(object, tags::SERIES_NUMBER, VR::IS, "5");
    text(object, tags::MODALITY, VR::CS, "MR");
    text(object, tags::BODY_PART_EXAMINED, VR::CS, "BRAIN");
    text(object, tags::PATIENT_POSITION, VR::CS, "HFS");
    text(object, tags::INSTITUTION_NAME, VR::LO, "Demonstration");
    text(object, tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    text(object, tags::MANUFACTURER, VR::LO, "Phantom generator");
    text(object, tags::MANUFACTURER_MODEL_NAME, VR::LO, "Brain MR phantom");
    text(object, tags::DEVICE_SERIAL_NUMBER, VR::LO, "1");
    text(object, tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"));
    text(object, tags::STATION_NAME, VR::SH, "PHANTOM");
    // C.7.6.1: an image of a phantom and not of a patient.
    text(object, tags::QUALITY_CONTROL_IMAGE, VR::CS, "YES");
    text(object, tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
}

/// MR Image Module (PS3.3 §C.8.3.1): a spoiled gradient echo after inversion, in three dimensions.
fn put_acquisition(object: &mut InMemDicomObject, options: &PhantomStudy) {
    object.put(DataElement::new(
        tags::IMAGE_TYPE,
        VR::CS,
        dicom_value!(Strs, ["ORIGINAL", "PRIMARY", "OTHER"]),
    ));
    text(object, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    object.put(DataElement::new(tags::SCANNING_SEQUENCE, VR::CS, dicom_value!(Strs, ["GR", "IR"])));
    object.put(DataElement::new(tags::SEQUENCE_VARIANT, VR::CS, dicom_value!(Strs, ["SP", "MP"])));
    text(object, tags::SCAN_OPTIONS, VR::CS, "");
    text(object, tags::MR_ACQUISITION_TYPE, VR::CS, "3D");
    text(object, tags::CONTRAST_BOLUS_AGENT, VR::LO, "Gadobutrol (simulated)");
    for (tag, value) in [
        (tags::REPETITION_TIME, 1900.0),
        (tags::ECHO_TIME, 2.5),
        (tags::INVERSION_TIME, 900.0),
        (tags::FLIP_ANGLE, 9.0),
        (tags::NUMBER_OF_AVERAGES, 1.0),
        (tags::IMAGING_FREQUENCY, 123.2),
        (tags::MAGNETIC_FIELD_STRENGTH, 3.0),
        (tags::PERCENT_SAMPLING, 100.0),
        (tags::PERCENT_PHASE_FIELD_OF_VIEW, 100.0),
        (tags::PIXEL_BANDWIDTH, 170.0),
        (tags::SLICE_THICKNESS, options.slice_spacing_mm),
        (tags::SPACING_BETWEEN_SLICES, options.slice_spacing_mm),
    ] {
        decimals(object, tag, &[value]);
    }
    text(object, tags::IMAGED_NUCLEUS, VR::SH, "1H");
    text(object, tags::ECHO_NUMBERS, VR::IS, "1");
    text(object, tags::ECHO_TRAIN_LENGTH, VR::IS, "1");
    text(object, tags::ACQUISITION_NUMBER, VR::IS, "1");
    text(object, tags::IMAGES_IN_ACQUISITION, VR::IS, &options.slices.to_string());
}

fn put_plane(object: &mut InMemDicomObject, options: &PhantomStudy, stack: &Stack, slice: usize) {
    let cosines = [stack.row, stack.column].concat();
    decimals(object, tags::IMAGE_POSITION_PATIENT, &stack.position(slice));
    decimals(object, tags::IMAGE_ORIENTATION_PATIENT, &cosines);
    decimals(object, tags::PIXEL_SPACING, &[options.pixel_spacing_mm; 2]);
    decimals(object, tags::SLICE_LOCATION, &[stack.location(slice)]);
    text(object, tags::INSTANCE_NUMBER, VR::IS, &(slice + 1).to_string());
}

fn put_pixels(object: &mut InMemDicomObject, options: &PhantomStudy, pixels: &[u16]) {
    text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, options.matrix),
        (tags::COLUMNS, options.matrix),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    decimals(object, tags::WINDOW_CENTER, &[400.0]);
    decimals(object, tags::WINDOW_WIDTH, &[800.0]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
}

fn text(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    let value = if value.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(value) };
    object.put(DataElement::new(tag, vr, value));
}

/// DS holds at most 16 characters (PS3.5 §6.2): six decimals are a nanometre.
fn decimals(object: &mut InMemDicomObject, tag: Tag, values: &[f64]) {
    let written = values.iter().map(|value| {
        let short = format!("{value:.6}");
        let short = short.trim_end_matches('0').trim_end_matches('.');
        if short == "-0" { "0".to_owned() } else { short.to_owned() }
    });
    object.put(DataElement::new(tag, VR::DS, PrimitiveValue::Strs(written.collect())));
}
