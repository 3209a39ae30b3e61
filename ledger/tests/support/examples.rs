//! Studies, jobs and results that tests begin with.

use std::time::Duration;

use imaging::{Header, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid};
use ledger::{
    About, ArtifactId, AssociationId, BootId, Claim, ClaimedJob, Door, Enqueued, JobId, JobInput, Ledger,
    Millis, ModelRef, NewArtifact, NewAssociation, NewInstance, NewJob, NewResult, NodeId, Outcome, Priority,
    ReleaseGuard, SeriesAt, WorkerId,
};
use serde_json::json;

pub(crate) const START: Millis = Millis(1_700_000_000_000);
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// `seconds` after the moment at which tests begin.
pub(crate) fn at(seconds: u64) -> Millis {
    START.plus(Duration::from_secs(seconds))
}

pub(crate) fn study(number: u32) -> StudyUid {
    StudyUid::parse(&format!("1.2.3.{number}")).expect("a UID")
}

pub(crate) fn series(number: u32) -> SeriesUid {
    SeriesUid::parse(&format!("1.2.3.4.{number}")).expect("a UID")
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

pub(crate) fn boot(name: &str) -> BootId {
    BootId::new(name)
}

/// Slice `slice` of a series; its UID follows from all three numbers.
pub(crate) fn instance(
    association: AssociationId,
    study_number: u32,
    series_number: u32,
    slice: u32,
) -> NewInstance {
    let sop_instance = format!("1.2.3.{study_number}.{series_number}.{slice}");
    let mut header = Header::new(
        SopClassUid::parse("1.2.840.10008.5.1.4.1.1.4").expect("a UID"),
        SopInstanceUid::parse(&sop_instance).expect("a UID"),
        study(study_number),
        series(series_number),
        Uid::parse("1.2.840.10008.1.2.1").expect("a UID"),
    );
    header.facts.patient.id = format!("P{study_number}");
    header.facts.patient.name = "Nightingale^Florence".to_owned();
    header.facts.patient.birth_date = "18200512".to_owned();
    header.facts.modality = "MR".to_owned();
    header.facts.study_date = "20260102".to_owned();
    NewInstance {
        header,
        digest: format!("digest-{slice}"),
        size_bytes: 132_000,
        association,
        arrived_at: at(1),
    }
}

pub(crate) async fn open_association(ledger: &Ledger) -> AssociationId {
    let new = NewAssociation {
        door: Door::Dimse,
        calling_ae: "SCANNER".to_owned(),
        called_ae: "OVERREAD".to_owned(),
        peer: "192.0.2.7".to_owned(),
        node: node("n1"),
        boot: boot("b1"),
        opened_at: START,
    };
    ledger.open_association(&new).await.expect("an association")
}

/// A study with one series (number 1) of two slices; gives the association that brought it.
pub(crate) async fn receive_study(ledger: &Ledger, study_number: u32) -> AssociationId {
    let association = open_association(ledger).await;
    let batch = [instance(association, study_number, 1, 1), instance(association, study_number, 1, 2)];
    ledger.record_instances(&batch).await.expect("recorded");
    association
}

pub(crate) fn model(id: &str) -> ModelRef {
    ModelRef { id: id.to_owned(), version: "1.0.0".to_owned(), digest: "model-digest".to_owned() }
}

pub(crate) fn new_job(study_number: u32, model_id: &str, key: &str) -> NewJob {
    let input = JobInput { series: series(1), stack: 0, instances: Vec::new() };
    NewJob {
        key: key.to_owned(),
        study: study(study_number),
        input_revision: 1,
        model: model(model_id),
        options: json!({}),
        priority: Priority::Routine,
        inputs: vec![input],
        about: About::Series,
        is_shadow: false,
        actor: "overread".to_owned(),
        request_id: None,
        created_at: at(2),
    }
}

pub(crate) async fn enqueue(ledger: &Ledger, new: &NewJob) -> JobId {
    match ledger.enqueue_job(new).await.expect("enqueued") {
        Enqueued::New { job, .. } => job,
        other => panic!("the job is not new: {other:?}"),
    }
}

/// A received study and a queued job for it.
pub(crate) async fn study_with_job(ledger: &Ledger, study_number: u32) -> JobId {
    receive_study(ledger, study_number).await;
    enqueue(ledger, &new_job(study_number, "brain", &format!("key-{study_number}"))).await
}

pub(crate) fn claim_as(worker: &str) -> Claim {
    Claim { worker: WorkerId::new(worker), node: node("n1"), boot: boot("b1"), lease: LEASE, models: None }
}

pub(crate) async fn claim(ledger: &Ledger, worker: &str, now: Millis) -> Option<ClaimedJob> {
    ledger.claim_job(&claim_as(worker), now).await.expect("a claim")
}

pub(crate) async fn must_claim(ledger: &Ledger, worker: &str, now: Millis) -> ClaimedJob {
    claim(ledger, worker, now).await.expect("a job is due")
}

/// A result with one object of the role `seg`, whose UID ends with `number`.
pub(crate) fn new_result(number: u32) -> NewResult {
    let artifact = NewArtifact {
        id: ArtifactId::generate(),
        role: "seg".to_owned(),
        profile: "default".to_owned(),
        part: 0,
        sop_class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.66.4").expect("a UID"),
        sop_instance: SopInstanceUid::parse(&format!("2.25.{number}")).expect("a UID"),
        series: SeriesUid::parse(&format!("2.25.9{number}")).expect("a UID"),
        digest: "seg-digest".to_owned(),
        size_bytes: 4096,
    };
    NewResult { outcome: Outcome::Findings, findings: json!({ "volume_ml": 3.5 }), artifacts: vec![artifact] }
}

/// The guard of somebody who has just looked at series 1.
pub(crate) async fn unchanged(ledger: &Ledger, study_number: u32) -> ReleaseGuard {
    let row = ledger.series(&study(study_number), &series(1)).await.expect("an answer").expect("a series");
    ReleaseGuard::Unchanged(vec![SeriesAt { series: series(1), revision: row.revision }])
}
