//! A model over what others found: asked once, answered with the reason when a part is missing, asked anew when one changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use imaging::StudyUid;
use ledger::{HoldReason, JobState, Outcome, PageRequest, ResultFilter, ResultRow};
use pipeline::{FusionError, FusionOrder, PipelineHandle};

use crate::{
    phantom::Phantom,
    world::{World, copy_package, eventually, registry_of, stays},
};

fn order(study: &StudyUid, values: &[(&str, f64)]) -> FusionOrder {
    FusionOrder {
        study: study.clone(),
        model: "joined".to_owned(),
        values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>(),
        actor: "test".to_owned(),
        request_id: None,
    }
}

pub(crate) async fn asked(
    handle: &PipelineHandle,
    study: &StudyUid,
    values: &[(&str, f64)],
) -> ledger::JobId {
    handle.fuse(&order(study, values)).await.unwrap()
}

/// The results of the fusion that no other replaces.
pub(crate) async fn in_force(world: &World, study: &StudyUid, model: &str) -> Vec<ResultRow> {
    let filter = ResultFilter {
        study: Some(study.clone()),
        model_id: Some(model.to_owned()),
        ..ResultFilter::default()
    };
    let mut rows = world.ledger.results(&filter, &PageRequest::first(50)).await.unwrap().rows;
    rows.retain(|row| row.superseded_by.is_none());
    rows
}

pub(crate) async fn answer(world: &World, study: &StudyUid, holds: impl Fn(&ResultRow) -> bool) -> ResultRow {
    eventually(
        "the fusion is answered so",
        async || matches!(&in_force(world, study, "joined").await[..], [only] if holds(only)),
    )
    .await;
    in_force(world, study, "joined").await.remove(0)
}

pub(crate) fn has_findings(row: &ResultRow) -> bool {
    row.outcome == Outcome::Findings
}

/// A study that came, and whose parts are there.
pub(crate) async fn analysed(world: &World) -> StudyUid {
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[JobState::Done]).await;
    phantom.study()
}

pub(crate) fn probability(row: &ResultRow) -> f64 {
    row.findings["probability"].as_f64().unwrap()
}

/// The jobs of the fusion, the newest first.
pub(crate) async fn fusions(world: &World, study: &StudyUid) -> Vec<ledger::Job> {
    let mut jobs = world.jobs(study).await;
    jobs.retain(|job| job.model.id == "joined");
    jobs
}

