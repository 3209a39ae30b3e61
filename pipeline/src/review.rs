//! A doctor's decision about a result becomes documents that are kept and on their way.
//!
//! The documents are made and kept first; then one transaction of the ledger holds the
//! review, its objects, their deliveries and the audit row. Killed before it, nothing was
//! decided, and nobody refers to what lies in the spool; killed after it, the outbox goes
//! on. A doctor who was overtaken finds that out in the transaction, whatever he had made.

mod documents;
mod given;

use std::{collections::BTreeSet, sync::Arc};

use imaging::Code;
use inference::package::Policy;
use ledger::{
    Artifact, ArtifactId, AuditKey, DeliveryState, Ledger, NewArtifact, NewDelivery, NewReview,
    RejectionReason, ResultId, ResultRow, Review, ReviewId, ReviewObjects, ReviewState, Reviewed, Reviewer,
    Standing, Verdict, standing,
};
use serde_json::{Value, json};
use spool::{InstanceKey, Spool};
use tracing::{info, warn};

use crate::{
    config::PipelineConfig,
    destination::chain,
    form::{self, GIVEN},
    keep::{self, KeepObjectsError, KeptObjects},
    look::Looker,
    release,
};

use documents::Documents;
pub use given::GivenFile;

/// What a doctor says about a result.
#[derive(Debug, Clone)]
pub struct ReviewOrder {
    pub result: ResultId,
    /// The number of the last review that he saw; 0 when there was none.
    pub after: u32,
    pub decision: ReviewDecision,
    pub comment: Option<String>,
    pub reviewer: Reviewer,
    pub request_id: Option<String>,
}

#[derive(Debug, Clone)]
pub enum ReviewDecision {
    Accept,
    Reject(RejectionReason),
    /// The right answer of a classifier.
    CorrectClass(Code),
    /// The right segmentation.
    CorrectSegmentation(SegmentationFile),
    /// What the first doctor said.
    Agree,
    Undo,
}

/// A segmentation that a doctor brings.
#[derive(Debug, Clone)]
pub enum SegmentationFile {
    /// A DICOM SEG; it is kept as it is.
    Dicom(GivenFile),
    /// A label map on the grid of the source, with the values of the model's labels.
    Nifti(GivenFile),
    /// The one that the first doctor brought, as the ledger describes it.
    OfFirst(Value),
}

/// Why a review was not carried out. Nothing of it happened.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// What was given does not suit the result; a sentence for the doctor.
    #[error("{0}")]
    Unsuitable(String),
    #[error("an object of the result cannot be read from the spool")]
    Lost(#[from] spool::ReadError),
    #[error("cannot write the documents of the review")]
    Encode(#[from] results::EncodeError),
    #[error("cannot keep the documents of the review")]
    Keep(#[from] KeepObjectsError),
    #[error("cannot use a temporary file")]
    Temporary(#[from] std::io::Error),
    #[error("a thread ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// What a review is carried out with.
pub(crate) struct Desk<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) spool: &'a Spool,
    pub(crate) looker: &'a Arc<Looker>,
    pub(crate) key: &'a AuditKey,
}

impl ReviewOrder {
    fn review(&self, config: &PipelineConfig, model: &str) -> NewReview {
        NewReview {
            id: ReviewId::generate(),
            result: self.result,
            after: self.after,
            verdict: self.decision.verdict(),
            comment: self.comment.clone(),
            reviewer: self.reviewer.clone(),
            eyes: config.eyes_for(model),
            request_id: self.request_id.clone(),
            at: config.clock.now(),
        }
    }
}

impl ReviewDecision {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Accept => Verdict::Accept,
            Self::Reject(reason) => Verdict::Reject(*reason),
            Self::CorrectClass(class) => Verdict::Correct(json!({ "class": class })),
            Self::CorrectSegmentation(file) => Verdict::Correct(json!({ "segmentation": file.described() })),
            // Said of a result that awaits no second opinion it is as impossible as an undo of nothing.
            Self::Agree | Self::Undo => Verdict::Undo,
        }
    }

    /// What a first opinion said, for the doctor who agrees.
    fn of_first(first: &Review) -> Option<Self> {
        Some(match &first.verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Reject(reason) => Self::Reject(*reason),
            Verdict::Correct(given) if given["class"].is_null() => {
                Self::CorrectSegmentation(SegmentationFile::OfFirst(given["segmentation"].clone()))
            }
            Verdict::Correct(given) => {
                Self::CorrectClass(serde_json::from_value(given["class"].clone()).ok()?)
            }
            Verdict::Undo => return None,
        })
    }
}

