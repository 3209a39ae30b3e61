//! Two destinations, two forms of one result: each gets its own, and is told about its own only.

use std::collections::BTreeSet;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::DefaultDicomObject;
use ledger::{JobState::Done, RejectionReason, Reviewed};
use pipeline::{Form, ReviewDecision, ReviewOrder};
use results::{EmptyFrames, SegmentationType};

use crate::{
    phantom::Phantom,
    review::{doctor, files_under, key, text},
    world::{World, variant},
};

async fn world() -> World {
    let mut world = World::new().await.and_folder("plain").and_folder("maps").and_folder("copy");
    world.config.destinations[1].form =
        Form { segmentation: Some(SegmentationType::LabelMap), summary: Some(true), ..Form::default() };
    // what the package does anyway is no other form
    world.config.destinations[2].form = Form { empty_frames: Some(EmptyFrames::LeaveOut), ..Form::default() };
    world
}

fn objects(world: &World, destination: &str) -> Vec<DefaultDicomObject> {
    files_under(&world.out(destination)).iter().map(|path| dicom_object::open_file(path).unwrap()).collect()
}

fn uids_of<'a>(objects: impl IntoIterator<Item = &'a DefaultDicomObject>) -> BTreeSet<String> {
    objects.into_iter().map(|object| text(object, tags::SOP_INSTANCE_UID)).collect()
}

fn of_modality<'a>(objects: &'a [DefaultDicomObject], modality: &str) -> Vec<&'a DefaultDicomObject> {
    objects.iter().filter(|object| text(object, tags::MODALITY) == modality).collect()
}

