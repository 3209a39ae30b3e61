//! Content items of structured reports (PS3.3 §C.17.3), one function for each value type.

use dicom_core::{DataElement, PrimitiveValue, VR, value::C};
use dicom_dictionary_std::tags;
use imaging::Code;

use crate::{
    Reference,
    concepts::Concept,
    dataset::{DataSet, Elements, code_item, decimal, sop_reference},
};

/// Relationship Type (0040,A010).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Contains,
    HasConceptModifier,
    HasObservationContext,
    HasAcquisitionContext,
    InferredFrom,
    SelectedFrom,
}

impl Relation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::HasConceptModifier => "HAS CONCEPT MOD",
            Self::HasObservationContext => "HAS OBS CONTEXT",
            Self::HasAcquisitionContext => "HAS ACQ CONTEXT",
            Self::InferredFrom => "INFERRED FROM",
            Self::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// The concept name of an item: known at compile time, or from a package.
pub(crate) trait Name {
    fn code(&self) -> Code;
}

impl Name for Concept {
    fn code(&self) -> Code {
        Concept::code(*self)
    }
}

impl Name for Code {
    fn code(&self) -> Code {
        self.clone()
    }
}

fn item(relation: Relation, value_type: &str, name: Option<&dyn Name>) -> DataSet {
    let mut item = DataSet::new_empty()
        .with(tags::RELATIONSHIP_TYPE, relation.as_str())
        .with(tags::VALUE_TYPE, value_type);
    if let Some(name) = name {
        item.set_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &name.code());
    }
    item
}

pub(crate) fn container(relation: Relation, name: Concept, children: Vec<DataSet>) -> DataSet {
    item(relation, "CONTAINER", Some(&name))
        .with(tags::CONTINUITY_OF_CONTENT, "SEPARATE")
        .with_items(tags::CONTENT_SEQUENCE, children)
}

/// A container that says which template of PS3.16 it follows.
pub(crate) fn templated(mut container: DataSet, template: &str) -> DataSet {
    container.set_items(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template_item(template)]);
    container
}

pub(crate) fn template_item(template: &str) -> DataSet {
    DataSet::new_empty().with(tags::MAPPING_RESOURCE, "DCMR").with(tags::TEMPLATE_IDENTIFIER, template)
}

pub(crate) fn code(relation: Relation, name: &dyn Name, value: &dyn Name) -> DataSet {
    item(relation, "CODE", Some(name)).with_code(tags::CONCEPT_CODE_SEQUENCE, &value.code())
}

pub(crate) fn text(relation: Relation, name: Concept, text: &str) -> DataSet {
    item(relation, "TEXT", Some(&name)).with(tags::TEXT_VALUE, text)
}

pub(crate) fn person_name(relation: Relation, name: Concept, person: &str) -> DataSet {
    item(relation, "PNAME", Some(&name)).with(tags::PERSON_NAME, person)
}

pub(crate) fn uid(relation: Relation, name: Concept, uid: &str) -> DataSet {
    item(relation, "UIDREF", Some(&name)).with(tags::UID, uid)
}

pub(crate) fn date(relation: Relation, name: Concept, date: &str) -> DataSet {
    item(relation, "DATE", Some(&name)).with(tags::DATE, date)
}

pub(crate) fn number(relation: Relation, name: &dyn Name, value: f64, unit: &dyn Name) -> DataSet {
    let measured = DataSet::new_empty()
        .with_items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![code_item(&unit.code())])
        .with(tags::NUMERIC_VALUE, &decimal(value));
    item(relation, "NUM", Some(name)).with_items(tags::MEASURED_VALUE_SEQUENCE, vec![measured])
}

/// Which part of an instance an image item means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Frame(u32),
    Segment(u16),
}

pub(crate) fn image(relation: Relation, name: Option<Concept>, reference: &Reference, part: Part) -> DataSet {
    let name = name.as_ref().map(|name| name as &dyn Name);
    item(relation, "IMAGE", name)
        .with_items(tags::REFERENCED_SOP_SEQUENCE, vec![referenced_part(reference, part)])
}

fn referenced_part(reference: &Reference, part: Part) -> DataSet {
    let mut referenced = sop_reference(reference.sop_class.as_str(), reference.sop_instance.as_str());
    match part {
        Part::Whole => {}
        Part::Frame(number) => referenced.set(tags::REFERENCED_FRAME_NUMBER, &number.to_string()),
        Part::Segment(number) => {
            referenced.set_number(tags::REFERENCED_SEGMENT_NUMBER, PrimitiveValue::from(number));
        }
    }
    referenced
}

/// A composite object that is no image, such as another report.
pub(crate) fn composite(relation: Relation, reference: &Reference) -> DataSet {
    item(relation, "COMPOSITE", None)
        .with_items(tags::REFERENCED_SOP_SEQUENCE, vec![referenced_part(reference, Part::Whole)])
}

/// A point of an image; `column` and `row` count from the corner of the first pixel, so that the
/// middle of the first pixel is 0.5 (PS3.3 §C.18.6).
pub(crate) fn point(relation: Relation, name: Concept, (column, row): (f32, f32), image: DataSet) -> DataSet {
    let mut point = item(relation, "SCOORD", Some(&name))
        .with(tags::GRAPHIC_TYPE, "POINT")
        .with_items(tags::CONTENT_SEQUENCE, vec![image]);
    let data = PrimitiveValue::F32(C::from_slice(&[column, row]));
    point.put(DataElement::new(tags::GRAPHIC_DATA, VR::FL, data));
    point
}

pub(crate) fn with_children(mut item: DataSet, children: Vec<DataSet>) -> DataSet {
    if !children.is_empty() {
        item.set_items(tags::CONTENT_SEQUENCE, children);
    }
    item
}
