//! The data set of a segmentation up to its per-frame groups.

use dicom_core::{PrimitiveValue, Tag, dicom_value, value::C};
use dicom_dictionary_std::tags;
use imaging::{Charset, Uid};

use super::{
    Numbered, SegmentationInput,
    frames::Content,
    pixels::{FRACTION_MAX, bits_allocated},
    sop_class, tracking,
};
use crate::{
    AlgorithmType, Background, IntendedUse, Production, Role, SegmentationType, Source, color,
    concepts::{ARTIFICIAL_INTELLIGENCE, BACKGROUND},
    context::{self, Place, announced},
    dataset::{DataSet, Elements, decimal, sop_reference, truncated},
    source::Measures,
};

/// Which functional groups all frames have in common, by the text of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    pub(super) orientation: bool,
    pub(super) measures: bool,
}

impl Shared {
    pub(super) fn of(source: &Source) -> Self {
        let frames = source.frames();
        let orientation = |index: usize| frames[index].plane.as_ref().map(|plane| &plane.orientation_text);
        Self {
            orientation: (1..frames.len()).all(|index| orientation(index) == orientation(0)),
            measures: frames.iter().all(|frame| frame.measures == frames[0].measures),
        }
    }
}

/// Whether every frame has a place in the patient.
pub(super) fn has_planes(source: &Source) -> bool {
    source.frames().iter().all(|frame| frame.plane.is_some())
}

/// Everything before Per-frame Functional Groups Sequence.
pub(super) fn head(
    input: &SegmentationInput<'_>,
    segments: &[Numbered<'_>],
    content: &Content,
    part: &str,
) -> DataSet {
    let SegmentationInput { production, source, .. } = *input;
    let kind = production.profile.segmentation;
    let place = Place {
        role: Role::Segmentation,
        sop_class: sop_class(kind),
        modality: "SEG",
        part,
        title: &title(segments, part),
    };
    let mut dataset = context::begin(production, source, place);
    frame_of_reference(&mut dataset, source);
    image_pixel(&mut dataset, source, bits_allocated(kind, segments.len()), content.frames.len());
    segmentation_image(&mut dataset, input);
    dataset.set_items(tags::SEGMENT_SEQUENCE, segment_items(production, segments));
    let uid = production.identity.dimensions(Role::Segmentation, &production.profile.name, part);
    dimensions(&mut dataset, &uid, source, kind != SegmentationType::LabelMap);
    dataset.set_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared_groups(source)]);
    referenced_series(&mut dataset, source);
    dataset
}

