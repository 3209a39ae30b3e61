//! What every object of a study has: patient and study as in the source, a series and equipment of our own.

use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use imaging::{Charset, MANUFACTURER};
use time::{OffsetDateTime, UtcOffset};

use crate::{
    Algorithm, DEMONSTRATION_NOTICE, IntendedUse, Production, Role, Source,
    concepts::PROCESSING_EQUIPMENT,
    dataset::{
        DataSet, Elements, code_of, date, date_time, integer, items, text, time_of_day, truncated, vr_of,
    },
};

/// Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study Modules
/// (PS3.3 §C.7.1, §C.7.2): copied when the source has them.
const COPIED: [Tag; 44] = [
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_BIRTH_TIME,
    tags::PATIENT_SEX,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::OCCUPATION,
    tags::ADDITIONAL_PATIENT_HISTORY,
    tags::PATIENT_COMMENTS,
    tags::CLINICAL_TRIAL_SPONSOR_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ID,
    tags::CLINICAL_TRIAL_PROTOCOL_NAME,
    tags::CLINICAL_TRIAL_SITE_ID,
    tags::CLINICAL_TRIAL_SITE_NAME,
    tags::CLINICAL_TRIAL_SUBJECT_ID,
    tags::CLINICAL_TRIAL_SUBJECT_READING_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_ID,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    tags::MEDICAL_ALERTS,
    tags::ALLERGIES,
    tags::SMOKING_STATUS,
    tags::PREGNANCY_STATUS,
    tags::LAST_MENSTRUAL_DATE,
    tags::PATIENT_STATE,
    tags::ADMISSION_ID,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
];

/// Type 2 attributes of those modules: present and empty when the source lacks them.
const NEVER_ABSENT: [Tag; 9] = [
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_ID,
];

/// Other attributes that do not depend on the kind of object.
const OF_EVERY_OBJECT: [Tag; 14] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::INSTANCE_CREATION_DATE,
    tags::INSTANCE_CREATION_TIME,
    tags::SERIES_DATE,
    tags::SERIES_TIME,
    tags::SERIES_DESCRIPTION,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::DEVICE_SERIAL_NUMBER,
    tags::SOFTWARE_VERSIONS,
    tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
    tags::TIMEZONE_OFFSET_FROM_UTC,
];

/// Whether an attribute may go over from one object of a result to another of a different kind.
pub(crate) fn is_of_every_object(tag: Tag) -> bool {
    COPIED.contains(&tag) || NEVER_ABSENT.contains(&tag) || OF_EVERY_OBJECT.contains(&tag)
}

/// What one object is within its job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) role: Role,
    pub(crate) sop_class: &'a str,
    pub(crate) modality: &'a str,
    /// Tells apart objects of one role; empty when there is one.
    pub(crate) part: &'a str,
    /// Series Description after the algorithm's name.
    pub(crate) title: &'a str,
}

/// A data set with everything but the object's own content.
pub(crate) fn begin(production: &Production, source: &Source, place: Place<'_>) -> DataSet {
    let mut dataset = copied(source);
    let at = local_time(production.written_at, &source.common);
    sop_common(&mut dataset, production, place, at);
    series(&mut dataset, production, source, place, at);
    equipment(&mut dataset, production);
    dataset
}

/// A time in the time zone of a data set's dates, when it states one: Timezone Offset From UTC
/// (0008,0201) holds for all times of an object.
pub(crate) fn local_time(at: OffsetDateTime, dataset: &DataSet) -> OffsetDateTime {
    let offset = text(dataset, tags::TIMEZONE_OFFSET_FROM_UTC).and_then(|text| parse_offset(&text));
    offset.map_or(at, |offset| at.to_offset(offset))
}

fn parse_offset(text: &str) -> Option<UtcOffset> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let part = |digits: &str| digits.parse::<i8>().ok().map(|number| sign * number);
    UtcOffset::from_hms(part(hours)?, part(minutes)?, 0).ok()
}

