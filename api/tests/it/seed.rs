//! Rows and objects as the rest of the service would have left them.

use std::time::Duration;

use imaging::{Header, SeriesUid, SopInstanceUid, StudyUid};
use ledger::{
    About, ArtifactId, AssociationId, BootId, Claim, Door, Ending, Enqueued, Failure, FailureKind, JobId,
    JobInput, ModelRef, NewArtifact, NewAssociation, NewDelivery, NewInstance, NewJob, NewResult, NodeId,
    Outcome, Parcel, Priority, Release, ReleaseGuard, ResultId, WorkerId,
};
use serde_json::json;

use crate::app::{TestApp, data};

pub(crate) const PATIENT_NAME: &str = "Doe^Confidential";
pub(crate) const PATIENT_ID: &str = "PID-4711";
pub(crate) const ACCESSION: &str = "ACC-4711";

/// A study with one series of one instance.
pub(crate) struct Seeded {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) instance: SopInstanceUid,
}

/// The `number`th study; its header is that of a real file, its patient an invented one.
/// Number 0 keeps the UIDs of the file.
pub(crate) fn header(number: u32) -> Header {
    let mut header = Header::read_file(&data("syntaxes/MR_small.dcm")).unwrap();
    if number > 0 {
        header.study = StudyUid::parse(&format!("1.2.3.{number}")).unwrap();
        header.series = SeriesUid::parse(&format!("1.2.3.{number}.1")).unwrap();
        header.sop_instance = SopInstanceUid::parse(&format!("1.2.3.{number}.1.1")).unwrap();
    }
    header.facts.patient.name = PATIENT_NAME.to_owned();
    header.facts.patient.id = PATIENT_ID.to_owned();
    header.facts.accession = ACCESSION.to_owned();
    header.facts.study_description = format!("head of {PATIENT_NAME}");
    header.facts.series_description = format!("t1 of {PATIENT_NAME}");
    header
}

pub(crate) async fn study(app: &TestApp, number: u32) -> Seeded {
    study_of(app, header(number)).await
}

/// A study of one instance with this header.
pub(crate) async fn study_of(app: &TestApp, header: Header) -> Seeded {
    let association = association(app).await;
    let digest = format!("{:0>64}", header.study.as_str().rsplit('.').next().unwrap());
    let seeded = Seeded {
        study: header.study.clone(),
        series: header.series.clone(),
        instance: header.sop_instance.clone(),
    };
    let instance = NewInstance { header, digest, size_bytes: 1, association, arrived_at: app.now() };
    app.ledger.record_instances(&[instance]).await.unwrap();
    app.ledger.end_association(association, Ending::Released, app.now()).await.unwrap();
    seeded
}

/// One more slice of the `number`th study.
pub(crate) async fn late_slice(app: &TestApp, number: u32) {
    let association = association(app).await;
    let mut header = header(number);
    header.sop_instance = SopInstanceUid::parse(&format!("1.2.3.{number}.1.2")).unwrap();
    let late = NewInstance {
        header,
        digest: format!("{number:063}f"),
        size_bytes: 1,
        association,
        arrived_at: app.now(),
    };
    app.ledger.record_instances(&[late]).await.unwrap();
    app.ledger.end_association(association, Ending::Released, app.now()).await.unwrap();
}

async fn association(app: &TestApp) -> AssociationId {
    let new = NewAssociation {
        door: Door::Dimse,
        calling_ae: "MR1".to_owned(),
        called_ae: "OVERREAD".to_owned(),
        peer: "127.0.0.1".to_owned(),
        node: NodeId::new("node"),
        boot: BootId::new("boot"),
        opened_at: app.now(),
    };
    app.ledger.open_association(&new).await.unwrap()
}

pub(crate) async fn job(app: &TestApp, seeded: &Seeded) -> JobId {
    job_of(app, seeded, "brain").await
}

async fn job_of(app: &TestApp, seeded: &Seeded, model: &str) -> JobId {
    let new = NewJob {
        key: format!("key of {model} and {}", seeded.study),
        study: seeded.study.clone(),
        input_revision: 1,
        model: ModelRef { id: model.to_owned(), version: "1.0.0".to_owned(), digest: "d".to_owned() },
        options: json!({}),
        priority: Priority::Routine,
        inputs: vec![JobInput {
            series: seeded.series.clone(),
            stack: 0,
            instances: vec![seeded.instance.clone()],
        }],
        about: About::Series,
        is_shadow: false,
        actor: "overread".to_owned(),
        request_id: None,
        created_at: app.now(),
    };
    match app.ledger.enqueue_job(&new).await.unwrap() {
        Enqueued::New { job, .. } => job,
        other => panic!("{other:?}"),
    }
}