impl Desk<'_> {
    pub(crate) async fn review(&self, order: &ReviewOrder) -> Result<Reviewed, ReviewError> {
        let row = self.ledger.result(order.result).await?.filter(|row| row.released_at.is_some());
        let row = row.ok_or(ledger::Error::NoSuchResult(order.result))?;
        let last = self.ledger.reviews(row.id).await?.pop();
        let order = &agreed(order, &row, last.as_ref())?;
        let new = order.review(&self.looker.config, &row.model_id);
        let made = match due(&row, last.as_ref(), &new) {
            Some(state) => self.make(&row, &new, order, state).await?,
            None => Made::default(),
        };
        let objects = ReviewObjects { artifacts: made.kept.artifacts, deliveries: made.deliveries };
        let reviewed = self.ledger.add_review(&new, &objects, self.key).await?;
        match &reviewed {
            Reviewed::Added(review) => {
                for receipt in made.kept.receipts {
                    self.spool.recorded(receipt);
                }
                info!(study.uid = %row.study, result.id = %row.id, "result {} has review {}", row.id, review.number);
                self.follow(&row).await;
            }
            _ => self.discard(made.documents).await?,
        }
        Ok(reviewed)
    }

    /// What a doctor refuses goes into no fusion. The review stands, whether or not the fusions could be asked.
    async fn follow(&self, row: &ResultRow) {
        if let Err(error) = self.looker.follow_parts(&row.study).await {
            warn!(study.uid = %row.study, error = %chain(&error), "fusions over result {} wait for the next look or start", row.id);
        }
    }

    /// Makes and keeps the documents; decides which objects leave.
    async fn make(
        &self,
        row: &ResultRow,
        new: &NewReview,
        order: &ReviewOrder,
        to: ReviewState,
    ) -> Result<Made, ReviewError> {
        let artifacts = self.ledger.artifacts(row.id).await?;
        let given = given::take(self, row, new, &order.decision).await?;
        if is_opinion(to) || (is_opinion(row.review_state) && to == ReviewState::Pending) {
            // An opinion is a row; what its doctor brought is kept, so that the other one can look at it.
            let mut kept = KeptObjects::default();
            if let Some(given) = given {
                keep::keep_given(self.spool, given, &mut kept).await?;
            }
            return Ok(Made { kept, ..Made::default() });
        }
        let of_first = of_first(&order.decision, &artifacts);
        let given_as = given.as_ref().map(|given| given.encoded.reference.clone());
        let given_as = given_as.or_else(|| of_first.map(documents::reference));
        let documents = Documents::about(self, row, new, &order.decision, &artifacts).await?;
        let written = documents.write(given_as).await?;
        let mut kept = KeptObjects::default();
        if let Some(given) = given {
            keep::keep_given(self.spool, given, &mut kept).await?;
        }
        let mut own = keep::keep(self.ledger, self.spool, written).await?;
        let documents = own.artifacts.iter().map(|document| key_of(row, document)).collect();
        kept.artifacts.append(&mut own.artifacts);
        kept.receipts.append(&mut own.receipts);
        let leaving: Vec<NewArtifact> =
            of_first.map(as_new).into_iter().chain(kept.artifacts.iter().cloned()).collect();
        let deliveries = self.deliveries(row, &order.decision, &artifacts, &leaving).await?;
        Ok(Made { kept, documents, deliveries })
    }

    /// What is to reach the destinations after the review, in that order.
    async fn deliveries(
        &self,
        row: &ResultRow,
        decision: &ReviewDecision,
        artifacts: &[Artifact],
        new: &[NewArtifact],
    ) -> Result<Vec<NewDelivery>, ledger::Error> {
        if self.is_shadow(row) {
            return Ok(Vec::new());
        }
        let got = self.got(artifacts).await?;
        let model = self.looker.registry.get(&format!("{}@{}", row.model_id, row.model_version));
        let package = model.as_ref().map(|model| model.package());
        let last: Vec<ArtifactId> =
            documents::of_last_review(artifacts).iter().map(|artifact| artifact.id).collect();
        let is_about = |artifact: &Artifact| match decision {
            ReviewDecision::Undo => last.contains(&artifact.id),
            _ => artifact.review.is_none(),
        };
        Ok(release::to_each(&self.looker.config, &row.model_id, |destination| {
            let has = |artifact: &&Artifact| got.contains(&(artifact.id, destination.name.clone()));
            // what it got before decides; a change of the configuration does not
            let before = artifacts.iter().filter(has).map(|artifact| artifact.profile.as_str());
            let before = form::chosen(&destination.form, package, before);
            let all = artifacts.iter().map(|artifact| artifact.profile.as_str());
            let profile = before.or_else(|| form::chosen(&destination.form, package, all));
            let is_for_it = |of: &str| of == GIVEN || Some(of) == profile;
            let about: Vec<&Artifact> = artifacts
                .iter()
                .filter(|artifact| is_about(artifact) && is_for_it(&artifact.profile))
                .collect();
            let new: Vec<&NewArtifact> = new.iter().filter(|document| is_for_it(&document.profile)).collect();
            leaving(decision, about.iter().any(has), &about, &new)
        }))
    }

    fn is_shadow(&self, row: &ResultRow) -> bool {
        let model = self.looker.registry.get(&format!("{}@{}", row.model_id, row.model_version));
        model.is_some_and(|model| model.package().writes.policy == Policy::Shadow)
    }

    /// Which of the objects each destination has, or will have.
    async fn got(&self, artifacts: &[Artifact]) -> Result<BTreeSet<(ArtifactId, String)>, ledger::Error> {
        let mut got = BTreeSet::new();
        for artifact in artifacts {
            let deliveries = self.ledger.deliveries_of(artifact.id).await?;
            let alive = deliveries.into_iter().filter(|delivery| delivery.state != DeliveryState::Dropped);
            got.extend(alive.map(|delivery| (artifact.id, delivery.destination)));
        }
        Ok(got)
    }

    /// Takes documents of a review that did not come about out of the spool. What a doctor
    /// brought stays: the one who was faster may have brought the same.
    async fn discard(&self, documents: Vec<InstanceKey>) -> Result<(), ReviewError> {
        let spool = self.spool.clone();
        let deleting = move || documents.iter().try_for_each(|key| spool.delete(key));
        Ok(tokio::task::spawn_blocking(deleting).await??)
    }
}

