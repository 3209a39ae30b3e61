//! Documents that a review makes, read by others.

use imaging::Code;
use results::{
    Correction, Encoded, FollowUp, Observer, Reference, RejectionReason, Review, Superseded,
    corrected_report, rejection, superseding_note, verified_report, withdrawal_note,
};
use time::macros::datetime;

use crate::{
    programs,
    report::{classification, findings, report, save},
    segmentation::{Written, production, written},
    sources,
};

fn review() -> Review {
    Review {
        id: "review 1".into(),
        at: datetime!(2024-05-07 10:11:12 +9),
        observer: Observer {
            name: "김^영희".into(),
            organization: "서울병원".into(),
            identification: Some(Code::new("1234", "99LOCAL", "Licence 1234")),
        },
        comment: Some("Artefact, not a lesion".into()),
    }
}

/// A result with its report, and what the review says about it.
struct Reviewed {
    written: Written,
    report: Encoded,
    review: Review,
}

impl Reviewed {
    fn new(source: &str) -> Self {
        let written = written(&sources::named(source), &production());
        let mut all = findings(&written);
        all.push(classification());
        let report = report(&production(), &written, &all);
        Self { written, report, review: review() }
    }

    fn objects(&self) -> Vec<Reference> {
        vec![self.written.segmentation.encoded.reference.clone(), self.report.reference.clone()]
    }

    /// Calls `write` with the follow-up, and checks what it wrote.
    fn write(&self, name: &str, write: impl Fn(&FollowUp<'_>) -> Encoded) -> String {
        let identity = production().identity;
        let follow_up = FollowUp {
            identity: &identity,
            profile: "default",
            report: &self.report.bytes,
            review: &self.review,
        };
        let encoded = write(&follow_up);
        assert_eq!(encoded, write(&follow_up), "two runs differ");
        assert_ne!(encoded.reference.sop_instance, self.report.reference.sop_instance);
        let path = save(&self.written, name, &encoded);
        programs::dciodvfy(&path);
        programs::dsrdump(&path)
    }
}

#[test]
fn an_accepted_report_is_a_new_verified_document() {
    for source in ["mr-axial", "mr-korean"] {
        let tree =
            Reviewed::new(source).write("verified.dcm", |follow_up| verified_report(follow_up).unwrap());
        assert!(tree.contains("Verification Flag   : VERIFIED"), "{tree}");
        assert!(tree.contains("2024-05-07 10:11:12"), "{tree}");
        assert!(tree.contains("김^영희 (1234,99LOCAL,\"Licence 1234\"), 서울병원"), "{tree}");
        assert!(tree.contains("Predecessor Docs    : 1"), "{tree}");
        assert!(tree.contains("\"Person Observer Name\")=\"김^영희\""), "{tree}");
        assert!(tree.contains("\"Volume\")=\"10.5\""), "what was measured stays: {tree}");
    }
}

#[test]
fn highdicom_reads_the_verified_report() {
    let reviewed = Reviewed::new("mr-axial");
    reviewed.write("verified.dcm", |follow_up| verified_report(follow_up).unwrap());
    let read = programs::python("sr_read.py", &[&reviewed.written.folder.path().join("verified.dcm")]);
    assert!(read.starts_with("3 groups VERIFIED"), "{read}");
}

#[test]
fn a_rejection_hides_all_objects_and_says_why() {
    let reviewed = Reviewed::new("mr-axial");
    let objects = reviewed.objects();
    let note = reviewed.write("note.dcm", |follow_up| {
        rejection(follow_up, RejectionReason::Quality, &objects).unwrap().note
    });
    insta::assert_snapshot!("rejection_note", note);
    let tree = reviewed.write("rejected.dcm", |follow_up| {
        rejection(follow_up, RejectionReason::PatientSafety, &objects).unwrap().report
    });
    insta::assert_snapshot!("rejection_report", tree);
}

#[test]
fn a_corrected_class_takes_the_place_of_the_machines() {
    let correction = Correction::Class {
        question: Code::new("121071", "DCM", "Finding"),
        class: Code::new("393564001", "SCT", "Glioma"),
    };
    let tree = Reviewed::new("mr-enhanced")
        .write("corrected.dcm", |follow_up| corrected_report(follow_up, &correction).unwrap());
    assert!(tree.contains("\"Finding\")=(393564001,SCT,\"Glioma\")"), "{tree}");
    assert!(!tree.contains("Meningioma"), "{tree}");
    assert!(tree.contains("\"Volume\")"), "the segments were not corrected: {tree}");
}

#[test]
fn a_corrected_segmentation_is_listed_and_the_machines_measurements_go() {
    let reviewed = Reviewed::new("mr-axial");
    let mut human = reviewed.objects().remove(0);
    human.sop_instance = imaging::SopInstanceUid::parse("1.2.3.4").unwrap();
    let correction = Correction::Segmentation(human);
    let tree = reviewed.write("corrected.dcm", |follow_up| corrected_report(follow_up, &correction).unwrap());
    assert!(!tree.contains("\"Volume\")"), "{tree}");
    assert!(tree.contains("Meningioma"), "the class was not corrected: {tree}");
    assert!(tree.contains("(SG image,"), "{tree}");
}

#[test]
fn a_withdrawn_review_is_hidden_by_a_note_that_names_the_doctor() {
    let reviewed = Reviewed::new("mr-axial");
    // A rejection is withdrawn with its report and its own note.
    let report = reviewed.report.reference.clone();
    let mut note = report.clone();
    note.sop_class = imaging::SopClassUid::parse("1.2.840.10008.5.1.4.1.1.88.59").unwrap();
    note.sop_instance = imaging::SopInstanceUid::parse("1.2.3.6").unwrap();
    let objects = [report, note];
    let tree = reviewed.write("withdrawn.dcm", |follow_up| withdrawal_note(follow_up, &objects).unwrap());
    assert!(tree.contains("Review withdrawn: Artefact, not a lesion"), "{tree}");
    assert!(tree.contains("\"Person Observer Name\")=\"김^영희\""), "{tree}");
}

#[test]
fn superseded_objects_are_hidden_by_a_note_that_names_the_successor() {
    let reviewed = Reviewed::new("mr-axial");
    let mut successor = reviewed.report.reference.clone();
    successor.sop_instance = imaging::SopInstanceUid::parse("1.2.3.5").unwrap();
    let tree = reviewed.write("superseded.dcm", |follow_up| {
        superseding_note(&Superseded {
            identity: follow_up.identity,
            profile: follow_up.profile,
            report: follow_up.report,
            objects: &reviewed.objects(),
            successor: &successor,
            at: datetime!(2024-05-08 00:00:00 UTC),
        })
        .unwrap()
    });
    assert!(tree.contains("Superseded by report 1.2.3.5"), "{tree}");
}
