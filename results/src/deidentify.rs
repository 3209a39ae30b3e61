//! Takes from an instance what names a person, for sets of examples that leave the house.
//!
//! PS3.15 Annex E, Basic Application Level Confidentiality Profile, without options, and stricter than its
//! table: what is not known to be needed for reading images is left out. Kept are numbers, coded values and
//! the few words that say how an image was made; dates, times, free text, names, private elements, overlays
//! and everything about patient, procedure and staff go. UIDs are replaced, the same one always by the same.
//! Pixels are not looked at: an image that may have a name burned into it is refused.

use dicom_core::{
    PrimitiveValue, Tag, VR,
    header::{HasLength, Header},
    value::{DataSetSequence, Value},
};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, mem::InMemElement, meta::FileMetaTableBuilder};
use hmac::{Hmac, Mac};
use imaging::Code;
use sha2::Sha256;

use crate::dataset::{DataSet, Elements};

/// What a set of examples calls the people and things in it. Nobody without the secret can tell who is who.
#[derive(Clone)]
pub struct Pseudonyms(Vec<u8>);

impl Pseudonyms {
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Another name for something of that kind: the same for the same.
    #[must_use]
    pub fn of(&self, kind: &str, name: &str) -> String {
        self.digest(kind, name)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Another UID (PS3.5 Annex B.2); those that the standard gives out stay.
    #[must_use]
    pub fn uid(&self, uid: &str) -> String {
        let uid = uid.trim_end_matches(['\0', ' ']);
        if uid.is_empty() || uid.starts_with("1.2.840.10008.") {
            return uid.to_owned();
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.digest("uid", uid)[..16]);
        format!("2.25.{}", uuid::Builder::from_custom_bytes(bytes).into_uuid().as_u128())
    }

    fn digest(&self, kind: &str, name: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pseudonyms(***)")
    }
}

/// An instance that cannot leave the house.
#[derive(Debug, thiserror::Error)]
pub enum NotDeidentified {
    #[error("a name may be burned into its pixels: Burned In Annotation does not say NO")]
    BurnedIn,
    #[error("it is no whole instance")]
    Meta(#[source] Box<dicom_object::meta::Error>),
    #[error("it cannot be written")]
    Write(#[source] Box<dicom_object::WriteError>),
}

/// The profile, as files and manifests name it.
pub const DEIDENTIFICATION_METHOD: &str = "PS3.15 Basic Profile, only listed elements kept";

/// Part 10 bytes without the person.
///
/// # Errors
/// A name may stand in the pixels, or the instance is not whole.
pub fn deidentify(
    instance: &DefaultDicomObject,
    pseudonyms: &Pseudonyms,
) -> Result<Vec<u8>, NotDeidentified> {
    if may_show_a_name(instance) {
        return Err(NotDeidentified::BurnedIn);
    }
    let mut cleaned = clean(instance, pseudonyms);
    let patient = text(instance, tags::PATIENT_ID);
    let issuer = text(instance, tags::ISSUER_OF_PATIENT_ID);
    let name = pseudonyms.of("patient", &format!("{issuer}\\{patient}"));
    cleaned.set(tags::PATIENT_NAME, &name);
    cleaned.set(tags::PATIENT_ID, &name);
    for tag in EMPTIED {
        cleaned.set(*tag, "");
    }
    for (tag, dummy) in DUMMIES {
        if instance.get(*tag).is_some() {
            cleaned.set(*tag, dummy);
        }
    }
    cleaned.set(tags::PATIENT_IDENTITY_REMOVED, "YES");
    cleaned.set(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, "REMOVED");
    cleaned.set(tags::DEIDENTIFICATION_METHOD, DEIDENTIFICATION_METHOD);
    let profile = Code::new("113100", "DCM", "Basic Application Confidentiality Profile");
    cleaned.set_code(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, &profile);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(instance.meta().transfer_syntax())
        .media_storage_sop_class_uid(instance.meta().media_storage_sop_class_uid())
        .media_storage_sop_instance_uid(pseudonyms.uid(instance.meta().media_storage_sop_instance_uid()))
        .build()
        .map_err(|error| NotDeidentified::Meta(Box::new(error)))?;
    let mut bytes = Vec::new();
    cleaned
        .with_exact_meta(meta)
        .write_all(&mut bytes)
        .map_err(|error| NotDeidentified::Write(Box::new(error)))?;
    Ok(bytes)
}

/// Type 2 elements of patient and study.
const EMPTIED: &[Tag] = &[
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_ID,
];

/// Elements that some objects must have, and that say when something was.
const DUMMIES: &[(Tag, &str)] = &[(tags::CONTENT_DATE, "19000101"), (tags::CONTENT_TIME, "000000")];

/// Groups of the patient, the trial, where a camera stood and whose it is, the request, a stream's source, the
/// visit and the procedure, documents, hanging protocols, work items, approvals, signatures and overlays.
fn is_about_people(tag: Tag) -> bool {
    let Tag(group, _) = tag;
    let groups = [
        0x0010, 0x0012, 0x0016, 0x0032, 0x0034, 0x0038, 0x0040, 0x0042, 0x0072, 0x0074, 0x0082, 0x0400,
        0xfffa, 0xfffc,
    ];
    groups.contains(&group) || (0x4000..=0x60ff).contains(&group) || REMOVED_WHOLE.contains(&tag)
}

/// PS3.15 Table E.1-1: these go with all that is in them. Their items say with codes, UIDs and small pictures
/// who somebody is and where, or which device it was; elsewhere the same elements say how an image was made.
const REMOVED_WHOLE: &[Tag] = &[
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::INSTITUTION_CODE_SEQUENCE,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::INSTITUTIONAL_DEPARTMENT_TYPE_CODE_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD_IDENTIFICATION_SEQUENCE,
    tags::PERFORMING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::PHYSICIANS_READING_STUDY_IDENTIFICATION_SEQUENCE,
    tags::OPERATOR_IDENTIFICATION_SEQUENCE,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
    tags::GRAPHIC_ANNOTATION_SEQUENCE,
    tags::CONTENT_CREATOR_IDENTIFICATION_CODE_SEQUENCE,
    tags::ICON_IMAGE_SEQUENCE,
    tags::UDI_SEQUENCE,
    tags::TRANSDUCER_IDENTIFICATION_SEQUENCE,
    MODIFYING_DEVICE_ID,
    tags::ROI_CREATOR_SEQUENCE,
    tags::ROI_INTERPRETER_SEQUENCE,
    tags::PRESCRIPTION_NOTES_SEQUENCE,
];

/// Retired, and still found in old images.
const MODIFYING_DEVICE_ID: Tag = Tag(0x0020, 0x3401);

/// Words that say how an image was made, and never whose it is.
const KEPT_WORDS: &[Tag] = &[
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::SEQUENCE_NAME,
    tags::CONVOLUTION_KERNEL,
    tags::CODE_VALUE,
    tags::CODING_SCHEME_DESIGNATOR,
    tags::CODE_MEANING,
    tags::SEGMENT_ALGORITHM_NAME,
];

fn clean(object: &InMemDicomObject, pseudonyms: &Pseudonyms) -> DataSet {
    let mut cleaned = DataSet::new_empty();
    for element in object {
        if let Some(kept) = clean_element(element, pseudonyms) {
            cleaned.put(kept);
        }
    }
    if object.get(tags::SEGMENT_LABEL).is_some() {
        // Somebody typed it, and an object without one is none.
        cleaned.set(tags::SEGMENT_LABEL, &format!("Segment {}", text(object, tags::SEGMENT_NUMBER)));
    }
    cleaned
}

fn clean_element(element: &InMemElement, pseudonyms: &Pseudonyms) -> Option<InMemElement> {
    let (tag, vr) = (element.tag(), element.vr());
    if tag.group() % 2 == 1 || is_about_people(tag) {
        return None;
    }
    match (vr, element.value()) {
        (VR::SQ, Value::Sequence(sequence)) => {
            let items: Vec<_> = sequence.items().iter().map(|item| clean(item, pseudonyms)).collect();
            Some(InMemElement::new(tag, VR::SQ, DataSetSequence::from(items)))
        }
        (VR::UI, Value::Primitive(uids)) => {
            let replaced = uids.to_multi_str().iter().map(|uid| pseudonyms.uid(uid)).collect();
            Some(InMemElement::new(tag, VR::UI, PrimitiveValue::Strs(replaced)))
        }
        (VR::LO | VR::SH, Value::Primitive(_)) => KEPT_WORDS.contains(&tag).then(|| element.clone()),
        (
            VR::CS
            | VR::DS
            | VR::IS
            | VR::US
            | VR::SS
            | VR::UL
            | VR::SL
            | VR::UV
            | VR::SV
            | VR::FL
            | VR::FD
            | VR::AT
            | VR::OB
            | VR::OW
            | VR::OL
            | VR::OF
            | VR::OD,
            _,
        ) => Some(element.clone()),
        _ => None,
    }
}

/// Made from a screen or a film, or by a machine that draws the name into the image.
fn may_show_a_name(instance: &InMemDicomObject) -> bool {
    if text(instance, tags::BURNED_IN_ANNOTATION) == "NO" {
        return false;
    }
    let is_capture = text(instance, tags::SOP_CLASS_UID).starts_with("1.2.840.10008.5.1.4.1.1.7");
    let modality = text(instance, tags::MODALITY);
    let draws = ["US", "IVUS", "ES", "OT", "XC", "GM", "DOC", "SC"].contains(&modality.as_str());
    is_capture || draws || !text(instance, tags::BURNED_IN_ANNOTATION).is_empty()
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let value =
        object.get(tag).filter(|element| !element.is_empty()).and_then(|element| element.to_str().ok());
    value.map(|value| value.trim_matches([' ', '\0']).to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn data(path: &str) -> DefaultDicomObject {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path);
        dicom_object::open_file(file).unwrap()
    }

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(*b"a secret of the tests")
    }

    fn reread(bytes: &[u8]) -> DefaultDicomObject {
        dicom_object::from_reader(std::io::Cursor::new(&bytes[128..])).unwrap()
    }

    #[test]
    fn nothing_of_the_person_the_date_or_the_place_is_left() {
        for file in
            ["syntaxes/MR_small.dcm", "syntaxes/CT_small.dcm", "mr-enhanced/siemens-xa30-t1w-enhanced.dcm"]
        {
            let mut original = data(file);
            for (tag, words) in [
                (tags::PATIENT_NAME, "Doe^Zebedee"),
                (tags::STUDY_DESCRIPTION, "head of Zebedee"),
                (tags::INSTITUTION_NAME, "Zebedee Hospital"),
                (tags::STUDY_DATE, "20240131"),
                (tags::ACQUISITION_DATE, "20240131"),
                (tags::IMAGE_COMMENTS, "Zebedee was here"),
                (tags::STATION_NAME, "Zebedee"),
            ] {
                original.set(tag, words);
            }
            let bytes = deidentify(&original, &pseudonyms()).unwrap();
            for needle in ["Zebedee", "20240131"] {
                let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
                assert!(!found, "{needle} is left in {file}");
            }
            let cleaned = reread(&bytes);
            assert_eq!(text(&cleaned, tags::PATIENT_IDENTITY_REMOVED), "YES");
            assert!(cleaned.iter().all(|element| element.tag().group() % 2 == 0), "{file}: private elements");
            for tag in [tags::ROWS, tags::COLUMNS, tags::BITS_STORED, tags::SOP_CLASS_UID, tags::MODALITY] {
                assert_eq!(text(&cleaned, tag), text(&original, tag), "{file}: {tag}");
            }
            let pixels = |object: &DefaultDicomObject| {
                object
                    .get(tags::PIXEL_DATA)
                    .and_then(|pixels| pixels.to_bytes().ok().map(|bytes| bytes.to_vec()))
            };
            assert_eq!(pixels(&cleaned), pixels(&original), "{file}");
        }
    }

    /// An element with bytes that say the name.
    fn named(tag: Tag, vr: VR) -> InMemElement {
        InMemElement::new(tag, vr, PrimitiveValue::from(b"Zebedee!".to_vec()))
    }

    fn coded() -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        item.put(InMemElement::new(tags::CODE_VALUE, VR::SH, "1"));
        item.put(InMemElement::new(tags::CODE_MEANING, VR::LO, "Zebedee"));
        item
    }