async fn claimed(app: &TestApp) -> ledger::ClaimedJob {
    let claim = Claim {
        worker: WorkerId::new("worker"),
        node: NodeId::new("node"),
        boot: BootId::new("boot"),
        lease: Duration::from_secs(60),
        models: None,
    };
    app.ledger.claim_job(&claim, app.now()).await.unwrap().expect("a job waits")
}

/// Lets the job that waits fail for good.
pub(crate) async fn failed_job(app: &TestApp, seeded: &Seeded) -> JobId {
    let job = job(app, seeded).await;
    let failure = Failure {
        kind: FailureKind::CannotPass,
        reason: "the series has no spacing".to_owned(),
        retry_at: app.now(),
    };
    app.ledger.fail_job(claimed(app).await.lease, &failure, app.now()).await.unwrap();
    job
}

/// Whether a result was let out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    Released,
    Kept,
}

/// A result with one object, whose bytes are the real file `MR_small.dcm`.
pub(crate) async fn result(app: &TestApp, seeded: &Seeded, leaves: Leaves) -> (ResultId, ArtifactId) {
    job(app, seeded).await;
    let lease = claimed(app).await.lease;
    let artifact = artifact(app);
    let id = artifact.id;
    let delivery = NewDelivery { destination: "pacs".to_owned(), parcel: Parcel::Artifact(id) };
    let new = NewResult {
        outcome: Outcome::Findings,
        findings: json!({ "segments": [{ "name": "lesion", "volume_ml": 1.5 }] }),
        artifacts: vec![artifact],
    };
    if leaves == Leaves::Kept {
        let result = app.ledger.compute_job(lease, &new, app.now()).await.unwrap();
        return (result.expect("the lease holds"), id);
    }
    let guard = ReleaseGuard::AllowedBy("test".to_owned());
    match app.ledger.complete_job(lease, &new, &guard, &[delivery], app.now()).await.unwrap() {
        Release::Done(released) => (released.result, id),
        other => panic!("{other:?}"),
    }
}

/// What `model` found, released and without objects.
pub(crate) async fn findings(
    app: &TestApp,
    seeded: &Seeded,
    model: &str,
    findings: serde_json::Value,
) -> ResultId {
    job_of(app, seeded, model).await;
    let lease = claimed(app).await.lease;
    let new = NewResult { outcome: Outcome::Findings, findings, artifacts: Vec::new() };
    let guard = ReleaseGuard::AllowedBy("test".to_owned());
    match app.ledger.complete_job(lease, &new, &guard, &[], app.now()).await.unwrap() {
        Release::Done(released) => released.result,
        other => panic!("{other:?}"),
    }
}

fn artifact(app: &TestApp) -> NewArtifact {
    let bytes = std::fs::read(data("syntaxes/MR_small.dcm")).unwrap();
    let (header, digest, size_bytes) = match app.spool.put(&bytes).unwrap() {
        spool::Outcome::Kept(kept) => (kept.header, kept.digest, kept.size_bytes),
        spool::Outcome::Same(same) => (same.header, same.digest, same.size_bytes),
        other => panic!("{other:?}"),
    };
    NewArtifact {
        id: ArtifactId::generate(),
        role: "seg".to_owned(),
        profile: "binary".to_owned(),
        part: 0,
        sop_class: header.sop_class,
        sop_instance: header.sop_instance,
        series: header.series,
        digest: digest.to_string(),
        size_bytes,
    }
}

/// Lets the destination refuse what waits for it.
pub(crate) async fn park_delivery(app: &TestApp) {
    let (node, boot) = (NodeId::new("node"), BootId::new("boot"));
    let lease = Duration::from_secs(60);
    let claimed = app.ledger.claim_delivery("pacs", &node, &boot, lease, app.now()).await.unwrap();
    let (_, lease) = claimed.expect("a delivery waits");
    assert!(app.ledger.park_delivery(lease, "refused: SOP class", app.now()).await.unwrap());
}
