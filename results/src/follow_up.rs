//! What is written after a review: a new document each time, never a changed one.
//!
//! Accepting makes a verified copy of the report. Rejecting makes a key object note, which archives
//! with IOCM take as "hide these", and a report that says who, when and why. Correcting makes a report
//! with the human's answer in place of the machine's. All of them name the first report as their
//! predecessor; what they say about patient, study and images comes from that report.

mod note;
mod report;

use dicom_dictionary_std::tags;
use imaging::Code;
use time::OffsetDateTime;

use crate::{
    EncodeError, Encoded, Identity, Reference, Role,
    concepts::{
        Concept, OBSERVER_TYPE, PERSON, PERSON_OBSERVER_NAME, PERSON_OBSERVER_ORGANIZATION,
        REJECTED_FOR_QUALITY, REJECTED_FOR_SAFETY,
    },
    context::local_time,
    dataset::{DataSet, Elements, date, integer, text, time_of_day, truncated},
    report::item::{self, Relation::HasObservationContext},
    validate,
};

/// The report that was reviewed, and the review.
#[derive(Debug, Clone, Copy)]
pub struct FollowUp<'a> {
    /// Identity of the job that made the report.
    pub identity: &'a Identity,
    /// Name of the profile for which the report was written.
    pub profile: &'a str,
    /// The report, as it was sent.
    pub report: &'a [u8],
    pub review: &'a Review,
}

/// A doctor's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Tells apart several reviews of one result; part of the UIDs.
    pub id: String,
    pub at: OffsetDateTime,
    pub observer: Observer,
    /// In the doctor's own words.
    pub comment: Option<String>,
}

/// Who answers for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// A person name as DICOM writes it: `Family^Given`.
    pub name: String,
    pub organization: String,
    pub identification: Option<Code>,
}

/// Why a result is rejected, as IOCM titles its notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionReason {
    Quality,
    PatientSafety,
}

impl RejectionReason {
    fn concept(self) -> Concept {
        match self {
            Self::Quality => REJECTED_FOR_QUALITY,
            Self::PatientSafety => REJECTED_FOR_SAFETY,
        }
    }
}

/// The two documents of a rejection.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub note: Encoded,
    pub report: Encoded,
}

/// What the doctor says instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// The answer to a classifier's question.
    Class { question: Code, class: Code },
    /// A segmentation made or mended by a person; it takes the place of the machine's.
    Segmentation(Reference),
}

/// The report again, verified by the review's doctor.
///
/// # Errors
/// When the report cannot be read or the new document breaks a rule.
pub fn verified_report(follow_up: &FollowUp<'_>) -> Result<Encoded, EncodeError> {
    let first = follow_up.first_report()?;
    let mut document = report::successor(&first, follow_up, Role::VerifiedReport, "Verified")?;
    report::add_observer(&mut document, &follow_up.review.observer);
    report::add_comment(&mut document, follow_up.review.comment.as_deref());
    finish(Role::VerifiedReport, &document)
}

/// A key object note over `objects` (segmentation, report, heatmap) and a report with the reason.
///
/// # Errors
/// As [`verified_report`].
pub fn rejection(
    follow_up: &FollowUp<'_>,
    reason: RejectionReason,
    objects: &[Reference],
) -> Result<Rejection, EncodeError> {
    let first = follow_up.first_report()?;
    let review = follow_up.review;
    let mut document = report::successor(&first, follow_up, Role::RejectionReport, "Rejected")?;
    report::keep_rejection(&mut document, reason.concept(), review);
    Ok(Rejection {
        note: rejection_note(follow_up, reason, objects)?,
        report: finish(Role::RejectionReport, &document)?,
    })
}

/// The key object note of a rejection alone: for objects that something else replaces.
///
/// # Errors
/// As [`verified_report`].
pub fn rejection_note(
    follow_up: &FollowUp<'_>,
    reason: RejectionReason,
    objects: &[Reference],
) -> Result<Encoded, EncodeError> {
    let comment = follow_up.review.comment.as_deref();
    follow_up.note(Role::RejectionNote, reason.concept(), comment, objects)
}

/// A key object note over the documents of an earlier review that its doctor, or another, takes back.
///
/// # Errors
/// As [`verified_report`].
pub fn withdrawal_note(follow_up: &FollowUp<'_>, objects: &[Reference]) -> Result<Encoded, EncodeError> {
    let description = match &follow_up.review.comment {
        Some(comment) => format!("Review withdrawn: {comment}"),
        None => "Review withdrawn".to_owned(),
    };
    follow_up.note(Role::WithdrawalNote, REJECTED_FOR_QUALITY, Some(&description), objects)
}

