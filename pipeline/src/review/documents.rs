//! The documents of a review, made from the report of its result.
//!
//! A result without a report (`writes.sr = false`) has none to verify, reject or correct:
//! its review is a row alone.

use imaging::Code;
use ledger::{Artifact, NewReview, RejectionReason, ResultRow};
use results::{
    Correction, EncodeError, Encoded, FollowUp, Identity, Observer, Reference, Review, corrected_report,
    rejection, rejection_note, verified_report, withdrawal_note,
};
use spool::InstanceKey;
use time::OffsetDateTime;

use super::{Desk, ReviewDecision, ReviewError};
use crate::encode::{self, Object};

pub(super) const CORRECTED_SEGMENTATION: &str = "corrected-seg";
const VERIFIED_REPORT: &str = "verified-sr";
const CORRECTED_REPORT: &str = "corrected-sr";
const REJECTION_NOTE: &str = "rejection-note";
const REJECTION_REPORT: &str = "rejection-sr";
const WITHDRAWAL_NOTE: &str = "withdrawal-note";

/// PS3.5 §6.2: a component group of PN and an LO have 64 characters.
const NAME_LENGTH_MAX: usize = 64;

/// Everything that the documents are made from.
pub(super) struct Documents {
    identity: Identity,
    review: Review,
    number: u32,
    decision: ReviewDecision,
    reports: Vec<Report>,
}

/// The report of a result for one profile, and what it belongs to.
struct Report {
    profile: String,
    bytes: Vec<u8>,
    /// All objects of the result, the report among them.
    objects: Vec<Reference>,
    segmentations: Vec<Reference>,
    /// What the last review made.
    of_last_review: Vec<Reference>,
}

/// Whether a document only takes something back.
pub(super) fn is_retraction(role: &str) -> bool {
    [REJECTION_NOTE, REJECTION_REPORT, WITHDRAWAL_NOTE].contains(&role)
}

/// What the newest review made; parts are numbers of reviews. A correction that two doctors agreed on lists the
/// segmentation that the first of them had brought.
pub(super) fn of_last_review(artifacts: &[Artifact]) -> Vec<&Artifact> {
    let reviewed = || artifacts.iter().filter(|artifact| artifact.review.is_some());
    let last = reviewed().map(|artifact| artifact.part).max();
    let mut made: Vec<&Artifact> = reviewed().filter(|artifact| Some(artifact.part) == last).collect();
    let has = |role: &str| made.iter().any(|artifact| artifact.role == role);
    if has(CORRECTED_REPORT) && !has(CORRECTED_SEGMENTATION) {
        let brought = reviewed().filter(|artifact| artifact.role == CORRECTED_SEGMENTATION);
        let before = last.and_then(|last| last.checked_sub(1));
        made.extend(brought.filter(|artifact| Some(artifact.part) == before));
    }
    made
}

impl Documents {
    pub(super) async fn about(
        desk: &Desk<'_>,
        row: &ResultRow,
        new: &NewReview,
        decision: &ReviewDecision,
        artifacts: &[Artifact],
    ) -> Result<Self, ReviewError> {
        let config = &desk.looker.config;
        let job = desk.ledger.job(row.job).await?.ok_or(ledger::Error::NoSuchJob(row.job))?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(new.at.0) * 1_000_000)
            .map_err(|_| ReviewError::Unsuitable("the clock of this machine is wrong".to_owned()))?;
        Ok(Self {
            identity: Identity { installation: config.installation, job_key: job.key },
            review: Review {
                id: new.id.to_string(),
                at: at.to_offset(config.utc_offset),
                observer: observer(new),
                comment: new.comment.clone(),
            },
            number: new.after.saturating_add(1),
            decision: decision.clone(),
            reports: reports(desk, artifacts).await?,
        })
    }

    /// Writes them on a thread of their own. `given` is the segmentation that the doctor brought.
    pub(super) async fn write(self, given: Option<Reference>) -> Result<Vec<Object>, ReviewError> {
        let written = tokio::task::spawn_blocking(move || {
            let mut objects = Vec::new();
            for report in &self.reports {
                for (role, encoded) in self.write_for(report, given.as_ref())? {
                    objects.push(Object {
                        encoded,
                        role,
                        profile: report.profile.clone(),
                        part: self.number,
                    });
                }
            }
            Ok::<_, EncodeError>(objects)
        });
        Ok(written.await??)
    }

    fn write_for(
        &self,
        report: &Report,
        given: Option<&Reference>,
    ) -> Result<Vec<(&'static str, Encoded)>, EncodeError> {
        let follow_up = FollowUp {
            identity: &self.identity,
            profile: &report.profile,
            report: &report.bytes,
            review: &self.review,
        };
        match (&self.decision, given) {
            (ReviewDecision::Accept, _) => Ok(vec![(VERIFIED_REPORT, verified_report(&follow_up)?)]),
            (ReviewDecision::Reject(reason), _) => {
                let made = rejection(&follow_up, title(*reason), &report.objects)?;
                Ok(vec![(REJECTION_NOTE, made.note), (REJECTION_REPORT, made.report)])
            }
            (ReviewDecision::CorrectClass(class), _) => corrected_class(&follow_up, class),
            (ReviewDecision::CorrectSegmentation(_), Some(given)) => {
                corrected_segmentation(&follow_up, given, &report.segmentations)
            }
            (ReviewDecision::Undo, _) if !report.of_last_review.is_empty() => {
                Ok(vec![(WITHDRAWAL_NOTE, withdrawal_note(&follow_up, &report.of_last_review)?)])
            }
            (ReviewDecision::Agree | ReviewDecision::Undo | ReviewDecision::CorrectSegmentation(_), _) => {
                Ok(Vec::new())
            }
        }
    }
}

