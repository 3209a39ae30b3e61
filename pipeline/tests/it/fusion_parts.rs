//! The parts of a fusion come late, change, fail or are refused; the fusion follows.

use std::time::Duration;

use ledger::{JobState, Outcome, RejectionReason, ResultRow};
use pipeline::{Part, ReviewDecision, ReviewOrder};

use crate::{
    fusion::{analysed, answer, asked, expected, fusions, has_findings, in_force, not_analysed, probability},
    phantom::Phantom,
    review::{doctor, key},
    world::{Running, World, copy_package, registry_of, stays, variant},
};

async fn decide(world: &World, running: &Running, part: &ResultRow, after: u32, decision: ReviewDecision) {
    let login = format!("doctor{after}");
    let reviewer = doctor(world, &login).await;
    let order = ReviewOrder { result: part.id, after, decision, comment: None, reviewer, request_id: None };
    let reviewed = running.handle.review(&world.spool, &key(), &order).await.unwrap();
    assert!(matches!(reviewed, ledger::Reviewed::Added(_)), "{reviewed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_part_is_an_answer_and_is_made_good_when_it_comes() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let association = world.open("MODALITY").await;
    world.receive(association, &phantom.files()[..6]).await;

    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    answer(&world, &study, not_analysed("bright has no result in this study")).await;

    // The series becomes whole: nobody has to ask again.
    world.receive(association, &phantom.files()[6..]).await;
    world.release(association).await;
    let row = answer(&world, &study, |row| row.outcome == Outcome::Findings).await;
    let part = in_force(&world, &study, "bright").await.remove(0);
    let probability = row.findings["probability"].as_f64().unwrap();
    assert!((probability - expected(&part, 0.0, -1.0)).abs() < 1e-12, "{}", row.findings);

    for (values, reason) in
        [(&[("age", -1.0)][..], "no values for tide were given"), (&[("level", 0.0)][..], "age is missing")]
    {
        asked(&running.handle, &study, values).await;
        answer(&world, &study, not_analysed(reason)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_slices_bring_a_new_fusion_too() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.send(&phantom.files()[..8]).await;
    world.wait_for_jobs(&study, &[JobState::Done]).await;
    asked(&running.handle, &study, &[("level", 0.5), ("age", -1.0)]).await;
    let before = answer(&world, &study, |row| row.outcome == Outcome::Findings).await;
    let part_before = in_force(&world, &study, "bright").await.remove(0);

    world.send(&phantom.files()[8..]).await;

    let after = answer(&world, &study, |row| row.id != before.id).await;
    let part = in_force(&world, &study, "bright").await.remove(0);
    assert_ne!(part.id, part_before.id);
    let probability = after.findings["probability"].as_f64().unwrap();
    assert!((probability - expected(&part, 0.5, -1.0)).abs() < 1e-12, "{}", after.findings);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_doctor_rejects_goes_into_no_fusion_until_he_takes_it_back() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let study = analysed(&world).await;
    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    let first = answer(&world, &study, has_findings).await;
    let part = in_force(&world, &study, "bright").await.remove(0);

    decide(&world, &running, &part, 0, ReviewDecision::Reject(RejectionReason::Quality)).await;
    let refused = answer(&world, &study, not_analysed("a doctor rejected the result of bright")).await;
    let report = world.ledger.artifacts(refused.id).await.unwrap();
    assert!(!report.is_empty(), "it stands beside the part, and replaces the report of the older answer");

    decide(&world, &running, &part, 1, ReviewDecision::Undo).await;
    let again = answer(&world, &study, has_findings).await;
    assert_ne!(again.id, first.id);
    assert!((probability(&again) - probability(&first)).abs() < 1e-15);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_came_while_nobody_followed_is_followed_at_the_next_start() {
    let mut world = World::new().await;
    let phantom = Phantom::new(1);
    let study = phantom.study();
    let running = world.start();
    let association = world.open("MODALITY").await;
    world.receive(association, &phantom.files()).await;
    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    answer(&world, &study, |row| row.outcome == Outcome::NotAnalysed).await;
    running.stop().await;

    // A process that ends between the part's result and the question that follows from it.
    let without_fusion = variant(&world.folder, &[]);
    let running = world.start_with(without_fusion);
    world.release(association).await;
    world.wait_for_jobs(&study, &[JobState::Done, JobState::Done]).await;
    running.stop().await;
    assert_eq!(fusions(&world, &study).await.len(), 1);

    let running = world.start();
    answer(&world, &study, has_findings).await;
    running.stop().await;
    let running = world.start();
    stays("no further question", Duration::from_millis(500), async || {
        fusions(&world, &study).await.len() == 2
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_could_not_analyse_the_study_says_why() {
    let mut world = World::new().await;
    let models = world.folder.join("models");
    let choosy = [("[window]", "[fitness]\nslice_spacing_mm = { max = 0.1 }\n\n[window]")];
    copy_package("bright", &models.join("bright"), &choosy);
    copy_package("tide", &models.join("tide"), &[]);
    copy_package("joined", &models.join("joined"), &[]);
    let running = world.start_with(registry_of(&models));
    let study = analysed(&world).await;
    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    let begins = "bright was not analysed: ";
    answer(&world, &study, |row| {
        row.findings["reason"].as_str().is_some_and(|reason| reason.starts_with(begins))
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_failed_says_so() {
    let mut world = World::new().await;
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.config.part = Part::Decide;
    let running = world.start();
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&study, &[JobState::Queued]).await;
    running.stop().await;

    // The version that was asked for has gone.
    let models = world.folder.join("models");
    copy_package("bright", &models.join("bright"), &[("version = \"1.0.0\"", "version = \"2.0.0\"")]);
    copy_package("tide", &models.join("tide"), &[]);
    copy_package("joined", &models.join("joined"), &[]);
    world.config.part = Part::Work;
    let running = world.start_with(registry_of(&models));
    world.wait_for_jobs(&study, &[JobState::Dead]).await;
    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    answer(&world, &study, not_analysed("bright failed in this study")).await;
    running.stop().await;
}
