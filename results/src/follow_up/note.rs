//! Key object notes (PS3.3 §A.35.4, TID 2010) that archives with IOCM take as "hide these".

use dicom_dictionary_std::{tags, uids};
use time::OffsetDateTime;

use super::{Observer, finish, person_observer, renew};
use crate::{
    EncodeError, Encoded, Identity, Reference, Role,
    concepts::{Concept, KEY_OBJECT_DESCRIPTION},
    context,
    dataset::{DataSet, Elements},
    report::{
        document::hierarchy,
        item::{self, Part, Relation::Contains, template_item},
    },
};

pub(super) struct Note<'a> {
    pub(super) role: Role,
    pub(super) part: &'a str,
    pub(super) at: OffsetDateTime,
    pub(super) title: Concept,
    pub(super) observer: Option<&'a Observer>,
    pub(super) description: Option<&'a str>,
    pub(super) objects: &'a [Reference],
}

impl Note<'_> {
    /// `first` is the report of the result: patient, study and equipment are taken from it.
    pub(super) fn write(
        &self,
        first: &DataSet,
        identity: &Identity,
        profile: &str,
    ) -> Result<Encoded, EncodeError> {
        if self.objects.is_empty() {
            return Err(EncodeError::NothingToReject);
        }
        let mut note = first.clone();
        note.retain(|element| context::is_of_every_object(element.header().tag));
        renew(&mut note, (identity, profile), (self.role, self.part), self.at, self.title.2);
        note.set(tags::SOP_CLASS_UID, uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE);
        note.set(tags::MODALITY, "KO");
        note.set_items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
        note.set_items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, hierarchy(self.objects));
        note.set(tags::VALUE_TYPE, "CONTAINER");
        note.set_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &self.title.code());
        note.set(tags::CONTINUITY_OF_CONTENT, "SEPARATE");
        note.set_items(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template_item("2010")]);
        note.set_items(tags::CONTENT_SEQUENCE, self.content());
        finish(self.role, &note)
    }

    fn content(&self) -> Vec<DataSet> {
        let mut content: Vec<DataSet> =
            self.observer.iter().flat_map(|observer| person_observer(observer)).collect();
        if let Some(description) = self.description {
            content.push(item::text(Contains, KEY_OBJECT_DESCRIPTION, description));
        }
        content.extend(self.objects.iter().map(reference_item));
        content
    }
}

fn reference_item(object: &Reference) -> DataSet {
    match object.sop_class.as_str() {
        uids::COMPREHENSIVE3_DSR_STORAGE
        | uids::COMPREHENSIVE_SR_STORAGE
        | uids::ENHANCED_SR_STORAGE
        | uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE => item::composite(Contains, object),
        _ => item::image(Contains, None, object, Part::Whole),
    }
}
