//! TID 1600 "Image Library": the images that were analysed, and what they have in common.

use dicom_dictionary_std::tags;
use imaging::Code;

use super::item::{
    self, Part,
    Relation::{Contains, HasAcquisitionContext},
    container,
};
use crate::{
    Source,
    concepts::{
        FRAME_OF_REFERENCE_UID, HORIZONTAL_PIXEL_SPACING, IMAGE_LIBRARY, IMAGE_LIBRARY_GROUP, MILLIMETER,
        MODALITY, PIXEL_DATA_COLUMNS, PIXEL_DATA_ROWS, PIXELS, SPACING_BETWEEN_SLICES, STUDY_DATE,
        VERTICAL_PIXEL_SPACING,
    },
    dataset::{DataSet, text},
    source::numbers,
};

pub(super) fn of(source: &Source) -> DataSet {
    let mut group = common_attributes(source);
    group.extend(
        source
            .used_instances()
            .into_iter()
            .map(|instance| item::image(Contains, None, &source.reference(instance), Part::Whole)),
    );
    container(Contains, IMAGE_LIBRARY, vec![container(Contains, IMAGE_LIBRARY_GROUP, group)])
}

fn common_attributes(source: &Source) -> Vec<DataSet> {
    let mut attributes = Vec::new();
    if let Some(modality) = text(&source.common, tags::MODALITY) {
        // CID 29 has the defined terms of Modality (0008,0060) as its code values
        let code = Code::new(&modality, "DCM", modality_meaning(&modality));
        attributes.push(item::code(HasAcquisitionContext, &MODALITY, &code));
    }
    if let Some(date) = text(&source.common, tags::STUDY_DATE) {
        attributes.push(item::date(HasAcquisitionContext, STUDY_DATE, &date));
    }
    if let Some(uid) = &source.frame_of_reference {
        attributes.push(item::uid(HasAcquisitionContext, FRAME_OF_REFERENCE_UID, uid.as_str()));
    }
    let number = |name, value, unit| item::number(HasAcquisitionContext, &name, value, &unit);
    attributes.push(number(PIXEL_DATA_ROWS, f64::from(source.rows()), PIXELS));
    attributes.push(number(PIXEL_DATA_COLUMNS, f64::from(source.columns()), PIXELS));
    // Pixel Spacing has the distance of rows first
    let spacing = source.frames().first().and_then(|frame| frame.measures.pixel_spacing.as_deref());
    if let Some([vertical, horizontal]) = spacing.and_then(numbers) {
        attributes.push(number(HORIZONTAL_PIXEL_SPACING, horizontal, MILLIMETER));
        attributes.push(number(VERTICAL_PIXEL_SPACING, vertical, MILLIMETER));
    }
    if let Some(step) = source.uniform_spacing() {
        attributes.push(number(SPACING_BETWEEN_SLICES, step, MILLIMETER));
    }
    attributes
}

fn modality_meaning(modality: &str) -> &str {
    match modality {
        "CT" => "Computed Tomography",
        "MR" => "Magnetic Resonance",
        "CR" => "Computed Radiography",
        "DX" => "Digital Radiography",
        "PT" => "Positron emission tomography",
        "US" => "Ultrasound",
        "MG" => "Mammography",
        "NM" => "Nuclear Medicine",
        other => other,
    }
}