pub(crate) fn not_analysed(reason: &str) -> impl Fn(&ResultRow) -> bool {
    move |row| row.outcome == Outcome::NotAnalysed && row.findings["reason"] == reason
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

/// What the graph gives for the volume that was found.
pub(crate) fn expected(part: &ResultRow, level: f64, age: f64) -> f64 {
    let volume = part.findings["segments"][0]["measures"]["volume_ml"].as_f64().unwrap();
    assert!(volume > 0.0);
    sigmoid(volume + sigmoid(level) + age)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fusion_joins_what_was_found_and_what_is_stated_and_is_written_beside_its_part() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let study = analysed(&world).await;

    let values = [("level", -0.3), ("age", -1.5)];
    let job = asked(&running.handle, &study, &values).await;
    assert_eq!(asked(&running.handle, &study, &values).await, job, "the same question again");

    let row = answer(&world, &study, |row| row.outcome == Outcome::Findings).await;
    let part = in_force(&world, &study, "bright").await.remove(0);
    let probability = row.findings["probability"].as_f64().unwrap();
    assert!((probability - expected(&part, -0.3, -1.5)).abs() < 1e-12, "{}", row.findings);
    // SEG and SR of the part, SR of the fusion.
    world.wait_for_proof("disk", 3).await;
    let report = world.ledger.artifacts(row.id).await.unwrap().remove(0);
    assert_eq!((report.role.as_str(), report.study), ("sr", study.clone()));

    // Other values replace the answer.
    asked(&running.handle, &study, &[("level", -0.3), ("age", -2.5)]).await;
    answer(&world, &study, |row| {
        (row.findings["probability"].as_f64().unwrap_or(1.0) - expected(&part, -0.3, -2.5)).abs() < 1e-12
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_fusion_or_no_study_is_refused() {
    let mut world = World::new().await;
    let running = world.start();
    let study = Phantom::new(1).study();
    let refused = async |model: &str| {
        let order = FusionOrder { model: model.to_owned(), ..order(&study, &[]) };
        running.handle.fuse(&order).await.unwrap_err()
    };
    assert!(matches!(refused("nothing").await, FusionError::NoSuchModel(_)));
    assert!(matches!(refused("bright").await, FusionError::NoFusion(_)));
    assert!(matches!(refused("joined").await, FusionError::NoSuchStudy));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_taken_back_are_asked_anew_and_the_last_word_stands() {
    let mut world = World::new().await;
    let running = world.start();
    let study = analysed(&world).await;
    let part = in_force(&world, &study, "bright").await.remove(0);

    for age in [-1.5, -2.5, -1.5] {
        asked(&running.handle, &study, &[("level", 0.0), ("age", age)]).await;
        let said = expected(&part, 0.0, age);
        answer(&world, &study, |row| has_findings(row) && (probability(row) - said).abs() < 1e-12).await;
    }
    assert_eq!(fusions(&world, &study).await.len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_ask_once_and_of_two_words_one_is_last() {
    let mut world = World::new().await;
    let running = world.start();
    let study = analysed(&world).await;

    let same = (0..8).map(|_| {
        let (handle, study) = (running.handle.clone(), study.clone());
        tokio::spawn(async move { asked(&handle, &study, &[("level", 0.0), ("age", -1.0)]).await })
    });
    let mut jobs = BTreeSet::new();
    for task in same.collect::<Vec<_>>() {
        jobs.insert(task.await.unwrap());
    }
    assert_eq!(jobs.len(), 1, "one question, one job");

    let different = (0..8).map(|number| {
        let (handle, study) = (running.handle.clone(), study.clone());
        let age = -2.0 - f64::from(number);
        tokio::spawn(async move { asked(&handle, &study, &[("level", 0.0), ("age", age)]).await })
    });
    for task in different.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let last = fusions(&world, &study).await.remove(0);
    let part = in_force(&world, &study, "bright").await.remove(0);
    let said = expected(&part, 0.0, last.options["values"]["age"].as_f64().unwrap());
    answer(&world, &study, |row| row.job == last.id && (probability(row) - said).abs() < 1e-12).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_patient_goes_in_and_nothing_leaves_a_held_study() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let (one, other) = (Phantom::new(1), Phantom { slices: 9, ..Phantom::new(2) });
    for phantom in [&one, &other] {
        world.send(&phantom.files()).await;
        world.wait_for_jobs(&phantom.study(), &[JobState::Done]).await;
    }
    world.wait_for_proof("disk", 4).await;
    let now = world.config.clock.now();
    let held = one.study();
    world.ledger.hold_study(&held, HoldReason::Manual, "who is it?", "test", now).await.unwrap();

    let values = [("level", 0.0), ("age", -1.0)];
    let jobs =
        [asked(&running.handle, &held, &values).await, asked(&running.handle, &other.study(), &values).await];
    assert_ne!(jobs[0], jobs[1], "the same values of two studies are two questions");
    let answered = answer(&world, &other.study(), has_findings).await;
    let part = in_force(&world, &other.study(), "bright").await.remove(0);
    assert!((probability(&answered) - expected(&part, 0.0, -1.0)).abs() < 1e-12);
    world.wait_for_proof("disk", 5).await;
    eventually("the fusion of the held study is computed", async || {
        fusions(&world, &held).await[0].state == JobState::Computed
    })
    .await;
    stays("nobody sees it", Duration::from_millis(300), async || {
        in_force(&world, &held, "joined").await.is_empty()
    })
    .await;

    world.ledger.release_holds(&held, "account:minji", None, now).await.unwrap();
    answer(&world, &held, has_findings).await;
    world.wait_for_proof("disk", 6).await;
    assert_eq!(fusions(&world, &held).await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_version_of_a_fusion_answers_beside_it_and_sends_nothing() {
    let mut world = World::new().await.and_folder("disk");
    let models = world.folder.join("models");
    for name in ["bright", "tide", "joined"] {
        copy_package(name, &models.join(name), &[]);
    }
    let shadow =
        [("version = \"1.0.0\"", "version = \"1.1.0\""), ("policy = \"write\"", "policy = \"shadow\"")];
    copy_package("joined", &models.join("joined@1.1.0"), &shadow);
    let running = world.start_with(registry_of(&models));
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.send(&phantom.files()[..8]).await;
    world.wait_for_jobs(&study, &[JobState::Done]).await;
    asked(&running.handle, &study, &[("level", 0.0), ("age", -1.0)]).await;
    eventually("both answer", async || in_force(&world, &study, "joined").await.len() == 2).await;
    world.wait_for_proof("disk", 3).await;

    // Both follow the part that replaces the first.
    world.send(&phantom.files()[8..]).await;
    eventually("both answer anew", async || {
        let jobs = fusions(&world, &study).await;
        jobs.len() == 4 && jobs.iter().all(|job| job.state == JobState::Done)
    })
    .await;
    assert_eq!(in_force(&world, &study, "joined").await.len(), 2);
    running.stop().await;
}
