//! Measurement groups: TID 1411 for segments, TID 1501 for classes.

use dicom_dictionary_std::tags;
use imaging::Code;

use super::{
    ReportInput,
    item::{
        self, Part,
        Relation::{Contains, HasConceptModifier, HasObservationContext, InferredFrom, SelectedFrom},
        container, templated,
    },
};
use crate::{
    Classification, EncodeError, Finding, Measurement, Point, Production, Quantity, SegmentFinding, Source,
    concepts::{
        ALGORITHM_FAMILY, ALGORITHM_MANUFACTURER, ALGORITHM_NAME, ALGORITHM_PARAMETERS, ALGORITHM_VERSION,
        ARBITRARY, ARTIFICIAL_INTELLIGENCE, Concept, FINDING, FINDING_CATEGORY, FINDING_SITE, HOUNSFIELD,
        ILLUSTRATION, LATERALITY, LONG_AXIS, MAXIMUM, MAXIMUM_ATTENUATION, MEAN, MEAN_ATTENUATION,
        MEASUREMENT_GROUP, MILLILITER, MILLIMETER, MINIMUM, MINIMUM_ATTENUATION, PERCENT, PROBABILITY,
        REFERENCED_SEGMENT, SHORT_AXIS, SOURCE, SOURCE_OF_MEASUREMENT, SOURCE_SERIES, STANDARD_DEVIATION,
        STANDARD_DEVIATION_ATTENUATION, TOPOGRAPHICAL_MODIFIER, TRACKING_IDENTIFIER, TRACKING_UID, VOLUME,
    },
    context::announced,
    dataset::{DataSet, text},
    segmentation::tracking,
};

/// The measurement group of a finding; none for one without a place in the images.
pub(super) fn group(input: &ReportInput<'_>, finding: &Finding) -> Result<Option<DataSet>, EncodeError> {
    match finding {
        Finding::Segment(finding) => segment_group(input, finding).map(Some),
        Finding::Classification(classification) => class_group(input, classification).map(Some),
        Finding::Absent(_) | Finding::NotAnalysed { .. } => Ok(None),
    }
}

fn segment_group(input: &ReportInput<'_>, finding: &SegmentFinding) -> Result<DataSet, EncodeError> {
    if finding.measurements.is_empty() {
        return Err(EncodeError::NoMeasurement);
    }
    let segment = &finding.segment;
    let (id, uid) = tracking(input.production, segment);
    let mut children = tracked(&id, uid.as_str());
    children.push(item::code(Contains, &FINDING_CATEGORY, &segment.category));
    children.push(item::code(Contains, &FINDING, &segment.property_type));
    children.extend(algorithm(input.production, &[]));
    let region = segment.region.as_ref().map(|region| (region, segment.region_modifier.as_ref()));
    let side = segment.type_modifier.as_ref().map(|modifier| (&segment.property_type, Some(modifier)));
    if let Some((region, modifier)) = region.or(side) {
        children.push(site(FINDING_SITE, region, modifier));
    }
    let template = match &finding.segmentation {
        Some((reference, number)) => {
            children.push(item::image(Contains, Some(REFERENCED_SEGMENT), reference, Part::Segment(*number)));
            children.push(item::uid(Contains, SOURCE_SERIES, input.source.series().as_str()));
            "1411"
        }
        None => {
            children.push(source_image(input.source, finding.point)?);
            "1501"
        }
    };
    for measurement in &finding.measurements {
        children.push(measured(input.source, measurement, finding.point)?);
    }
    Ok(templated(container(Contains, MEASUREMENT_GROUP, children), template))
}

/// The class is the group's finding and the answer to its question; each class has its probability,
/// the chosen one first and on its own, because viewers list the first.
fn class_group(input: &ReportInput<'_>, classification: &Classification) -> Result<DataSet, EncodeError> {
    let Classification { chosen, ref classes, .. } = *classification;
    let answer = classes.get(chosen).ok_or(EncodeError::NoSuchClass { chosen, classes: classes.len() })?;
    let place = classification.point.unwrap_or_else(|| middle(input.source));
    let uid = input.production.identity.tracking(&format!("class {}", classification.id));
    let mut children =
        tracked(&format!("{} {}", input.production.algorithm.id, classification.id), uid.as_str());
    children.push(item::code(Contains, &FINDING, &answer.class));
    children.extend(algorithm(input.production, &class_parameters(classification)));
    if let Some(region) = &classification.region {
        children.push(site(FINDING_SITE, region, None));
    }
    children.push(source_image(input.source, place)?);
    if let Some(heatmap) = &classification.heatmap {
        children.push(item::image(Contains, Some(ILLUSTRATION), heatmap, Part::Whole));
    }
    let probability = |value: f64| {
        finite(value, "a probability")
            .map(|value| item::number(Contains, &PROBABILITY, 100.0 * value, &PERCENT))
    };
    let from = point(input.source, place)?;
    children.push(item::with_children(probability(answer.probability)?, vec![from]));
    for (_, class) in classes.iter().enumerate().filter(|(index, _)| *index != chosen) {
        let which = item::code(HasConceptModifier, &FINDING, &class.class);
        children.push(item::with_children(probability(class.probability)?, vec![which]));
    }
    children.push(item::code(Contains, &classification.question, &answer.class));
    Ok(templated(container(Contains, MEASUREMENT_GROUP, children), "1501"))
}