fn corrected_class(
    follow_up: &FollowUp<'_>,
    class: &Code,
) -> Result<Vec<(&'static str, Encoded)>, EncodeError> {
    let correction = Correction::Class { question: encode::question(), class: class.clone() };
    Ok(vec![(CORRECTED_REPORT, corrected_report(follow_up, &correction)?)])
}

/// The report lists the human's segmentation; a note hides the machine's.
fn corrected_segmentation(
    follow_up: &FollowUp<'_>,
    given: &Reference,
    replaced: &[Reference],
) -> Result<Vec<(&'static str, Encoded)>, EncodeError> {
    let correction = Correction::Segmentation(given.clone());
    let mut made = vec![(CORRECTED_REPORT, corrected_report(follow_up, &correction)?)];
    if !replaced.is_empty() {
        let reason = results::RejectionReason::Quality;
        made.push((REJECTION_NOTE, rejection_note(follow_up, reason, replaced)?));
    }
    Ok(made)
}

fn title(reason: RejectionReason) -> results::RejectionReason {
    match reason {
        RejectionReason::Quality => results::RejectionReason::Quality,
        RejectionReason::PatientSafety => results::RejectionReason::PatientSafety,
    }
}

async fn reports(desk: &Desk<'_>, artifacts: &[Artifact]) -> Result<Vec<Report>, ReviewError> {
    let mut reports = Vec::new();
    for report in artifacts.iter().filter(|artifact| artifact.review.is_none() && artifact.role == "sr") {
        let of_profile = |artifact: &&Artifact| artifact.profile == report.profile;
        let own = || artifacts.iter().filter(of_profile).filter(|artifact| artifact.review.is_none());
        let last = of_last_review(artifacts);
        reports.push(Report {
            profile: report.profile.clone(),
            bytes: read(desk, report).await?,
            objects: own().map(reference).collect(),
            segmentations: own().filter(|artifact| artifact.role == "seg").map(reference).collect(),
            of_last_review: last.into_iter().filter(of_profile).map(reference).collect(),
        });
    }
    Ok(reports)
}

async fn read(desk: &Desk<'_>, artifact: &Artifact) -> Result<Vec<u8>, ReviewError> {
    let spool = desk.spool.clone();
    let key = InstanceKey {
        study: artifact.study.clone(),
        series: artifact.series.clone(),
        sop_instance: artifact.sop_instance.clone(),
    };
    Ok(tokio::task::spawn_blocking(move || spool.read(&key)).await??)
}

pub(super) fn reference(artifact: &Artifact) -> Reference {
    Reference {
        study: artifact.study.clone(),
        series: artifact.series.clone(),
        sop_class: artifact.sop_class.clone(),
        sop_instance: artifact.sop_instance.clone(),
    }
}

/// The account, never the request, says who it was. Verifying Organization may not be empty.
fn observer(new: &NewReview) -> Observer {
    let reviewer = &new.reviewer;
    let name = if reviewer.full_name.trim().is_empty() { &reviewer.login } else { &reviewer.full_name };
    let organization = text(&reviewer.organization);
    Observer {
        name: text(name),
        organization: if organization.is_empty() { "not stated".to_owned() } else { organization },
        identification: None,
    }
}

/// Without what would end a value or begin another one.
fn text(text: &str) -> String {
    let plain = text.trim().replace(|letter: char| letter.is_control() || letter == '\\', " ");
    plain.chars().take(NAME_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_value() {
        assert_eq!(text(" Kim^Min\\ji\n"), "Kim^Min ji");
        assert_eq!(text(&"길".repeat(80)).chars().count(), NAME_LENGTH_MAX);
    }
}
