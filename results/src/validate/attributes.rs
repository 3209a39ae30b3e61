//! What every object must have: identifiers, the source's patient and study, usable codes.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use imaging::{Charset, Uid};

use super::Violation;
use crate::{
    Source,
    dataset::{DataSet, code_of, items, text},
};

/// Type 1 in all objects that are written here.
const REQUIRED: [Tag; 11] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::CONTENT_DATE,
    tags::CONTENT_TIME,
];

/// Type 2 of Patient and General Study Modules.
const PRESENT: [Tag; 9] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_ID,
];

/// What must be the source's own: never the wrong patient.
const COPIED: [Tag; 8] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::ACCESSION_NUMBER,
];

pub(super) fn check(head: &DataSet, source: Option<&Source>, found: &mut Vec<Violation>) {
    require(head, "the object", &REQUIRED, found);
    let absent = PRESENT.into_iter().filter(|tag| head.get(*tag).is_none());
    found.extend(absent.map(|tag| Violation::Absent { within: "the object", tag }));
    for tag in
        [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID]
    {
        if text(head, tag).is_some_and(|text| Uid::parse(&text).is_err()) {
            found.push(Violation::Uid(tag));
        }
    }
    if let Some(source) = source {
        let (ours, theirs) = (Charset::of(head), Charset::of(&source.common));
        let differing =
            COPIED.into_iter().filter(|tag| ours.text(head, *tag) != theirs.text(&source.common, *tag));
        found.extend(differing.map(|tag| Violation::NotOfSource { tag }));
    }
    check_codes(head, found);
}

pub(super) fn require(dataset: &DataSet, within: &'static str, tags: &[Tag], found: &mut Vec<Violation>) {
    let is_missing = |tag: &Tag| match dataset.get(*tag) {
        Some(element) => element.items().map_or_else(|| element.value().is_empty_value(), <[_]>::is_empty),
        None => true,
    };
    found.extend(tags.iter().copied().filter(is_missing).map(|tag| Violation::Missing { within, tag }));
}

/// Whether a primitive value has no bytes.
trait EmptyValue {
    fn is_empty_value(&self) -> bool;
}

impl<I, P> EmptyValue for dicom_core::value::Value<I, P> {
    fn is_empty_value(&self) -> bool {
        self.primitive().is_none_or(|value| value.calculate_byte_len() == 0)
    }
}

/// SNOMED codes in their retired "SRT" form are not understood any more (PS3.16 §8.1).
fn check_codes(dataset: &DataSet, found: &mut Vec<Violation>) {
    for element in dataset {
        for item in items(dataset, element.header().tag) {
            if let Some(code) = code_of(item)
                && matches!(code.scheme.as_str(), "SRT" | "SNM3" | "99SDM")
            {
                found.push(Violation::RetiredScheme { value: code.value, scheme: code.scheme });
            }
            check_codes(item, found);
        }
    }
}