fn title(segments: &[Numbered<'_>], part: &str) -> String {
    match segments {
        [only] if !part.is_empty() => format!("segmentation: {}", only.segment.label),
        _ => "segmentation".into(),
    }
}

/// §C.7.4.1.
pub(crate) fn frame_of_reference(dataset: &mut DataSet, source: &Source) {
    if let Some(uid) = &source.frame_of_reference {
        dataset.set(tags::FRAME_OF_REFERENCE_UID, uid.as_str());
        dataset.set(tags::POSITION_REFERENCE_INDICATOR, "");
        context::copy(
            dataset,
            &source.common,
            tags::POSITION_REFERENCE_INDICATOR,
            &Charset::of(&source.common),
        );
    }
}

/// §C.7.6.3, and the number of frames of §C.7.6.16.
fn image_pixel(dataset: &mut DataSet, source: &Source, bits: u16, frames: usize) {
    dataset.set(tags::NUMBER_OF_FRAMES, &frames.to_string());
    dataset.set_number(tags::SAMPLES_PER_PIXEL, dicom_value!(U16, 1));
    dataset.set(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    // Rows and Columns of the source are US, so both fit
    dataset.set_number(tags::ROWS, PrimitiveValue::from(source.rows() as u16));
    dataset.set_number(tags::COLUMNS, PrimitiveValue::from(source.columns() as u16));
    dataset.set_number(tags::BITS_ALLOCATED, PrimitiveValue::from(bits));
    dataset.set_number(tags::BITS_STORED, PrimitiveValue::from(bits));
    dataset.set_number(tags::HIGH_BIT, PrimitiveValue::from(bits - 1));
    dataset.set_number(tags::PIXEL_REPRESENTATION, dicom_value!(U16, 0));
}

/// §C.8.20.2, §C.7.6.1 and Content Identification (Table 10-12).
fn segmentation_image(dataset: &mut DataSet, input: &SegmentationInput<'_>) {
    let SegmentationInput { production, source, .. } = *input;
    let is_probable = input.probabilities.is_some();
    dataset.set_all(tags::IMAGE_TYPE, ["DERIVED", "PRIMARY"]);
    dataset.set(tags::CONTENT_LABEL, "SEGMENTATION");
    dataset.set(tags::CONTENT_DESCRIPTION, truncated(&announced(production, &production.algorithm.name), 64));
    // nobody: Content Creator's Name is a person
    dataset.set(tags::CONTENT_CREATOR_NAME, "");
    lossy_compression(dataset, source);
    match production.profile.segmentation {
        SegmentationType::Binary => dataset.set(tags::SEGMENTATION_TYPE, "BINARY"),
        SegmentationType::LabelMap => {
            dataset.set(tags::SEGMENTATION_TYPE, "LABELMAP");
            dataset.set_number(tags::PIXEL_PADDING_VALUE, dicom_value!(U16, 0));
        }
        SegmentationType::Fractional => {
            dataset.set(tags::SEGMENTATION_TYPE, "FRACTIONAL");
            let kind = if is_probable { "PROBABILITY" } else { "OCCUPANCY" };
            dataset.set(tags::SEGMENTATION_FRACTIONAL_TYPE, kind);
            dataset.set_number(tags::MAXIMUM_FRACTIONAL_VALUE, PrimitiveValue::from(u16::from(FRACTION_MAX)));
        }
    }
    // a label map gives each voxel one label; probabilities spread over several
    let may_overlap = is_probable && production.profile.segmentation == SegmentationType::Fractional;
    dataset.set(tags::SEGMENTS_OVERLAP, if may_overlap { "UNDEFINED" } else { "NO" });
}

/// §C.8.20.2.2: what was lost in the source is lost in its segmentation.
pub(crate) fn lossy_compression(dataset: &mut DataSet, source: &Source) {
    let charset = Charset::of(&source.common);
    dataset.set(tags::LOSSY_IMAGE_COMPRESSION, "00");
    for tag in [
        tags::LOSSY_IMAGE_COMPRESSION,
        tags::LOSSY_IMAGE_COMPRESSION_RATIO,
        tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    ] {
        context::copy(dataset, &source.common, tag, &charset);
    }
}

/// §C.8.20.4. A label map's background comes last: viewers colour segments by their position.
fn segment_items(production: &Production, segments: &[Numbered<'_>]) -> Vec<DataSet> {
    let mut items: Vec<DataSet> =
        segments.iter().map(|numbered| segment_item(production, *numbered)).collect();
    let profile = &production.profile;
    if (profile.segmentation, profile.background) == (SegmentationType::LabelMap, Background::Described) {
        items.push(background_item());
    }
    items
}

fn segment_item(production: &Production, Numbered { segment, index, number }: Numbered<'_>) -> DataSet {
    let mut item = DataSet::new_empty();
    item.set_number(tags::SEGMENT_NUMBER, PrimitiveValue::from(number));
    item.set(tags::SEGMENT_LABEL, &segment_label(production, &segment.label));
    if let Some(description) = &segment.description {
        item.set(tags::SEGMENT_DESCRIPTION, truncated(description, 1024));
    }
    item.set(tags::SEGMENT_ALGORITHM_TYPE, segment.algorithm_type.as_str());
    if segment.algorithm_type != AlgorithmType::Manual {
        let name = segment.algorithm_name.as_ref().unwrap_or(&production.algorithm.name);
        item.set(tags::SEGMENT_ALGORITHM_NAME, truncated(name, 64));
        item.set_items(
            tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE,
            vec![algorithm_identification(production, name)],
        );
    }
    item.set_code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category);
    set_modified_code(
        &mut item,
        (tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &segment.property_type),
        (tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, segment.type_modifier.as_ref()),
    );
    if let Some(region) = &segment.region {
        set_modified_code(
            &mut item,
            (tags::ANATOMIC_REGION_SEQUENCE, region),
            (tags::ANATOMIC_REGION_MODIFIER_SEQUENCE, segment.region_modifier.as_ref()),
        );
    }
    let color = color::cielab(segment.color.unwrap_or_else(|| color::of_position(index)));
    item.set_number(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, PrimitiveValue::U16(C::from_slice(&color)));
    let (tracking_id, tracking_uid) = tracking(production, segment);
    item.set(tags::TRACKING_ID, &tracking_id);
    item.set(tags::TRACKING_UID, tracking_uid.as_str());
    item
}

/// What a viewer's list shows; demonstrations say so there too.
fn segment_label(production: &Production, label: &str) -> String {
    let label = match production.intended_use {
        IntendedUse::Stated => label.to_owned(),
        IntendedUse::Demonstration => format!("{label} ({})", crate::DEMONSTRATION_NOTICE),
    };
    truncated(&label, 64).to_owned()
}

fn set_modified_code(
    item: &mut DataSet,
    (tag, code): (Tag, &imaging::Code),
    (modifier_tag, modifier): (Tag, Option<&imaging::Code>),
) {
    let mut coded = crate::dataset::code_item(code);
    if let Some(modifier) = modifier {
        coded.set_code(modifier_tag, modifier);
    }
    item.set_items(tag, vec![coded]);
}

/// Algorithm Identification (Table 10-19).
fn algorithm_identification(production: &Production, name: &str) -> DataSet {
    let algorithm = &production.algorithm;
    let mut item = DataSet::new_empty()
        .with_code(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &ARTIFICIAL_INTELLIGENCE.code())
        .with(tags::ALGORITHM_NAME, truncated(name, 64))
        .with(tags::ALGORITHM_VERSION, truncated(&algorithm.version, 64))
        .with(tags::ALGORITHM_SOURCE, truncated(&algorithm.manufacturer, 64));
    if !algorithm.parameters.is_empty() {
        item.set(tags::ALGORITHM_PARAMETERS, truncated(&algorithm.parameters.join("; "), 10_240));
    }
    item
}

fn background_item() -> DataSet {
    let background = BACKGROUND.code();
    let mut item = DataSet::new_empty();
    item.set_number(tags::SEGMENT_NUMBER, dicom_value!(U16, 0));
    item.set(tags::SEGMENT_LABEL, "Background");
    item.set(tags::SEGMENT_ALGORITHM_TYPE, AlgorithmType::Automatic.as_str());
    item.set(tags::SEGMENT_ALGORITHM_NAME, "Background");
    item.set_code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &background);
    item.set_code(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &background);
    item
}

/// §C.7.6.17: segment where frames are those of one segment, then position.
pub(crate) fn dimensions(dataset: &mut DataSet, uid: &Uid, source: &Source, by_segment: bool) {
    let dimension = |pointer: Tag, group: Tag, label: &str| {
        let mut item = DataSet::new_empty();
        item.set(tags::DIMENSION_ORGANIZATION_UID, uid.as_str());
        item.set_number(tags::DIMENSION_INDEX_POINTER, PrimitiveValue::Tags(C::from_slice(&[pointer])));
        item.set_number(tags::FUNCTIONAL_GROUP_POINTER, PrimitiveValue::Tags(C::from_slice(&[group])));
        item.with(tags::DIMENSION_DESCRIPTION_LABEL, label)
    };
    let mut indices = Vec::new();
    if by_segment {
        let (pointer, group) = (tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE);
        indices.push(dimension(pointer, group, "Segment Number"));
    }
    indices.push(if has_planes(source) {
        dimension(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position Patient")
    } else {
        dimension(tags::IN_STACK_POSITION_NUMBER, tags::FRAME_CONTENT_SEQUENCE, "In-Stack Position Number")
    });
    let organization = DataSet::new_empty().with(tags::DIMENSION_ORGANIZATION_UID, uid.as_str());
    dataset.set_items(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organization]);
    dataset.set_items(tags::DIMENSION_INDEX_SEQUENCE, indices);
}

/// What all frames have in common: orientation and measures, where they do.
pub(crate) fn shared_groups(source: &Source) -> DataSet {
    let mut groups = DataSet::new_empty();
    let shared = Shared::of(source);
    let first = &source.frames()[0];
    if shared.measures
        && let Some(measures) = pixel_measures(&first.measures, source.uniform_spacing())
    {
        groups.set_items(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    }
    if let (true, Some(plane)) = (shared.orientation, &first.plane) {
        let mut item = DataSet::new_empty();
        let orientation = plane.orientation_text.split('\\').map(str::to_owned);
        item.set_all(tags::IMAGE_ORIENTATION_PATIENT, orientation);
        groups.set_items(tags::PLANE_ORIENTATION_SEQUENCE, vec![item]);
    }
    groups
}

/// §C.7.6.16.2.1. Spacing Between Slices is the true step, which sources often misstate.
fn pixel_measures(measures: &Measures, step: Option<f64>) -> Option<DataSet> {
    let spacing = measures.pixel_spacing.as_ref()?;
    let mut item = DataSet::new_empty();
    item.set_all(tags::PIXEL_SPACING, spacing.split('\\').map(str::to_owned));
    let step = step.map(decimal);
    if let Some(thickness) = measures.slice_thickness.as_ref().or(step.as_ref()) {
        item.set(tags::SLICE_THICKNESS, thickness);
    }
    if let Some(step) = &step {
        item.set(tags::SPACING_BETWEEN_SLICES, step);
    }
    Some(item)
}

/// Common Instance Reference Module (§C.12.2): all instances that were looked at.
pub(crate) fn referenced_series(dataset: &mut DataSet, source: &Source) {
    let instances = source
        .used_instances()
        .into_iter()
        .map(|instance| sop_reference(instance.sop_class.as_str(), instance.sop_instance.as_str()))
        .collect();
    let series = DataSet::new_empty()
        .with(tags::SERIES_INSTANCE_UID, source.series().as_str())
        .with_items(tags::REFERENCED_INSTANCE_SEQUENCE, instances);
    dataset.set_items(tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
}