/// SOP Instance UIDs that a document refers to as evidence.
fn evidence(document: &DefaultDicomObject) -> BTreeSet<String> {
    let items = |object: &dicom_object::InMemDicomObject, tag: Tag| -> Vec<dicom_object::InMemDicomObject> {
        object.get(tag).and_then(|element| element.items()).map(<[_]>::to_vec).unwrap_or_default()
    };
    items(document, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)
        .iter()
        .flat_map(|study| items(study, tags::REFERENCED_SERIES_SEQUENCE))
        .flat_map(|series| items(&series, tags::REFERENCED_SOP_SEQUENCE))
        .map(|item| item.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_destination_gets_its_form_and_never_a_uid_of_another() {
    let mut world = world().await;
    let running = world.start();
    world.send(&Phantom::new(1).files()).await;
    world.wait_for_proof("plain", 2).await;
    world.wait_for_proof("copy", 2).await;
    world.wait_for_proof("maps", 3).await;

    let (plain, maps, copy) = (objects(&world, "plain"), objects(&world, "maps"), objects(&world, "copy"));
    assert!(uids_of(&plain).is_disjoint(&uids_of(&maps)));
    assert_eq!(uids_of(&plain), uids_of(&copy), "equal forms are one set of objects");
    for (objects, class) in
        [(&plain, uids::SEGMENTATION_STORAGE), (&maps, uids::LABEL_MAP_SEGMENTATION_STORAGE)]
    {
        let [segmentation] = of_modality(objects, "SEG")[..] else { panic!("one SEG") };
        let [report] = of_modality(objects, "SR")[..] else { panic!("one SR") };
        assert_eq!(text(segmentation, tags::SOP_CLASS_UID), class);
        assert!(evidence(report).contains(&text(segmentation, tags::SOP_INSTANCE_UID)));
    }
    // no echo: whatever form comes back, it is known
    let own = world.ledger.own_objects(&Phantom::new(1).study()).await.unwrap();
    let own: BTreeSet<String> = own.iter().map(|uid| uid.as_str().to_owned()).collect();
    assert!(uids_of(plain.iter().chain(&maps)).is_subset(&own));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_name_what_their_destination_got() {
    let mut world = world().await;
    let running = world.start();
    let phantom = Phantom::new(1);
    let files = phantom.files();
    world.send(&files[..8]).await;
    world.wait_for_proof("plain", 2).await;
    world.wait_for_proof("maps", 3).await;
    let first = [uids_of(&objects(&world, "plain")), uids_of(&objects(&world, "maps"))];
    world.send(&files[8..]).await;
    world.wait_for_jobs(&phantom.study(), &[Done, Done]).await;
    world.wait_for_proof("plain", 5).await;
    world.wait_for_proof("maps", 7).await;
    for (destination, first) in ["plain", "maps"].into_iter().zip(&first) {
        let objects = objects(&world, destination);
        let [note] = of_modality(&objects, "KO")[..] else { panic!("{destination}: one note") };
        assert_eq!(&evidence(note), first, "{destination}: superseded");
    }

    let newest = world.jobs(&phantom.study()).await;
    let result = world.ledger.result_of_job(newest[1].id).await.unwrap().unwrap();
    let result = match result.superseded_by {
        Some(newer) => newer,
        None => result.id,
    };
    let reviewer = doctor(&world, "minji").await;
    let decision = ReviewDecision::Reject(RejectionReason::Quality);
    let order = ReviewOrder { result, after: 0, decision, comment: None, reviewer, request_id: None };
    let before = ["plain", "maps"].map(|destination| uids_of(&objects(&world, destination)));
    let reviewed = running.handle.review(&world.spool, &key(), &order).await.unwrap();
    assert!(matches!(reviewed, Reviewed::Added(_)), "{reviewed:?}");
    world.wait_for_proof("plain", 7).await;
    world.wait_for_proof("maps", 9).await;
    for ((destination, before), first) in ["plain", "maps"].into_iter().zip(&before).zip(&first) {
        let objects = objects(&world, destination);
        let [note] = of_modality(&objects, "KO")
            .into_iter()
            .filter(|note| !before.contains(&text(note, tags::SOP_INSTANCE_UID)))
            .collect::<Vec<_>>()[..]
        else {
            panic!("{destination}: one new note")
        };
        let notes = uids_of(of_modality(&objects, "KO"));
        let expected: BTreeSet<String> =
            before.difference(first).filter(|uid| !notes.contains(*uid)).cloned().collect();
        assert_eq!(evidence(note), expected, "{destination}: rejected");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probabilities_that_a_package_keeps_reach_whoever_wants_them() {
    let mut world = World::new().await.and_folder("map").and_folder("fractional");
    world.config.destinations[1].form = Form {
        segmentation: Some(SegmentationType::Fractional),
        parametric_map: Some(false),
        ..Form::default()
    };
    let registry =
        variant(&world.folder, &[("policy = \"write\"", "policy = \"write\"\nparametric_map = true")]);
    let running = world.start_with(registry);
    world.send(&Phantom::new(1).files()).await;
    world.wait_for_proof("map", 3).await;
    world.wait_for_proof("fractional", 2).await;

    let [maps, fractional] = ["map", "fractional"].map(|name| objects(&world, name));
    let of_class = |objects: &[DefaultDicomObject], class: &str| -> Vec<DefaultDicomObject> {
        objects.iter().filter(|object| text(object, tags::SOP_CLASS_UID) == class).cloned().collect()
    };
    let [map] = &of_class(&maps, uids::PARAMETRIC_MAP_STORAGE)[..] else { panic!("one map") };
    let values = map.element(tags::FLOAT_PIXEL_DATA).unwrap().to_multi_float32().unwrap();
    assert_eq!(values.len(), 12 * 32 * 32);
    // 12 x 12 pixels on 4 slices are bright.
    assert_eq!(values.iter().filter(|value| **value >= 0.5).count(), 12 * 12 * 4);
    let [segmentation] = of_modality(&fractional, "SEG")[..] else { panic!("one SEG") };
    assert_eq!(text(segmentation, tags::SEGMENTATION_FRACTIONAL_TYPE), "PROBABILITY");
    assert!(of_class(&fractional, uids::PARAMETRIC_MAP_STORAGE).is_empty());
    running.stop().await;
}