    #[test]
    fn what_the_profile_removes_is_removed_at_any_depth() {
        let mut icon = InMemDicomObject::new_empty();
        icon.put(named(tags::PIXEL_DATA, VR::OW));
        let sequence = |tag: Tag, item: &InMemDicomObject| {
            InMemElement::new(tag, VR::SQ, DataSetSequence::from(vec![item.clone()]))
        };
        let mut private = InMemDicomObject::new_empty();
        private.put(InMemElement::new(Tag(0x0009, 0x0010), VR::LO, "Zebedee"));
        private.put(named(Tag(0x0009, 0x1001), VR::OB));
        private.put(named(Tag(0x6000, 0x3000), VR::OW));
        private.put(sequence(tags::ICON_IMAGE_SEQUENCE, &icon));
        let gone = [
            sequence(tags::ICON_IMAGE_SEQUENCE, &icon),
            named(Tag(0x6002, 0x3000), VR::OW),
            named(Tag(0x5002, 0x3000), VR::OW),
            sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, &coded()),
            sequence(tags::ORIGINAL_ATTRIBUTES_SEQUENCE, &coded()),
            sequence(tags::ENCRYPTED_ATTRIBUTES_SEQUENCE, &icon),
            sequence(tags::DIGITAL_SIGNATURES_SEQUENCE, &icon),
            sequence(tags::REFERENCED_PATIENT_SEQUENCE, &coded()),
            sequence(tags::INSTITUTION_CODE_SEQUENCE, &coded()),
            sequence(tags::OPERATOR_IDENTIFICATION_SEQUENCE, &coded()),
            sequence(tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE, &coded()),
            sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, &coded()),
            sequence(tags::CONTENT_CREATOR_IDENTIFICATION_CODE_SEQUENCE, &coded()),
            sequence(tags::UDI_SEQUENCE, &coded()),
            sequence(tags::ROI_INTERPRETER_SEQUENCE, &coded()),
            named(MODIFYING_DEVICE_ID, VR::CS),
            named(tags::FLOW_IDENTIFIER, VR::OB),
            named(tags::GPS_VERSION_ID, VR::OB),
            named(Tag(0x0011, 0x1001), VR::UN),
            sequence(Tag(0x0011, 0x1002), &coded()),
        ];
        let mut original = data("syntaxes/MR_small.dcm");
        for element in &gone {
            original.put(element.clone());
        }
        // Kept for its codes; what is removed elsewhere is removed in here as well.
        let mut region = coded();
        region.put(InMemElement::new(tags::CODE_MEANING, VR::LO, "Brain"));
        for element in private.iter().chain(&gone) {
            region.put(element.clone());
        }
        original.put(sequence(tags::ANATOMIC_REGION_SEQUENCE, &region));
        let bytes = deidentify(&original, &pseudonyms()).unwrap();
        let found = bytes.windows(7).any(|window| window == b"Zebedee");
        let cleaned = reread(&bytes);
        for element in &gone {
            assert!(cleaned.get(element.tag()).is_none(), "{} is left", element.tag());
        }
        assert!(!found, "the name is left in a kept sequence");
        let region = &cleaned.element(tags::ANATOMIC_REGION_SEQUENCE).unwrap().items().unwrap()[0];
        assert_eq!(text(region, tags::CODE_MEANING), "Brain");
        assert_eq!(text(&cleaned, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED), "REMOVED");
    }

    #[test]
    fn a_uid_becomes_the_same_uid_wherever_it_stands_and_another_with_another_secret() {
        let original = data("syntaxes/MR_small.dcm");
        let cleaned = reread(&deidentify(&original, &pseudonyms()).unwrap());
        for tag in [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID] {
            let expected = pseudonyms().uid(&text(&original, tag));
            assert_eq!(text(&cleaned, tag), expected);
            assert!(expected.starts_with("2.25.") && expected.len() <= 64);
            assert_ne!(expected, Pseudonyms::new(*b"another secret").uid(&text(&original, tag)));
        }
        assert_eq!(cleaned.meta().media_storage_sop_instance_uid(), text(&cleaned, tags::SOP_INSTANCE_UID));
        assert_eq!(pseudonyms().uid("1.2.840.10008.1.2.1"), "1.2.840.10008.1.2.1");
    }

    #[test]
    fn an_image_that_may_show_a_name_stays() {
        let mut image = data("syntaxes/MR_small.dcm");
        image.set(tags::MODALITY, "US");
        assert!(matches!(deidentify(&image, &pseudonyms()), Err(NotDeidentified::BurnedIn)));
        image.set(tags::BURNED_IN_ANNOTATION, "NO");
        assert!(deidentify(&image, &pseudonyms()).is_ok());
        image.set(tags::MODALITY, "MR");
        image.set(tags::BURNED_IN_ANNOTATION, "YES");
        assert!(matches!(deidentify(&image, &pseudonyms()), Err(NotDeidentified::BurnedIn)));
    }
}
