//! Doctors decide: what they say is kept, leaves once, and is never lost to another doctor.

use std::{collections::BTreeSet, io::Write, time::Duration};

use dicom_dictionary_std::tags;
use dicom_object::DefaultDicomObject;
use imaging::Code;
use ledger::{
    AuditKey, DeliveryState, Eyes, JobState::Done, NewAccount, RejectionReason, ResultId, ReviewState,
    Reviewed, Reviewer, Role,
};
use pipeline::{GivenFile, ReviewDecision, ReviewError, ReviewOrder, SegmentationFile};
use sha2::{Digest, Sha256};

use crate::{
    phantom::Phantom,
    world::{Running, World, registry, stays, variant},
};

const HELD: [(&str, &str); 1] = [("policy = \"write\"", "policy = \"hold-for-review\"")];

/// A pipeline that has computed one study, and a doctor.
struct Ward {
    world: World,
    running: Running,
    result: ResultId,
    doctor: Reviewer,
}

pub(crate) fn key() -> AuditKey {
    AuditKey::new([3; 32])
}

pub(crate) async fn doctor(world: &World, login: &str) -> Reviewer {
    let account = NewAccount {
        name: login.to_owned(),
        role: Role::Doctor,
        full_name: format!("Kim^{login}"),
        organization: "City Hospital".to_owned(),
        password_hash: String::new(),
    };
    let account = world.ledger.add_account(&account, "test", world.config.clock.now()).await.unwrap();
    Reviewer {
        account,
        login: login.to_owned(),
        full_name: format!("Kim^{login}"),
        organization: "City Hospital".to_owned(),
    }
}

impl Ward {
    async fn with(replace: &[(&str, &str)]) -> Self {
        Self::asking_for(Eyes::Two, replace).await
    }

    async fn asking_for(eyes: Eyes, replace: &[(&str, &str)]) -> Self {
        let mut world = World::new().await.and_folder("disk");
        world.config.eyes = eyes;
        let registry = if replace.is_empty() { registry() } else { variant(&world.folder, replace) };
        let running = world.start_with(registry);
        let doctor = doctor(&world, "minji").await;
        let result = computed(&world, 1).await;
        Self { world, running, result, doctor }
    }

    fn order(&self, after: u32, decision: ReviewDecision) -> ReviewOrder {
        ReviewOrder {
            result: self.result,
            after,
            decision,
            comment: Some("seen".to_owned()),
            reviewer: self.doctor.clone(),
            request_id: Some("request-1".to_owned()),
        }
    }

    async fn carry_out(&self, order: &ReviewOrder) -> Result<Reviewed, ReviewError> {
        self.running.handle.review(&self.world.spool, &key(), order).await
    }

    async fn review(&self, after: u32, decision: ReviewDecision) -> Reviewed {
        self.carry_out(&self.order(after, decision)).await.unwrap()
    }

    /// The same by another doctor.
    async fn review_by(&self, doctor: &Reviewer, after: u32, decision: ReviewDecision) -> Reviewed {
        let order = ReviewOrder { reviewer: doctor.clone(), ..self.order(after, decision) };
        self.carry_out(&order).await.unwrap()
    }

    async fn nothing_leaves(&self) {
        let nothing = async || self.world.delivered("disk", DeliveryState::Waiting).await == 0;
        stays("nothing leaves", Duration::from_millis(300), nothing).await;
        assert!(self.arrived().is_empty());
    }

    async fn state(&self) -> (ReviewState, u32) {
        let row = self.world.ledger.result(self.result).await.unwrap().unwrap();
        (row.review_state, row.review_number)
    }

    async fn roles(&self) -> Vec<String> {
        let artifacts = self.world.ledger.artifacts(self.result).await.unwrap();
        artifacts.into_iter().map(|artifact| artifact.role).collect()
    }

    /// Objects at the destination, by modality and series description.
    fn arrived(&self) -> Vec<DefaultDicomObject> {
        files_under(&self.world.out("disk"))
            .iter()
            .map(|path| dicom_object::open_file(path).unwrap())
            .collect()
    }
}

async fn computed(world: &World, number: u32) -> ResultId {
    let phantom = Phantom::new(number);
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    let job = &world.jobs(&phantom.study()).await[0];
    world.ledger.result_of_job(job.id).await.unwrap().unwrap().id
}