/// What a review has made before anybody knows of it.
#[derive(Default)]
struct Made {
    kept: KeptObjects,
    /// Those of the kept objects that were written for this review.
    documents: Vec<InstanceKey>,
    deliveries: Vec<NewDelivery>,
}

/// Where the review will bring the result, if the ledger will have it: what it would refuse now, it refuses later.
fn due(row: &ResultRow, last: Option<&Review>, new: &NewReview) -> Option<ReviewState> {
    let is_seen = row.review_number == new.after && row.superseded_by.is_none();
    match standing(row.review_state, last, &new.verdict, new.reviewer.account, new.eyes) {
        Standing::To(state) if is_seen => Some(state),
        _ => None,
    }
}

/// The order with the first doctor's words in place of "I agree", or of the very same decision.
fn agreed(order: &ReviewOrder, row: &ResultRow, last: Option<&Review>) -> Result<ReviewOrder, ReviewError> {
    let first = last.filter(|_| row.review_state == ReviewState::AwaitingSecond);
    let says_the_same = |first: &&Review| {
        matches!(order.decision, ReviewDecision::Agree)
            || (first.verdict == order.decision.verdict() && first.reviewer.account != order.reviewer.account)
    };
    match (first.filter(says_the_same).and_then(ReviewDecision::of_first), &order.decision) {
        (Some(decision), _) => Ok(ReviewOrder { decision, ..order.clone() }),
        (None, ReviewDecision::Agree) if row.review_number == order.after => Err(ReviewError::Unsuitable(
            "nobody has given a first opinion to agree with: accept, reject or correct the result".to_owned(),
        )),
        (None, _) => Ok(order.clone()),
    }
}

/// What was said and is not final.
fn is_opinion(state: ReviewState) -> bool {
    matches!(state, ReviewState::AwaitingSecond | ReviewState::Disputed)
}

/// The segmentation that the first doctor brought, when it is the one that is agreed on.
fn of_first<'a>(decision: &ReviewDecision, artifacts: &'a [Artifact]) -> Option<&'a Artifact> {
    let is_wanted = matches!(decision, ReviewDecision::CorrectSegmentation(SegmentationFile::OfFirst(_)));
    let given = artifacts
        .iter()
        .filter(|artifact| artifact.review.is_some() && artifact.role == documents::CORRECTED_SEGMENTATION);
    given.filter(|_| is_wanted).max_by_key(|artifact| artifact.part)
}

/// An object that is kept already, among those that are to leave.
fn as_new(artifact: &Artifact) -> NewArtifact {
    NewArtifact {
        id: artifact.id,
        role: artifact.role.clone(),
        profile: artifact.profile.clone(),
        part: artifact.part,
        sop_class: artifact.sop_class.clone(),
        sop_instance: artifact.sop_instance.clone(),
        series: artifact.series.clone(),
        digest: artifact.digest.clone(),
        size_bytes: artifact.size_bytes,
    }
}

