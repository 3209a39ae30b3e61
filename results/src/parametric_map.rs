//! Parametric maps (PS3.3 §A.75): how probable one segment is at each voxel, as floating point numbers.
//!
//! One object for each segment, with a frame for every frame of the source and the numbers as the
//! model gave them. A viewer that knows real world values shows 0 to 1 under the mouse.

use dicom_core::{PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use ndarray::{ArrayView3, Axis};

use crate::{
    EncodeError, Encoded, Production, Role, Segment, Source,
    concepts::{FINDING, NO_UNITS, PROBABILITY, QUANTITY, UNSPECIFIED_CALCULATION},
    context::{self, Place, announced},
    dataset::{DataSet, Elements, code_item, truncated},
    segmentation::{
        Content, Groups, append_element, check_shape, dimensions, frame_of_reference, lossy_compression,
        referenced_series, shared_groups,
    },
    validate,
};

const IMAGE_TYPE: [&str; 4] = ["DERIVED", "PRIMARY", "VOLUME", "NONE"];

/// What a map is made of.
#[derive(Debug, Clone, Copy)]
pub struct ParametricMapInput<'a> {
    pub production: &'a Production,
    pub source: &'a Source,
    /// What the probabilities are of.
    pub segment: &'a Segment,
    /// From 0 to 1: `[slice, row, column]`; slice `k` lies on frame `k` of the source.
    pub probabilities: ArrayView3<'a, f32>,
}

/// Writes the map of one segment.
///
/// # Errors
/// When it does not fit the source, has a value that is no number, or the written object breaks a rule.
pub fn parametric_map(input: &ParametricMapInput<'_>) -> Result<Encoded, EncodeError> {
    let ParametricMapInput { source, probabilities, .. } = *input;
    check_shape(source, probabilities.dim().into())?;
    if !probabilities.iter().all(|value| value.is_finite()) {
        return Err(EncodeError::NotFinite("a probability"));
    }
    let mut encoded = Encoded::begin(Role::ParametricMap, &head(input), uids::EXPLICIT_VR_LITTLE_ENDIAN)?;
    let content = Content::of_all(source.frames().len());
    Groups { source, content: &content, derivation: UNSPECIFIED_CALCULATION, by_segment: false }
        .append(&mut encoded.bytes);
    let length = 4 * probabilities.len() as u64;
    append_element(&mut encoded.bytes, (tags::FLOAT_PIXEL_DATA, VR::OF), length, |bytes| {
        for plane in probabilities.axis_iter(Axis(0)) {
            bytes.extend(plane.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(())
    })?;
    validate(&encoded.bytes, Some(source)).map_err(EncodeError::Invalid)?;
    Ok(encoded)
}

/// Everything before the per-frame groups.
fn head(input: &ParametricMapInput<'_>) -> DataSet {
    let ParametricMapInput { production, source, segment, .. } = *input;
    let part = segment.value.to_string();
    let place = Place {
        role: Role::ParametricMap,
        sop_class: uids::PARAMETRIC_MAP_STORAGE,
        modality: "OT",
        part: &part,
        title: &format!("probability: {}", segment.label),
    };
    let mut dataset = context::begin(production, source, place);
    frame_of_reference(&mut dataset, source);
    image(&mut dataset, input);
    let uid = production.identity.dimensions(Role::ParametricMap, &production.profile.name, &part);
    dimensions(&mut dataset, &uid, source, false);
    let groups = shared(segment, shared_groups(source));
    dataset.set_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![groups]);
    referenced_series(&mut dataset, source);
    dataset
}

/// Parametric Map Image, Floating Point Image Pixel and Acquisition Context Modules
/// (§C.8.32.2, §C.7.6.24, §C.7.6.14).
fn image(dataset: &mut DataSet, input: &ParametricMapInput<'_>) {
    let ParametricMapInput { production, source, segment, .. } = *input;
    let description = announced(production, &format!("Probability of {}", segment.label));
    dataset.set_all(tags::IMAGE_TYPE, IMAGE_TYPE);
    dataset.set(tags::CONTENT_LABEL, "PROBABILITY");
    dataset.set(tags::CONTENT_DESCRIPTION, truncated(&description, 64));
    dataset.set(tags::CONTENT_CREATOR_NAME, "");
    dataset.set(tags::CONTENT_QUALIFICATION, "RESEARCH");
    dataset.set(tags::PIXEL_PRESENTATION, "MONOCHROME");
    dataset.set(tags::RECOGNIZABLE_VISUAL_FEATURES, "NO");
    dataset.set(tags::BURNED_IN_ANNOTATION, "NO");
    context::laterality(dataset, source);
    dataset.set_items(tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new());
    lossy_compression(dataset, source);
    dataset.set(tags::NUMBER_OF_FRAMES, &source.frames().len().to_string());
    dataset.set_number(tags::SAMPLES_PER_PIXEL, dicom_value!(U16, 1));
    dataset.set(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    dataset.set(tags::PRESENTATION_LUT_SHAPE, "IDENTITY");
    // Rows and Columns of the source are US, so both fit
    dataset.set_number(tags::ROWS, PrimitiveValue::from(source.rows() as u16));
    dataset.set_number(tags::COLUMNS, PrimitiveValue::from(source.columns() as u16));
    dataset.set_number(tags::BITS_ALLOCATED, dicom_value!(U16, 32));
}

/// What all frames have in common beside geometry: numbers are what they are, from 0 to 1.
fn shared(segment: &Segment, mut groups: DataSet) -> DataSet {
    let mut frame_type = DataSet::new_empty();
    frame_type.set_all(tags::FRAME_TYPE, IMAGE_TYPE);
    groups.set_items(tags::PARAMETRIC_MAP_FRAME_TYPE_SEQUENCE, vec![frame_type]);
    let window = DataSet::new_empty().with(tags::WINDOW_CENTER, "0.5").with(tags::WINDOW_WIDTH, "1");
    groups.set_items(tags::FRAME_VOILUT_SEQUENCE, vec![window]);
    let identity = DataSet::new_empty()
        .with(tags::RESCALE_INTERCEPT, "0")
        .with(tags::RESCALE_SLOPE, "1")
        .with(tags::RESCALE_TYPE, "US");
    groups.set_items(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![identity]);
    let mut mapping = DataSet::new_empty()
        .with(tags::LUT_EXPLANATION, truncated(&format!("Probability of {}", segment.label), 64))
        .with(tags::LUT_LABEL, "PROBABILITY")
        .with_code(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, &NO_UNITS.code());
    for (tag, value) in [
        (tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, 0.0),
        (tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_LAST_VALUE_MAPPED, 1.0),
        (tags::REAL_WORLD_VALUE_INTERCEPT, 0.0),
        (tags::REAL_WORLD_VALUE_SLOPE, 1.0),
    ] {
        mapping.set_number(tag, PrimitiveValue::from(value));
    }
    let quantity = [(QUANTITY, PROBABILITY.code()), (FINDING, segment.property_type.clone())];
    let items = quantity.into_iter().map(|(name, value)| {
        DataSet::new_empty()
            .with(tags::VALUE_TYPE, "CODE")
            .with_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &name.code())
            .with_items(tags::CONCEPT_CODE_SEQUENCE, vec![code_item(&value)])
    });
    mapping.set_items(tags::QUANTITY_DEFINITION_SEQUENCE, items.collect());
    groups.set_items(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, vec![mapping]);
    groups
}