pub(crate) fn files_under(folder: &std::path::Path) -> BTreeSet<std::path::PathBuf> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "dcm") {
            files.insert(path);
        }
    }
    files
}

pub(crate) fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).map(|element| element.to_str().unwrap().into_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_result_leaves_with_a_verified_report_when_a_doctor_accepts_it() {
    let ward = Ward::with(&HELD).await;
    let nothing = async || ward.world.delivered("disk", DeliveryState::Waiting).await == 0;
    stays("nothing leaves", Duration::from_millis(300), nothing).await;

    let Reviewed::Added(review) = ward.review(0, ReviewDecision::Accept).await else { panic!("not added") };
    ward.world.wait_for_proof("disk", 3).await;

    assert_eq!(ward.state().await, (ReviewState::Accepted, 1));
    let arrived = ward.arrived();
    let verified: Vec<_> =
        arrived.iter().filter(|object| text(object, tags::VERIFICATION_FLAG) == "VERIFIED").collect();
    assert_eq!((arrived.len(), verified.len()), (3, 1));
    let observer = &verified[0].element(tags::VERIFYING_OBSERVER_SEQUENCE).unwrap().items().unwrap()[0];
    let name = observer.element(tags::VERIFYING_OBSERVER_NAME).unwrap().to_str().unwrap();
    assert_eq!(name, "Kim^minji");

    // The same again, such as a client that got no answer: once.
    let repeated = ward.review(0, ReviewDecision::Accept).await;
    assert_eq!(repeated, Reviewed::Repeated(review));
    assert_eq!(ward.world.delivered("disk", DeliveryState::Proved).await, 3);
    let trail = ward
        .world
        .ledger
        .audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(10))
        .await
        .unwrap()
        .rows;
    assert_eq!(trail.len(), 1);
    assert_eq!(
        (trail[0].action.as_str(), trail[0].request_id.as_deref()),
        ("result.accept", Some("request-1"))
    );
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_result_that_is_rejected_never_leaves() {
    let ward = Ward::with(&HELD).await;
    let rejected = ward.review(0, ReviewDecision::Reject(RejectionReason::Quality)).await;
    assert!(matches!(rejected, Reviewed::Added(_)), "{rejected:?}");
    assert_eq!(ward.state().await, (ReviewState::Rejected, 1));
    assert_eq!(ward.roles().await, ["rejection-note", "rejection-sr", "seg", "sr"]);
    stays("nothing leaves", Duration::from_millis(500), async || !ward.world.out("disk").exists()).await;
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_result_that_was_written_is_followed_by_note_and_report() {
    let ward = Ward::with(&[]).await;
    ward.world.wait_for_proof("disk", 2).await;
    ward.review(0, ReviewDecision::Reject(RejectionReason::PatientSafety)).await;
    ward.world.wait_for_proof("disk", 4).await;
    let arrived = ward.arrived();
    let notes: Vec<_> = arrived.iter().filter(|object| text(object, tags::MODALITY) == "KO").collect();
    assert_eq!(notes.len(), 1);
    let title = &notes[0].element(tags::CONCEPT_NAME_CODE_SEQUENCE).unwrap().items().unwrap()[0];
    assert_eq!(title.element(tags::CODE_VALUE).unwrap().to_str().unwrap(), "113037");
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_decision_stays_in_the_history_and_another_may_follow() {
    let ward = Ward::with(&[]).await;
    ward.review(0, ReviewDecision::Accept).await;
    let twice = ward.review(1, ReviewDecision::Reject(RejectionReason::Quality)).await;
    assert_eq!(twice, Reviewed::Impossible(ReviewState::Accepted));
    ward.review(1, ReviewDecision::Undo).await;
    assert_eq!(ward.state().await, (ReviewState::Pending, 2));
    ward.review(2, ReviewDecision::Reject(RejectionReason::Quality)).await;
    assert_eq!(ward.state().await, (ReviewState::Rejected, 3));
    // SEG, SR; verified SR; note over it; note and SR of the rejection.
    ward.world.wait_for_proof("disk", 6).await;
    let history = ward.world.ledger.reviews(ward.result).await.unwrap();
    assert_eq!(history.iter().map(|review| review.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(ward.world.ledger.verify_audit(&key(), &[]).await.unwrap(), Ok(3));
    ward.running.stop().await;
}

/// A label map on the grid of the phantom, in which one voxel is labelled.
fn mask(labelled: usize) -> Vec<u8> {
    let mut nifti = vec![0; 352];
    nifti[0..4].copy_from_slice(&348_i32.to_le_bytes());
    for (index, size) in [3_i16, 32, 32, 12, 1, 1, 1, 1].into_iter().enumerate() {
        nifti[40 + 2 * index..42 + 2 * index].copy_from_slice(&size.to_le_bytes());
    }
    nifti[70..72].copy_from_slice(&2_i16.to_le_bytes());
    nifti[72..74].copy_from_slice(&8_i16.to_le_bytes());
    let float = |nifti: &mut Vec<u8>, at: usize, value: f32| {
        nifti[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    for (index, size) in [1.0, 1.0, 1.0, 2.0].into_iter().enumerate() {
        float(&mut nifti, 76 + 4 * index, size);
    }
    float(&mut nifti, 108, 352.0);
    nifti[254..256].copy_from_slice(&1_i16.to_le_bytes());
    // LPS to RAS: the first two axes are turned round.
    for (at, value) in [(280, -1.0), (300, -1.0), (320, 2.0), (324, 2.0)] {
        float(&mut nifti, at, value);
    }
    nifti[344..348].copy_from_slice(b"n+1\0");
    nifti.resize(352 + 32 * 32 * 12, 0);
    nifti[352 + labelled] = 1;
    nifti
}

/// A file as an upload leaves it.
fn given(bytes: &[u8]) -> GivenFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    GivenFile::new(file.into_temp_path(), digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_segmentation_takes_the_place_of_the_machines() {
    let ward = Ward::with(&HELD).await;
    let file = SegmentationFile::Nifti(given(&mask(5 * 32 * 32 + 7)));
    let corrected = ward.review(0, ReviewDecision::CorrectSegmentation(file)).await;
    assert!(matches!(corrected, Reviewed::Added(_)), "{corrected:?}");
    assert_eq!(ward.state().await, (ReviewState::Corrected, 1));
    // What the machine drew was held back, and is not sent now.
    ward.world.wait_for_proof("disk", 2).await;
    let arrived = ward.arrived();
    let modalities: BTreeSet<_> = arrived.iter().map(|object| text(object, tags::MODALITY)).collect();
    assert_eq!(modalities, BTreeSet::from(["SEG".to_owned(), "SR".to_owned()]));
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segmentation_that_came_as_dicom_is_kept_as_it_is() {
    let maker = Ward::with(&[]).await;
    maker.world.wait_for_proof("disk", 2).await;
    let seg = maker.arrived().into_iter().find(|object| text(object, tags::MODALITY) == "SEG").unwrap();
    let mut bytes = Vec::new();
    seg.write_all(&mut bytes).unwrap();
    maker.running.stop().await;

    // The same images elsewhere; what was made there is the human's.
    let ward = Ward::with(&[("version = \"1.0.0\"", "version = \"1.0.1\""), HELD[0]]).await;
    let file = SegmentationFile::Dicom(given(&bytes));
    let corrected = ward.review(0, ReviewDecision::CorrectSegmentation(file)).await;
    assert!(matches!(corrected, Reviewed::Added(_)), "{corrected:?}");
    ward.world.wait_for_proof("disk", 2).await;
    let arrived = ward.arrived();
    assert!(
        arrived
            .iter()
            .any(|object| text(object, tags::SOP_INSTANCE_UID) == text(&seg, tags::SOP_INSTANCE_UID))
    );
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_suit_the_result_is_refused_with_a_sentence() {
    let ward = Ward::with(&HELD).await;
    let empty: Vec<u8> =
        mask(0).into_iter().enumerate().map(|(at, byte)| if at == 352 { 0 } else { byte }).collect();
    let mut beside = mask(1);
    // 256 times as many voxels as the images have, which a few bytes could stand for once they are packed.
    let mut vast = mask(1);
    vast[42..44].copy_from_slice(&8192_i16.to_le_bytes());
    beside[324..328].copy_from_slice(&7.0_f32.to_le_bytes());
    let image = Phantom::new(1).file(1);
    let class = Code::new("1", "99X", "glioma");
    for (decision, expected) in [
        (ReviewDecision::CorrectClass(class), "no class to correct"),
        (ReviewDecision::CorrectSegmentation(SegmentationFile::Nifti(given(&empty))), "no labelled voxel"),
        (
            ReviewDecision::CorrectSegmentation(SegmentationFile::Nifti(given(&beside))),
            "does not lie on the images",
        ),
        (ReviewDecision::CorrectSegmentation(SegmentationFile::Nifti(given(&vast))), "far more voxels"),
        (ReviewDecision::CorrectSegmentation(SegmentationFile::Nifti(given(b"text"))), "mask"),
        (
            ReviewDecision::CorrectSegmentation(SegmentationFile::Dicom(given(&image))),
            "no DICOM segmentation",
        ),
        (ReviewDecision::CorrectSegmentation(SegmentationFile::Dicom(given(&[0; 200]))), "no DICOM Part 10"),
    ] {
        let refused = ward.carry_out(&ward.order(0, decision)).await;
        let Err(ReviewError::Unsuitable(sentence)) = refused else { panic!("{refused:?}") };
        assert!(sentence.contains(expected), "{sentence}");
    }
    assert_eq!(ward.state().await, (ReviewState::Pending, 0));
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_held_study_is_decided_before_a_person_has_released_it() {
    let ward = Ward::with(&HELD).await;
    let study = Phantom::new(1).study();
    let now = ward.world.config.clock.now();
    ward.world
        .ledger
        .hold_study(&study, ledger::HoldReason::Manual, "who is it?", "test", now)
        .await
        .unwrap();
    assert_eq!(ward.review(0, ReviewDecision::Accept).await, Reviewed::StudyHeld);
    assert_eq!(ward.roles().await, ["seg", "sr"]);
    ward.world.ledger.release_holds(&study, "account:minji", None, now).await.unwrap();
    assert!(matches!(ward.review(0, ReviewDecision::Accept).await, Reviewed::Added(_)));
    ward.world.wait_for_proof("disk", 3).await;
    ward.running.stop().await;
}

/// Ten doctors, five results, all at once, each wanting something else: of each result exactly
/// one decision comes about, and everybody else is told that he was overtaken.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_reviewers_at_once_lose_no_decision() {
    let ward = Ward::with(&HELD).await;
    let mut results = vec![ward.result];
    for number in 2..=5 {
        results.push(computed(&ward.world, number).await);
    }
    let mut reviewers = Vec::new();
    for number in 0..10 {
        let doctor = doctor(&ward.world, &format!("doctor{number}")).await;
        for result in &results {
            let decision = match number % 3 {
                0 => ReviewDecision::Accept,
                1 => ReviewDecision::Reject(RejectionReason::Quality),
                _ => ReviewDecision::Reject(RejectionReason::PatientSafety),
            };
            let order = ReviewOrder { result: *result, reviewer: doctor.clone(), ..ward.order(0, decision) };
            let (handle, spool) = (ward.running.handle.clone(), ward.world.spool.clone());
            reviewers.push(tokio::spawn(async move {
                (order.clone(), handle.review(&spool, &key(), &order).await.unwrap())
            }));
        }
    }
    let mut added = Vec::new();
    let mut overtaken = 0;
    for reviewer in reviewers {
        match reviewer.await.unwrap() {
            (order, Reviewed::Added(review)) => {
                assert_eq!(review.reviewer, order.reviewer);
                added.push(review);
            }
            (_, Reviewed::Overtaken(1)) => overtaken += 1,
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!((added.len(), overtaken), (5, 45));
    let mut documents = 0;
    for review in &added {
        let history = ward.world.ledger.reviews(review.result).await.unwrap();
        assert_eq!(history, std::slice::from_ref(review), "the one that was told so is the one that counts");
        let artifacts = ward.world.ledger.artifacts(review.result).await.unwrap();
        let of_reviews: Vec<_> = artifacts.iter().filter(|artifact| artifact.review.is_some()).collect();
        assert!(of_reviews.iter().all(|artifact| artifact.review == Some(review.id)));
        documents += of_reviews.len();
    }
    assert_eq!(ward.world.ledger.verify_audit(&key(), &[]).await.unwrap(), Ok(5));
    // Own objects in the spool: SEG and SR of five results, and the documents of five reviews.
    let own = ward
        .world
        .spool
        .walk()
        .filter(|found| found.as_ref().is_ok_and(|found| imaging::is_own_result(&found.header)));
    assert_eq!(own.count(), 10 + documents, "those who were overtaken left something behind");
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_four_eyes_leaves_when_a_second_doctor_agrees_and_not_before() {
    // By its policy it would leave at once.
    let ward = Ward::asking_for(Eyes::Four, &[]).await;
    let second = doctor(&ward.world, "sora").await;
    ward.nothing_leaves().await;
    let nobody = ward.carry_out(&ward.order(0, ReviewDecision::Agree)).await;
    assert!(matches!(nobody, Err(ReviewError::Unsuitable(_))), "{nobody:?}");
    let first = ward.review(0, ReviewDecision::Accept).await;
    assert!(matches!(first, Reviewed::Added(_)), "{first:?}");
    assert_eq!(ward.state().await, (ReviewState::AwaitingSecond, 1));
    assert_eq!(ward.roles().await.len(), 2, "an opinion makes no document");
    ward.nothing_leaves().await;
    // Nobody is both doctors, and nobody takes back what another one said.
    assert_eq!(ward.review(1, ReviewDecision::Agree).await, Reviewed::SameDoctor);
    assert_eq!(ward.review(1, ReviewDecision::Accept).await, Reviewed::SameDoctor);
    assert_eq!(ward.review_by(&second, 1, ReviewDecision::Undo).await, Reviewed::OthersOpinion);
    assert_eq!(ward.state().await, (ReviewState::AwaitingSecond, 1));
    let agreed = ward.review_by(&second, 1, ReviewDecision::Agree).await;
    let Reviewed::Added(review) = agreed else { panic!("{agreed:?}") };
    assert_eq!((review.leads_to, review.reviewer.login.as_str()), (ReviewState::Accepted, "sora"));
    ward.world.wait_for_proof("disk", 3).await;
    assert_eq!(ward.state().await, (ReviewState::Accepted, 2));
    let reports =
        ward.arrived().into_iter().filter(|object| text(object, tags::VERIFICATION_FLAG) == "VERIFIED");
    assert_eq!(reports.count(), 1);
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctors_who_do_not_agree_leave_a_disputed_result_that_both_decide_anew() {
    let ward = Ward::asking_for(Eyes::Four, &HELD).await;
    let second = doctor(&ward.world, "sora").await;
    ward.review(0, ReviewDecision::Accept).await;
    let reject = || ReviewDecision::Reject(RejectionReason::Quality);
    ward.review_by(&second, 1, reject()).await;
    assert_eq!(ward.state().await, (ReviewState::Disputed, 2));
    let more = ward.review(2, ReviewDecision::Accept).await;
    assert_eq!(more, Reviewed::Impossible(ReviewState::Disputed));
    ward.review_by(&second, 2, ReviewDecision::Undo).await;
    assert_eq!(ward.state().await, (ReviewState::Pending, 3));
    ward.nothing_leaves().await;
    ward.review_by(&second, 3, reject()).await;
    // Said independently it is as good as "I agree".
    ward.review(4, reject()).await;
    assert_eq!(ward.state().await, (ReviewState::Rejected, 5));
    let (all, first) = (ledger::EventFilter::default(), ledger::PageRequest::first(500));
    let events = ward.world.ledger.events(&all, &first).await.unwrap().rows;
    let kinds: BTreeSet<_> = events.into_iter().map(|event| event.kind).collect();
    for kind in ["result.awaits-second", "result.disputed", "result.rejected"] {
        assert!(kinds.contains(kind), "{kind}");
    }
    ward.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segmentation_that_the_first_doctor_brought_leaves_when_the_second_agrees() {
    let ward = Ward::asking_for(Eyes::Four, &HELD).await;
    let second = doctor(&ward.world, "sora").await;
    let file = SegmentationFile::Nifti(given(&mask(5 * 32 * 32 + 7)));
    ward.review(0, ReviewDecision::CorrectSegmentation(file.clone())).await;
    assert_eq!(ward.state().await, (ReviewState::AwaitingSecond, 1));
    assert!(ward.roles().await.contains(&"corrected-seg".to_owned()), "the other one can look at it");
    ward.nothing_leaves().await;
    // The same mask again is the same correction.
    ward.review_by(&second, 1, ReviewDecision::CorrectSegmentation(file)).await;
    assert_eq!(ward.state().await, (ReviewState::Corrected, 2));
    ward.world.wait_for_proof("disk", 2).await;
    let modalities: BTreeSet<_> = ward.arrived().iter().map(|object| text(object, tags::MODALITY)).collect();
    assert_eq!(modalities, BTreeSet::from(["SEG".to_owned(), "SR".to_owned()]));
    ward.running.stop().await;
}