fn copied(source: &Source) -> DataSet {
    let charset = Charset::of(&source.common);
    let mut dataset = DataSet::new_empty();
    for tag in NEVER_ABSENT {
        dataset.set(tag, "");
    }
    for tag in COPIED {
        // an attribute that the source has without a value says as much: entities stay equal
        if vr_of(tag) != VR::SQ && source.common.get(tag).is_some() {
            dataset.set(tag, "");
        }
        copy(&mut dataset, &source.common, tag, &charset);
    }
    state_deidentification(&mut dataset);
    if parse_offset(&text(&source.common, tags::TIMEZONE_OFFSET_FROM_UTC).unwrap_or_default()).is_some() {
        copy(&mut dataset, &source.common, tags::TIMEZONE_OFFSET_FROM_UTC, &charset);
    }
    dataset
}

/// §C.7.1.1: where the identity was removed, it must be said how; some sources do not.
fn state_deidentification(dataset: &mut DataSet) {
    let is_stated = dataset.get(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).is_some()
        || text(dataset, tags::DEIDENTIFICATION_METHOD).is_some();
    if text(dataset, tags::PATIENT_IDENTITY_REMOVED).as_deref() == Some("YES") && !is_stated {
        dataset.set(tags::DEIDENTIFICATION_METHOD, "Not stated by the source images");
    }
}

/// Copies one element, text as Unicode; an empty one, and a sequence without a usable item, is left out.
pub(crate) fn copy(to: &mut DataSet, from: &DataSet, tag: Tag, charset: &Charset) {
    match vr_of(tag) {
        VR::SQ => {
            let copies: Vec<DataSet> = items(from, tag)
                .iter()
                .map(|item| copy_of_item(item, &charset.of_item(item)))
                .filter(|item| is_usable(tag, item))
                .collect();
            if !copies.is_empty() {
                to.set_items(tag, copies);
            }
        }
        VR::US => {
            if let Some(number) = integer::<u16>(from, tag) {
                to.set_number(tag, PrimitiveValue::from(number));
            }
        }
        _ => {
            if let Some(text) = charset.text(from, tag) {
                to.set_all(tag, text.split('\\').map(str::to_owned));
            }
        }
    }
}

fn copy_of_item(item: &DataSet, charset: &Charset) -> DataSet {
    let mut copied = DataSet::new_empty();
    for element in item.iter().filter(|element| element.header().tag.group() % 2 == 0) {
        copy(&mut copied, item, element.header().tag, charset);
    }
    copied
}

/// Sources have codes without a meaning and references without a UID; they must not spoil a result.
fn is_usable(sequence: Tag, item: &DataSet) -> bool {
    match sequence {
        tags::PROCEDURE_CODE_SEQUENCE | tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE => {
            code_of(item).is_some_and(|code| !code.meaning.is_empty())
        }
        tags::REFERENCED_STUDY_SEQUENCE => {
            [tags::REFERENCED_SOP_CLASS_UID, tags::REFERENCED_SOP_INSTANCE_UID]
                .into_iter()
                .all(|tag| text(item, tag).is_some())
        }
        _ => item.iter().next().is_some(),
    }
}

/// SOP Common Module (§C.12.1) with the algorithm as contributing equipment (IHE AIR).
fn sop_common(dataset: &mut DataSet, production: &Production, place: Place<'_>, at: OffsetDateTime) {
    let profile = &production.profile.name;
    dataset.set(tags::SPECIFIC_CHARACTER_SET, "ISO_IR 192");
    dataset.set(tags::SOP_CLASS_UID, place.sop_class);
    let instance = production.identity.instance(place.role, profile, place.part);
    dataset.set(tags::SOP_INSTANCE_UID, instance.as_str());
    dataset.set(tags::INSTANCE_CREATION_DATE, &date(at));
    dataset.set(tags::INSTANCE_CREATION_TIME, &time_of_day(at));
    dataset.set_items(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![contributing_equipment(production, at)]);
}

fn contributing_equipment(production: &Production, at: OffsetDateTime) -> DataSet {
    let Algorithm { name, version, manufacturer, digest, .. } = &production.algorithm;
    DataSet::new_empty()
        .with_code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &PROCESSING_EQUIPMENT.code())
        .with(tags::MANUFACTURER, truncated(manufacturer, 64))
        .with(tags::MANUFACTURER_MODEL_NAME, truncated(name, 64))
        .with(tags::SOFTWARE_VERSIONS, truncated(version, 64))
        .with(tags::DEVICE_UID, production.identity.device(digest).as_str())
        .with(tags::CONTRIBUTION_DATE_TIME, &date_time(at))
        .with(tags::CONTRIBUTION_DESCRIPTION, "Analysis of the images")
}

