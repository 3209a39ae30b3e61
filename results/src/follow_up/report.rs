//! Reports that follow a report: its content tree with what the review changes.

use dicom_dictionary_std::tags;
use imaging::Code;

use super::{FollowUp, Observer, Review, person_observer, renew};
use crate::{
    EncodeError, Reference, Role,
    concepts::{
        COMMENT, Concept, FINDING, IMAGE_LIBRARY, IMAGE_LIBRARY_GROUP, IMAGING_MEASUREMENTS, OBSERVER_TYPE,
        PROBABILITY, QUALITATIVE_EVALUATIONS, REFERENCED_SEGMENT,
    },
    context::local_time,
    dataset::{DataSet, Elements, code_item, code_of, date_time, first_item, items, text},
    report::{
        document::hierarchy,
        item::{self, Part, Relation::Contains, container},
    },
};

/// A copy of the first report that is a new, verified document with the first as its predecessor.
pub(super) fn successor(
    first: &DataSet,
    follow_up: &FollowUp<'_>,
    role: Role,
    prefix: &str,
) -> Result<DataSet, EncodeError> {
    let review = follow_up.review;
    let predecessor = Reference::to(first)?;
    let mut document = first.clone();
    renew(&mut document, (follow_up.identity, follow_up.profile), (role, &review.id), review.at, prefix);
    document.set_items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, hierarchy(&[predecessor]));
    verify(&mut document, review);
    Ok(document)
}

/// PS3.3 §C.17.2: the doctor answers for the document.
fn verify(document: &mut DataSet, review: &Review) {
    let Observer { name, organization, identification } = &review.observer;
    let at = local_time(review.at, document);
    let mut observer = DataSet::new_empty()
        .with(tags::VERIFYING_OBSERVER_NAME, name)
        .with(tags::VERIFYING_ORGANIZATION, organization)
        .with(tags::VERIFICATION_DATE_TIME, &date_time(at));
    let identification = identification.iter().map(code_item).collect();
    observer.set_items(tags::VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE, identification);
    document.set(tags::VERIFICATION_FLAG, "VERIFIED");
    document.set(tags::PRELIMINARY_FLAG, "FINAL");
    document.set(tags::COMPLETION_FLAG, "COMPLETE");
    document.set_items(tags::VERIFYING_OBSERVER_SEQUENCE, vec![observer]);
}

/// The doctor as one more observer: after the software, or after the language.
pub(super) fn add_observer(document: &mut DataSet, observer: &Observer) {
    let mut content = content_of(document);
    let after = content.iter().rposition(is_context).map_or(1, |last| last + 1).min(content.len());
    content.splice(after..after, person_observer(observer));
    set_content(document, content);
}

/// The doctor's words, among what is said about the report as a whole.
pub(super) fn add_comment(document: &mut DataSet, comment: Option<&str>) {
    if let Some(comment) = comment {
        add_evaluations(document, vec![item::text(Contains, COMMENT, comment)]);
    }
}

/// Who rejected and why; nothing of what the machine measured.
pub(super) fn keep_rejection(document: &mut DataSet, reason: Concept, review: &Review) {
    let mut content = content_of(document);
    content.retain(|child| {
        !is_context(child) && !is(child, IMAGING_MEASUREMENTS) && !is(child, QUALITATIVE_EVALUATIONS)
    });
    set_content(document, content);
    add_observer(document, &review.observer);
    add_evaluations(document, vec![item::code(Contains, &FINDING, &reason)]);
    add_comment(document, review.comment.as_deref());
}

/// The human's class; the groups that answer the same question go.
pub(super) fn replace_class(document: &mut DataSet, question: &Code, class: &Code) {
    retain_groups(document, |group| !answers(group, question));
    add_evaluations(document, vec![item::code(Contains, question, class)]);
}

/// Whether a group is a classifier's answer. Groups of segments may have a child with the same
/// concept name, such as "Finding", but no probability.
fn answers(group: &DataSet, question: &Code) -> bool {
    let children = items(group, tags::CONTENT_SEQUENCE);
    let is_answer = |name: Code| name.value == question.value && name.scheme == question.scheme;
    children.iter().any(|child| is(child, PROBABILITY)) && children.iter().filter_map(name_of).any(is_answer)
}