fn class_parameters(classification: &Classification) -> Vec<String> {
    let threshold = classification.threshold.map(|threshold| format!("threshold={threshold}"));
    let calibration = classification.calibration.as_ref().map(|how| format!("calibration={how}"));
    threshold.into_iter().chain(calibration).collect()
}

/// TID 4108.
fn tracked(id: &str, uid: &str) -> Vec<DataSet> {
    vec![
        item::text(HasObservationContext, TRACKING_IDENTIFIER, id),
        item::uid(HasObservationContext, TRACKING_UID, uid),
    ]
}

/// TID 4019.
fn algorithm(production: &Production, parameters: &[String]) -> Vec<DataSet> {
    let algorithm = &production.algorithm;
    let text = |name, value: &str| item::text(HasConceptModifier, name, value);
    let mut items = vec![
        text(ALGORITHM_NAME, &announced(production, &algorithm.name)),
        text(ALGORITHM_VERSION, &algorithm.version),
        text(ALGORITHM_MANUFACTURER, &algorithm.manufacturer),
        item::code(HasConceptModifier, &ALGORITHM_FAMILY, &ARTIFICIAL_INTELLIGENCE),
    ];
    let digest = format!("package={}", algorithm.digest);
    let all = algorithm.parameters.iter().chain(parameters).chain(std::iter::once(&digest));
    items.extend(all.map(|parameter| text(ALGORITHM_PARAMETERS, parameter)));
    items
}

/// A site with its side or another modifier.
pub(super) fn site(name: Concept, region: &Code, modifier: Option<&Code>) -> DataSet {
    let modifier =
        modifier.map(|modifier| item::code(HasConceptModifier, &modifier_name(modifier), modifier));
    item::with_children(item::code(HasConceptModifier, &name, region), modifier.into_iter().collect())
}

/// Left, right, both and unilateral are laterality (CID 244); anything else is topographical.
pub(super) fn modifier_name(modifier: &Code) -> Concept {
    match modifier.value.as_str() {
        "7771000" | "24028007" | "51440002" | "66459002" => LATERALITY,
        _ => TOPOGRAPHICAL_MODIFIER,
    }
}

/// TID 300 with its only child, the point.
fn measured(source: &Source, measurement: &Measurement, place: Point) -> Result<DataSet, EncodeError> {
    let (name, unit) = quantity(source, &measurement.quantity);
    let value = finite(measurement.value, "a measurement")?;
    Ok(item::with_children(item::number(Contains, &name, value, &unit), vec![point(source, place)?]))
}

fn finite(value: f64, what: &'static str) -> Result<f64, EncodeError> {
    if value.is_finite() { Ok(value) } else { Err(EncodeError::NotFinite(what)) }
}

/// Concept and unit. Statistics of CT have concepts of their own, so that no modifier is needed.
fn quantity(source: &Source, quantity: &Quantity) -> (Code, Code) {
    let is_ct = text(&source.common, tags::MODALITY).as_deref() == Some("CT");
    let statistic = |general: Concept, attenuation: Concept| {
        if is_ct { (attenuation.code(), HOUNSFIELD.code()) } else { (general.code(), ARBITRARY.code()) }
    };
    match quantity {
        Quantity::Volume => (VOLUME.code(), MILLILITER.code()),
        Quantity::LongestDiameter => (LONG_AXIS.code(), MILLIMETER.code()),
        Quantity::PerpendicularDiameter => (SHORT_AXIS.code(), MILLIMETER.code()),
        Quantity::Mean => statistic(MEAN, MEAN_ATTENUATION),
        Quantity::StandardDeviation => statistic(STANDARD_DEVIATION, STANDARD_DEVIATION_ATTENUATION),
        Quantity::Minimum => statistic(MINIMUM, MINIMUM_ATTENUATION),
        Quantity::Maximum => statistic(MAXIMUM, MAXIMUM_ATTENUATION),
        Quantity::Other { name, unit } => (name.clone(), unit.clone()),
    }
}

fn source_image(source: &Source, place: Point) -> Result<DataSet, EncodeError> {
    let (reference, part) = frame(source, place)?;
    Ok(item::image(Contains, Some(SOURCE), &reference, part))
}

/// The middle of a pixel on its source image.
fn point(source: &Source, place: Point) -> Result<DataSet, EncodeError> {
    let (reference, part) = frame(source, place)?;
    let image = item::image(SelectedFrom, None, &reference, part);
    let at = (place.column as f32 + 0.5, place.row as f32 + 0.5);
    Ok(item::point(InferredFrom, SOURCE_OF_MEASUREMENT, at, image))
}

fn frame(source: &Source, place: Point) -> Result<(crate::Reference, Part), EncodeError> {
    let Point { frame, row, column } = place;
    let found = source
        .frames()
        .get(frame)
        .filter(|_| row < source.rows() && column < source.columns())
        .ok_or(EncodeError::PointOutside { frame, row, column })?;
    let part = found.frame_number.map_or(Part::Whole, Part::Frame);
    Ok((source.reference(source.instance_of(found)), part))
}

fn middle(source: &Source) -> Point {
    Point { frame: source.frames().len() / 2, row: source.rows() / 2, column: source.columns() / 2 }
}