/// The report with the human's answer in place of the machine's, verified by the review's doctor.
///
/// # Errors
/// As [`verified_report`].
pub fn corrected_report(follow_up: &FollowUp<'_>, correction: &Correction) -> Result<Encoded, EncodeError> {
    let first = follow_up.first_report()?;
    let mut document = report::successor(&first, follow_up, Role::CorrectedReport, "Corrected")?;
    report::add_observer(&mut document, &follow_up.review.observer);
    match correction {
        Correction::Class { question, class } => report::replace_class(&mut document, question, class),
        Correction::Segmentation(reference) => report::replace_segmentation(&mut document, reference),
    }
    report::add_comment(&mut document, follow_up.review.comment.as_deref());
    finish(Role::CorrectedReport, &document)
}

/// What a superseded result was and what has replaced it.
#[derive(Debug, Clone, Copy)]
pub struct Superseded<'a> {
    /// Identity of the job that made the old result.
    pub identity: &'a Identity,
    pub profile: &'a str,
    /// The old report, as it was sent.
    pub report: &'a [u8],
    /// The old objects.
    pub objects: &'a [Reference],
    /// The new report, which names the old one as its predecessor.
    pub successor: &'a Reference,
    /// The time of the new job.
    pub at: OffsetDateTime,
}

/// A key object note over the objects of a result that a newer one has replaced.
///
/// # Errors
/// As [`verified_report`].
pub fn superseding_note(superseded: &Superseded<'_>) -> Result<Encoded, EncodeError> {
    let first = read(superseded.report)?;
    let successor = superseded.successor.sop_instance.as_str();
    let note = note::Note {
        role: Role::SupersedingNote,
        part: successor,
        at: superseded.at,
        title: REJECTED_FOR_QUALITY,
        observer: None,
        description: Some(&format!("Superseded by report {successor}")),
        objects: superseded.objects,
    };
    note.write(&first, superseded.identity, superseded.profile)
}

impl FollowUp<'_> {
    fn first_report(&self) -> Result<DataSet, EncodeError> {
        read(self.report)
    }

    fn note(
        &self,
        role: Role,
        title: Concept,
        description: Option<&str>,
        objects: &[Reference],
    ) -> Result<Encoded, EncodeError> {
        let review = self.review;
        let note = note::Note {
            role,
            part: &review.id,
            at: review.at,
            title,
            observer: Some(&review.observer),
            description,
            objects,
        };
        note.write(&self.first_report()?, self.identity, self.profile)
    }
}

fn read(report: &[u8]) -> Result<DataSet, EncodeError> {
    dicom_object::from_reader(report)
        .map(dicom_object::FileDicomObject::into_inner)
        .map_err(|error| EncodeError::Read(Box::new(error)))
}

fn finish(role: Role, document: &DataSet) -> Result<Encoded, EncodeError> {
    let encoded = Encoded::write(role, document)?;
    validate(&encoded.bytes, None).map_err(EncodeError::Invalid)?;
    Ok(encoded)
}

/// Identifiers, numbers and dates of a new document in a series of its own.
fn renew(
    document: &mut DataSet,
    (identity, profile): (&Identity, &str),
    (role, part): (Role, &str),
    at: OffsetDateTime,
    prefix: &str,
) {
    let at = local_time(at, document);
    document.set(tags::SOP_INSTANCE_UID, identity.instance(role, profile, part).as_str());
    document.set(tags::SERIES_INSTANCE_UID, identity.series(role, profile, part).as_str());
    document.set(tags::SERIES_NUMBER, &series_number(document, role).to_string());
    let description = text(document, tags::SERIES_DESCRIPTION).unwrap_or_default();
    document.set(tags::SERIES_DESCRIPTION, truncated(&format!("{prefix}: {description}"), 64).trim_end());
    for tag in [tags::INSTANCE_CREATION_DATE, tags::SERIES_DATE, tags::CONTENT_DATE] {
        document.set(tag, &date(at));
    }
    for tag in [tags::INSTANCE_CREATION_TIME, tags::SERIES_TIME, tags::CONTENT_TIME] {
        document.set(tag, &time_of_day(at));
    }
}

/// Beside the first report: 302 has its verified copy as 306.
fn series_number(first: &DataSet, role: Role) -> i32 {
    let hundreds = integer::<i32>(first, tags::SERIES_NUMBER).map_or(9000, |number| number - number % 100);
    hundreds.saturating_add(role.series_offset())
}

/// TID 1002 and 1003.
fn person_observer(observer: &Observer) -> Vec<DataSet> {
    vec![
        item::code(HasObservationContext, &OBSERVER_TYPE, &PERSON),
        item::person_name(HasObservationContext, PERSON_OBSERVER_NAME, &observer.name),
        item::text(HasObservationContext, PERSON_OBSERVER_ORGANIZATION, &observer.organization),
    ]
}