/// The human's segmentation; the groups that measure the machine's segments go.
pub(super) fn replace_segmentation(document: &mut DataSet, reference: &Reference) {
    retain_groups(document, |group| {
        !items(group, tags::CONTENT_SEQUENCE).iter().any(|child| is(child, REFERENCED_SEGMENT))
    });
    let mut evidence = items(document, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE).to_vec();
    evidence.extend(hierarchy(std::slice::from_ref(reference)));
    document.set_items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, merged(evidence));
    let mut content = content_of(document);
    for library in content.iter_mut().filter(|child| is(child, IMAGE_LIBRARY)) {
        let group = container(
            Contains,
            IMAGE_LIBRARY_GROUP,
            vec![item::image(Contains, None, reference, Part::Whole)],
        );
        let mut groups = items(library, tags::CONTENT_SEQUENCE).to_vec();
        groups.push(group);
        library.set_items(tags::CONTENT_SEQUENCE, groups);
    }
    set_content(document, content);
    let text = "The segmentation was replaced by one that a person made or mended";
    add_evaluations(document, vec![item::text(Contains, COMMENT, text)]);
}

/// Evidence of one study in one item.
fn merged(evidence: Vec<DataSet>) -> Vec<DataSet> {
    let mut studies: Vec<DataSet> = Vec::new();
    for study in evidence {
        let uid = text(&study, tags::STUDY_INSTANCE_UID);
        match studies.iter_mut().find(|known| text(known, tags::STUDY_INSTANCE_UID) == uid) {
            Some(known) => {
                let mut series = items(known, tags::REFERENCED_SERIES_SEQUENCE).to_vec();
                series.extend_from_slice(items(&study, tags::REFERENCED_SERIES_SEQUENCE));
                known.set_items(tags::REFERENCED_SERIES_SEQUENCE, series);
            }
            None => studies.push(study),
        }
    }
    studies
}

/// Keeps the measurement groups that `keep` says; their container goes with the last of them.
fn retain_groups(document: &mut DataSet, keep: impl Fn(&DataSet) -> bool) {
    let mut content = content_of(document);
    for measurements in content.iter_mut().filter(|child| is(child, IMAGING_MEASUREMENTS)) {
        let groups =
            items(measurements, tags::CONTENT_SEQUENCE).iter().filter(|group| keep(group)).cloned().collect();
        measurements.set_items(tags::CONTENT_SEQUENCE, groups);
    }
    content
        .retain(|child| !is(child, IMAGING_MEASUREMENTS) || !items(child, tags::CONTENT_SEQUENCE).is_empty());
    set_content(document, content);
}

fn add_evaluations(document: &mut DataSet, evaluations: Vec<DataSet>) {
    let mut content = content_of(document);
    match content.iter_mut().find(|child| is(child, QUALITATIVE_EVALUATIONS)) {
        Some(known) => {
            let mut all = items(known, tags::CONTENT_SEQUENCE).to_vec();
            all.extend(evaluations);
            known.set_items(tags::CONTENT_SEQUENCE, all);
        }
        None => content.push(container(Contains, QUALITATIVE_EVALUATIONS, evaluations)),
    }
    set_content(document, content);
}

fn content_of(document: &DataSet) -> Vec<DataSet> {
    items(document, tags::CONTENT_SEQUENCE).to_vec()
}

fn set_content(document: &mut DataSet, content: Vec<DataSet>) {
    document.set_items(tags::CONTENT_SEQUENCE, content);
}

fn is_context(item: &DataSet) -> bool {
    text(item, tags::RELATIONSHIP_TYPE).as_deref() == Some("HAS OBS CONTEXT") || is(item, OBSERVER_TYPE)
}

fn name_of(item: &DataSet) -> Option<Code> {
    code_of(first_item(item, tags::CONCEPT_NAME_CODE_SEQUENCE)?)
}

fn is(item: &DataSet, concept: Concept) -> bool {
    name_of(item).is_some_and(|name| concept.is(&name))
}
