//! Rules of reports and key object notes: what they refer to is listed, and viewers can place it.

use std::collections::HashSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{Violation, attributes::require};
use crate::{
    Source,
    concepts::{MEASUREMENT_GROUP, TRACKING_IDENTIFIER, TRACKING_UID},
    dataset::{DataSet, code_of, first_item, integer, items, text},
};

const REQUIRED: [Tag; 7] = [
    tags::COMPLETION_FLAG,
    tags::VERIFICATION_FLAG,
    tags::VALUE_TYPE,
    tags::CONCEPT_NAME_CODE_SEQUENCE,
    tags::CONTINUITY_OF_CONTENT,
    tags::CONTENT_TEMPLATE_SEQUENCE,
    tags::CONTENT_SEQUENCE,
];

const REQUIRED_OF_NOTES: [Tag; 6] = [
    tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
    tags::VALUE_TYPE,
    tags::CONCEPT_NAME_CODE_SEQUENCE,
    tags::CONTINUITY_OF_CONTENT,
    tags::CONTENT_TEMPLATE_SEQUENCE,
    tags::CONTENT_SEQUENCE,
];

pub(super) fn check(head: &DataSet, source: Option<&Source>, found: &mut Vec<Violation>) {
    require(head, "the report", &REQUIRED, found);
    check_verification(head, found);
    check_content(head, source, found);
}

pub(super) fn check_note(head: &DataSet, found: &mut Vec<Violation>) {
    require(head, "the note", &REQUIRED_OF_NOTES, found);
    check_content(head, None, found);
}

/// PS3.3 §C.17.2: a verified document has an observer with name, organization and time; no other has.
fn check_verification(head: &DataSet, found: &mut Vec<Violation>) {
    let flag = text(head, tags::VERIFICATION_FLAG).unwrap_or_default();
    let observers = items(head, tags::VERIFYING_OBSERVER_SEQUENCE);
    if (flag == "VERIFIED") == observers.is_empty() {
        found.push(Violation::Verification { flag, observers: observers.len() });
    }
    for observer in observers {
        let required =
            [tags::VERIFYING_OBSERVER_NAME, tags::VERIFYING_ORGANIZATION, tags::VERIFICATION_DATE_TIME];
        require(observer, "a verifying observer", &required, found);
    }
}

fn check_content(head: &DataSet, source: Option<&Source>, found: &mut Vec<Violation>) {
    let mut content = Content { evidence: evidence(head), source, found };
    for item in items(head, tags::CONTENT_SEQUENCE) {
        content.check(item);
    }
}

fn evidence(head: &DataSet) -> HashSet<String> {
    [tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, tags::PERTINENT_OTHER_EVIDENCE_SEQUENCE]
        .into_iter()
        .flat_map(|tag| items(head, tag))
        .flat_map(|study| items(study, tags::REFERENCED_SERIES_SEQUENCE))
        .flat_map(|series| items(series, tags::REFERENCED_SOP_SEQUENCE))
        .filter_map(|instance| text(instance, tags::REFERENCED_SOP_INSTANCE_UID))
        .collect()
}

struct Content<'a> {
    evidence: HashSet<String>,
    source: Option<&'a Source>,
    found: &'a mut Vec<Violation>,
}

impl Content<'_> {
    fn check(&mut self, item: &DataSet) {
        let value_type = text(item, tags::VALUE_TYPE).unwrap_or_default();
        if value_type.is_empty() {
            self.found.push(Violation::ContentItem("Value Type"));
        }
        if text(item, tags::RELATIONSHIP_TYPE).is_none() {
            self.found.push(Violation::ContentItem("Relationship Type"));
        }
        if !matches!(value_type.as_str(), "IMAGE" | "COMPOSITE") && name_of(item).is_none() {
            self.found.push(Violation::ContentItem("Concept Name Code Sequence"));
        }
        for reference in items(item, tags::REFERENCED_SOP_SEQUENCE) {
            self.check_reference(reference);
        }
        if is(item, MEASUREMENT_GROUP) {
            self.check_group(item);
        }
        for child in items(item, tags::CONTENT_SEQUENCE) {
            self.check(child);
        }
    }

    fn check_reference(&mut self, reference: &DataSet) {
        let sop_instance = text(reference, tags::REFERENCED_SOP_INSTANCE_UID).unwrap_or_default();
        if !self.evidence.contains(&sop_instance) {
            self.found.push(Violation::NotListed(sop_instance.clone()));
        }
        let frame: Option<u32> = integer(reference, tags::REFERENCED_FRAME_NUMBER);
        if let (Some(source), Some(frame)) = (self.source, frame) {
            let is_there = source.frames().iter().any(|candidate| {
                source.instance_of(candidate).sop_instance.as_str() == sop_instance
                    && candidate.frame_number == Some(frame)
            });
            if !is_there {
                self.found.push(Violation::PointOnNoFrame { sop_instance, frame });
            }
        }
    }

    /// OHIF 3.12 stops at a group without a tracking UID and at one without coordinates.
    fn check_group(&mut self, group: &DataSet) {
        let children = items(group, tags::CONTENT_SEQUENCE);
        let has = |concept| children.iter().any(|child| is(child, concept));
        if !has(TRACKING_UID) || !has(TRACKING_IDENTIFIER) {
            self.found.push(Violation::Untracked);
        }
        let is_point = |item: &DataSet| text(item, tags::VALUE_TYPE).as_deref() == Some("SCOORD");
        let is_placed = children.iter().any(|child| {
            is_point(child) || matches!(items(child, tags::CONTENT_SEQUENCE), [only] if is_point(only))
        });
        if !is_placed {
            self.found.push(Violation::Unplaced);
        }
    }
}

fn name_of(item: &DataSet) -> Option<imaging::Code> {
    code_of(first_item(item, tags::CONCEPT_NAME_CODE_SEQUENCE)?)
}

fn is(item: &DataSet, concept: crate::concepts::Concept) -> bool {
    name_of(item).is_some_and(|name| concept.is(&name))
}