fn series(
    dataset: &mut DataSet,
    production: &Production,
    source: &Source,
    place: Place<'_>,
    at: OffsetDateTime,
) {
    let charset = Charset::of(&source.common);
    let series = production.identity.series(place.role, &production.profile.name, place.part);
    dataset.set(tags::MODALITY, place.modality);
    dataset.set(tags::SERIES_INSTANCE_UID, series.as_str());
    dataset.set(tags::SERIES_NUMBER, &series_number(source, place.role).to_string());
    dataset.set(tags::SERIES_DATE, &date(at));
    dataset.set(tags::SERIES_TIME, &time_of_day(at));
    dataset.set(tags::SERIES_DESCRIPTION, &series_description(production, place.title));
    dataset.set(tags::CONTENT_DATE, &date(at));
    dataset.set(tags::CONTENT_TIME, &time_of_day(at));
    dataset.set(tags::INSTANCE_NUMBER, "1");
    copy(dataset, &source.common, tags::BODY_PART_EXAMINED, &charset);
}

/// Laterality (0020,0060), Type 2C: as the source says; empty where the source leaves open what part of the body it
/// shows, and so whether that is one of a pair.
pub(crate) fn laterality(dataset: &mut DataSet, source: &Source) {
    let is_said = |tag| {
        source
            .common
            .get(tag)
            .and_then(|element| element.to_str().ok())
            .is_some_and(|text| !text.trim().is_empty())
    };
    if is_said(tags::LATERALITY) {
        copy(dataset, &source.common, tags::LATERALITY, &Charset::of(&source.common));
    } else if !is_said(tags::BODY_PART_EXAMINED) {
        dataset.set(tags::LATERALITY, "");
    }
}

/// Results follow their source: series 5 has its segmentation as 501.
fn series_number(source: &Source, role: Role) -> i32 {
    const WITHOUT_SOURCE: i32 = 9000;
    integer::<i32>(&source.common, tags::SERIES_NUMBER)
        .filter(|number| *number >= 0)
        .and_then(|number| number.checked_mul(100)?.checked_add(role.series_offset()))
        .unwrap_or(WITHOUT_SOURCE + role.series_offset())
}

pub(crate) fn series_description(production: &Production, title: &str) -> String {
    let description = format!("{} {title}", production.algorithm.name);
    truncated(&announced(production, &description), 64).trim_end().to_owned()
}

/// `text`, after the notice when the model is for demonstration.
pub(crate) fn announced(production: &Production, text: &str) -> String {
    match production.intended_use {
        IntendedUse::Stated => text.to_owned(),
        IntendedUse::Demonstration => format!("{DEMONSTRATION_NOTICE}: {text}"),
    }
}

/// General and Enhanced General Equipment Modules (§C.7.5): the system that wrote the object.
fn equipment(dataset: &mut DataSet, production: &Production) {
    dataset.set(tags::MANUFACTURER, MANUFACTURER);
    dataset.set(tags::MANUFACTURER_MODEL_NAME, truncated(&production.algorithm.id, 64));
    dataset.set(tags::DEVICE_SERIAL_NUMBER, &production.identity.installation.to_string());
    let system = concat!("Overread ", env!("CARGO_PKG_VERSION"));
    dataset.set_all(tags::SOFTWARE_VERSIONS, [truncated(&production.algorithm.version, 64), system]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_offset(text: &str, expected: Option<(i8, i8)>) {
        let expected =
            expected.map(|(hours, minutes)| UtcOffset::from_hms(hours, minutes, 0).expect("in range"));
        assert_eq!(parse_offset(text), expected, "{text:?}");
    }

    #[test]
    fn time_zones_are_signed_hours_and_minutes() {
        check_offset("+0900", Some((9, 0)));
        check_offset("-0330", Some((-3, -30)));
        check_offset("0900", None);
        check_offset("+9", None);
        check_offset("+9999", None);
        check_offset("+09é", None);
    }
}
