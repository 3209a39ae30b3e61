//! Half a series never stays the last word.

use std::{collections::BTreeSet, time::Duration};

use ledger::{
    DeliveryState,
    JobState::{Computed, Done, Superseded},
    ResultFilter,
};
use peers::Orthanc;
use pipeline::Part;
use serde_json::json;

use crate::{
    flow::modalities,
    phantom::Phantom,
    world::{World, eventually, stays},
};

#[tokio::test(flavor = "multi_thread")]
async fn late_slices_supersede_the_result() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let files = phantom.files();

    // The first association looks like a whole series.
    world.send(&files[..8]).await;
    world.wait_for_jobs(&study, &[Done]).await;
    world.send(&files[8..]).await;
    world.wait_for_jobs(&study, &[Done, Done]).await;
    // Two results of two objects, and the note about the older.
    world.wait_for_proof("disk", 5).await;

    let page = ledger::PageRequest::first(10);
    let results = world.ledger.results(&ResultFilter::default(), &page).await.unwrap().rows;
    assert_eq!(results.len(), 2);
    assert_eq!(results[1].superseded_by, Some(results[0].id), "newest first");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_told_what_is_superseded_once_it_holds_the_new_objects() {
    let mut orthanc = Orthanc::start();
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url()).and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let files = phantom.files();
    world.send(&files[..8]).await;
    world.wait_for_proof("pacs", 2).await;
    let old = instances(&orthanc);

    // One archive is down: it must not hide what it has before it has something better.
    orthanc.kill();
    world.send(&files[8..]).await;
    world.wait_for_proof("disk", 5).await;
    assert_eq!(world.delivered("pacs", DeliveryState::Proved).await, 2);
    orthanc.restart();
    world.config.clock.advance(Duration::from_secs(600));
    world.wait_for_proof("pacs", 5).await;

    assert_eq!(modalities(&orthanc), ["KO", "SEG", "SEG", "SR", "SR"]);
    let note = orthanc
        .post("/tools/find", &json!({ "Level": "Series", "Query": { "Modality": "KO" }, "Expand": true }));
    let note = note[0]["Instances"][0].as_str().unwrap();
    assert_eq!(named_by(&orthanc, note), old);
    running.stop().await;

    // Nothing more is owed: neither a restart nor a third look writes another.
    let running = world.start();
    stays("no second note", Duration::from_secs(1), async || {
        world.ledger.superseded_to_tell(10).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(modalities(&orthanc).len(), 5);
    running.stop().await;
}

/// SOP Instance UIDs of everything that Orthanc holds.
fn instances(orthanc: &Orthanc) -> BTreeSet<String> {
    let found = orthanc.get("/instances?expand");
    let uid = |instance: &serde_json::Value| {
        instance["MainDicomTags"]["SOPInstanceUID"].as_str().unwrap().to_owned()
    };
    found.as_array().unwrap().iter().map(uid).collect()
}

/// SOP Instance UIDs that a key object note names in its content.
fn named_by(orthanc: &Orthanc, note: &str) -> BTreeSet<String> {
    let tags = orthanc.get(&format!("/instances/{note}/simplified-tags"));
    assert_eq!(tags["ConceptNameCodeSequence"][0]["CodeValue"], "113001");
    let items = tags["ContentSequence"].as_array().unwrap().iter();
    let uid = |item: &serde_json::Value| {
        let reference = &item["ReferencedSOPSequence"][0];
        reference["ReferencedSOPInstanceUID"].as_str().map(str::to_owned)
    };
    items.filter_map(uid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_over_half_a_series_that_nobody_began_is_never_run() {
    let mut world = World::new().await.and_folder("disk");
    world.config.part = Part::Decide;
    let deciding = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let files = phantom.files();
    world.send(&files[..8]).await;
    eventually("the half is asked for", async || world.states(&study).await.len() == 1).await;
    world.send(&files[8..]).await;
    eventually("the whole is asked for", async || world.states(&study).await.len() == 2).await;
    deciding.stop().await;

    world.config.part = Part::All;
    let running = world.start();
    world.wait_for_jobs(&study, &[Done, Superseded]).await;
    world.wait_for_proof("disk", 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_that_come_while_a_job_runs_keep_its_result_back() {
    let mut world = World::new().await.and_folder("disk");
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let files = phantom.files();
    // Decided on one node, computed on another that starts after more slices have come.
    world.config.part = Part::Decide;
    let deciding = world.start();
    world.send(&files[..8]).await;
    eventually("the half is asked for", async || world.states(&study).await.len() == 1).await;
    deciding.stop().await;
    world.config.part = Part::Work;
    let association = world.open("MODALITY").await;
    world.receive(association, &files[8..]).await;
    let working = world.start();
    world.wait_for_jobs(&study, &[Computed]).await;
    assert_eq!(world.delivered("disk", ledger::DeliveryState::Waiting).await, 0);
    let page = ledger::PageRequest::first(10);
    assert!(
        world.ledger.results(&ResultFilter::default(), &page).await.unwrap().rows.is_empty(),
        "nobody sees it"
    );
    working.stop().await;

    world.config.part = Part::All;
    let running = world.start();
    world.release(association).await;
    world.wait_for_jobs(&study, &[Done, Superseded]).await;
    world.wait_for_proof("disk", 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_associations_give_one_result_over_everything() {
    let mut world = World::new().await.and_folder("disk");
    // Longer than the pause below: one sender is slow.
    world.config.patience.quiet = Duration::from_secs(1);
    let running = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let files = phantom.files();
    let (odd, even) = (world.open("ONE").await, world.open("TWO").await);
    for pair in files.chunks(2) {
        world.receive(odd, &pair[..1]).await;
        world.receive(even, &pair[1..]).await;
    }
    world.release(even).await;
    world.release(odd).await;
    world.wait_for_jobs(&study, &[Done]).await;
    let job = &world.jobs(&study).await[0];
    assert_eq!(world.ledger.job_inputs(job.id).await.unwrap()[0].instances.len(), 12);
    running.stop().await;
}