fn key_of(row: &ResultRow, document: &NewArtifact) -> InstanceKey {
    InstanceKey {
        study: row.study.clone(),
        series: document.series.clone(),
        sop_instance: document.sop_instance.clone(),
    }
}

/// What leaves for one destination. `about` is what the review speaks of; `is_known` says whether it
/// has (or will have) any of it. Nobody is told that something was rejected which he never got.
fn leaving(
    decision: &ReviewDecision,
    is_known: bool,
    about: &[&Artifact],
    new: &[&NewArtifact],
) -> Vec<ArtifactId> {
    let is_sayable = |document: &&&NewArtifact| is_known || !documents::is_retraction(&document.role);
    let new = new.iter().filter(is_sayable).map(|document| document.id);
    let with = |role: Option<&str>| {
        let wanted = about.iter().filter(move |artifact| role.is_none_or(|role| artifact.role == role));
        wanted.map(|artifact| artifact.id).collect::<Vec<_>>()
    };
    let mut leave = match decision {
        ReviewDecision::Accept => with(None),
        // The corrected report still speaks of the machine's segments.
        ReviewDecision::CorrectClass(_) => with(Some("seg")),
        ReviewDecision::Reject(_)
        | ReviewDecision::CorrectSegmentation(_)
        | ReviewDecision::Agree
        | ReviewDecision::Undo => Vec::new(),
    };
    leave.extend(new);
    leave
}

#[cfg(test)]
mod tests {
    use imaging::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid};

    use super::*;

    fn new(role: &str) -> NewArtifact {
        NewArtifact {
            id: ArtifactId::generate(),
            role: role.to_owned(),
            profile: "default".to_owned(),
            part: 0,
            sop_class: SopClassUid::parse("1.2.3").unwrap(),
            sop_instance: SopInstanceUid::parse("1.2.4").unwrap(),
            series: SeriesUid::parse("1.2.5").unwrap(),
            digest: String::new(),
            size_bytes: 0,
        }
    }

    fn kept(role: &str) -> Artifact {
        let new = new(role);
        Artifact {
            id: new.id,
            result: ResultId::generate(),
            study: StudyUid::parse("1.2.6").unwrap(),
            series: new.series,
            sop_instance: new.sop_instance,
            sop_class: new.sop_class,
            role: new.role,
            profile: new.profile,
            part: 0,
            digest: String::new(),
            size_bytes: 0,
            review: None,
        }
    }

    #[track_caller]
    fn check(decision: &ReviewDecision, is_known: bool, documents: &[&str], expect: &[&str]) {
        let own = [kept("heatmap"), kept("seg"), kept("sr")];
        let documents: Vec<NewArtifact> = documents.iter().map(|role| new(role)).collect();
        let about: Vec<&Artifact> = own.iter().collect();
        let role_of = |id: &ArtifactId| {
            let own = own.iter().find(|one| one.id == *id).map(|one| one.role.as_str());
            let document = documents.iter().find(|one| one.id == *id).map(|one| one.role.as_str());
            own.or(document).unwrap()
        };
        let new: Vec<&NewArtifact> = documents.iter().collect();
        let left = leaving(decision, is_known, &about, &new);
        assert_eq!(left.iter().map(role_of).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn what_was_held_leaves_with_the_verified_report() {
        check(&ReviewDecision::Accept, false, &["verified-sr"], &["heatmap", "seg", "sr", "verified-sr"]);
    }

    #[test]
    fn nobody_is_told_of_the_rejection_of_what_he_never_got() {
        let reject = ReviewDecision::Reject(RejectionReason::Quality);
        check(&reject, false, &["rejection-note", "rejection-sr"], &[]);
        check(&reject, true, &["rejection-note", "rejection-sr"], &["rejection-note", "rejection-sr"]);
    }

    #[test]
    fn a_correction_leaves_without_what_it_corrects() {
        let class = ReviewDecision::CorrectClass(Code::new("1", "99X", "glioma"));
        check(&class, false, &["corrected-sr"], &["seg", "corrected-sr"]);
        let file = ReviewDecision::CorrectSegmentation(SegmentationFile::OfFirst(json!({})));
        let documents = ["corrected-seg", "corrected-sr", "rejection-note"];
        check(&file, false, &documents, &["corrected-seg", "corrected-sr"]);
        check(&file, true, &documents, &documents);
    }

    #[test]
    fn an_undo_is_told_to_those_who_got_what_is_undone() {
        check(&ReviewDecision::Undo, false, &["withdrawal-note"], &[]);
        check(&ReviewDecision::Undo, true, &["withdrawal-note"], &["withdrawal-note"]);
    }
}
