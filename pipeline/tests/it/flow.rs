//! From "arrived" to "delivered" when nothing goes wrong, and what makes a study wait.

use std::time::Duration;

use imaging::Uid;
use ledger::{
    EventFilter,
    JobState::{Done, Queued},
    PageRequest,
};
use peers::{Orthanc, OrthancOptions};
use pipeline::{Evidence, Part, Wait};
use serde_json::{Value, json};
use spool::InstanceKey;

use crate::{
    phantom::Phantom,
    world::{World, eventually, now, stays},
};

/// Modalities of the instances that an Orthanc holds, sorted.
pub(crate) fn modalities(orthanc: &Orthanc) -> Vec<String> {
    let series = orthanc.get("/series?expand");
    let mut modalities: Vec<String> = series
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|series| {
            let modality = series["MainDicomTags"]["Modality"].as_str().unwrap_or("?").to_owned();
            let count = series["Instances"].as_array().map_or(0, Vec::len);
            std::iter::repeat_n(modality, count)
        })
        .collect();
    modalities.sort();
    modalities
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_study_becomes_one_segmentation_and_one_report_in_orthanc() {
    for overwrite in [true, false] {
        let orthanc =
            Orthanc::start_with(OrthancOptions::default().set("OverwriteInstances", json!(overwrite)));
        let mut world = World::new().await.and_orthanc("pacs", &orthanc.url()).and_folder("disk");
        let running = world.start();
        let phantom = Phantom::new(1);

        world.send(&phantom.files()).await;

        world.wait_for_jobs(&phantom.study(), &[Done]).await;
        world.wait_for_proof("pacs", 2).await;
        world.wait_for_proof("disk", 2).await;
        assert_eq!(modalities(&orthanc), ["SEG", "SR"]);
        let files = std::fs::read_dir(world.out("disk").join(phantom.study().as_str())).unwrap().count();
        assert_eq!(files, 2);
        let job = &world.jobs(&phantom.study()).await[0];
        let result = world.ledger.result_of_job(job.id).await.unwrap().unwrap();
        let volume = result.findings["segments"][0]["measures"]["volume_ml"].as_f64().unwrap();
        // 12 x 12 pixels of 1 mm on 4 slices 2 mm apart.
        assert!((volume - 1.152).abs() < 1e-6, "{volume}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_study_again_is_not_computed_again() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_proof("disk", 2).await;

    world.send(&phantom.files()).await;
    let study = phantom.study();
    eventually("the repeat was looked at", async || {
        let row = world.ledger.study(&study).await.unwrap().unwrap();
        row.looked_revision == row.revision
    })
    .await;

    assert_eq!(world.states(&study).await, [Done]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_says_what_it_waits_for_and_a_person_can_force_it() {
    let mut world = World::new().await.and_folder("disk");
    world.config.patience.quiet = Duration::from_secs(600);
    let running = world.start();
    let phantom = Phantom { stated: Some(12), ..Phantom::new(1) };
    let mut files = phantom.files();
    files.remove(5);
    world.send(&files).await;
    let study = phantom.study();

    eventually("the study was looked at", async || {
        world.ledger.study(&study).await.unwrap().unwrap().waits_for.is_some()
    })
    .await;
    let explanation = running.handle.explain(&study).await.unwrap().unwrap();
    let readiness = explanation.series[0].readiness.clone().unwrap();
    assert_eq!(readiness.evidence, None);
    assert!(readiness.waits_for.contains(&Wait::StatedCount { arrived: 11, stated: 12 }), "{readiness:?}");
    assert!(readiness.waits_for.contains(&Wait::MissingSlices { about: 1 }), "{readiness:?}");
    assert_eq!(world.states(&study).await, []);

    let (asked, now) = (Some("REQ_20251128_001"), world.config.clock.now());
    world.ledger.force_study(&study, "a person", asked, now).await.unwrap();
    world.wait_for_jobs(&study, &[Done]).await;
    // What came of it is found by the name of the request: the job, and each event of it.
    assert_eq!(world.jobs(&study).await[0].request_id.as_deref(), asked);
    let of_study = EventFilter { study: Some(study.clone()), job: None };
    let events = world.ledger.events(&of_study, &PageRequest::first(100)).await.unwrap().rows;
    let of_job: Vec<_> = events.iter().filter(|event| event.kind.starts_with("job.")).collect();
    assert!(of_job.iter().any(|event| event.kind == "job.done"), "{of_job:?}");
    assert!(of_job.iter().all(|event| event.request_id.as_deref() == asked), "{of_job:?}");
    let explanation = running.handle.explain(&study).await.unwrap().unwrap();
    assert_eq!(explanation.series[0].readiness.as_ref().unwrap().evidence, Some(Evidence::Forced));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_association_is_waited_for() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let association = world.open("MODALITY").await;
    world.receive(association, &phantom.files()).await;
    // Longer than the quiet time, shorter than that of a doubtful sender.
    stays("no job", Duration::from_millis(900), async || world.states(&phantom.study()).await.is_empty())
        .await;
    world.release(association).await;
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_as_stat_goes_before_what_is_routine() {
    let mut world = World::new().await;
    world.config.part = pipeline::Part::Decide;
    let running = world.start();
    let (routine, urgent) = (Phantom::new(1), Phantom::new(2));
    world.send(&routine.files()).await;
    let association = world.open_to("EMERGENCY", "stat").await;
    world.receive(association, &urgent.files()).await;
    world.release(association).await;
    for (phantom, priority) in [(routine, ledger::Priority::Routine), (urgent, ledger::Priority::Stat)] {
        eventually("there is a job", async || world.jobs(&phantom.study()).await.len() == 1).await;
        assert_eq!(world.jobs(&phantom.study()).await[0].priority, priority);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_of_two_patients_is_held_until_a_person_decides() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let one = Phantom::new(1);
    let other = Phantom { patient_id: "P2".to_owned(), ..one.clone() };
    let mut files = one.files();
    files[3] = other.file(4);
    world.send(&files).await;
    let study = one.study();
    eventually("the study is held", async || world.ledger.study(&study).await.unwrap().unwrap().is_held)
        .await;
    stays("no job", Duration::from_millis(900), async || world.states(&study).await.is_empty()).await;
    let explanation = running.handle.explain(&study).await.unwrap().unwrap();
    assert_eq!(explanation.holds[0].reason, "identity-conflict");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routing_names_the_first_condition_that_fails() {
    let mut world = World::new().await;
    let running = world.start();
    let phantom = Phantom { slices: 3, ..Phantom::new(1) };
    world.send(&phantom.files()).await;
    let explanation = running.handle.explain(&phantom.study()).await.unwrap().unwrap();
    let route = &explanation.models[0];
    assert!(route.jobs.is_empty());
    let because = &route.not_chosen[0].because;
    assert_eq!((because.condition.as_str(), because.seen.as_str()), ("slices", "3"));
    let shown: Value = serde_json::to_value(&explanation).unwrap();
    assert!(!shown.to_string().contains("Test^Phantom"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_node_that_died_is_done_by_its_next_run() {
    let mut world = World::new().await.and_folder("disk");
    let phantom = Phantom::new(1);
    world.config.part = Part::Decide;
    let deciding = world.start();
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[Queued]).await;
    deciding.stop().await;
    let claim = ledger::Claim {
        worker: ledger::WorkerId::new("dies"),
        node: world.config.node.clone(),
        boot: world.config.boot.clone(),
        lease: Duration::from_secs(3600),
        models: None,
    };
    assert!(world.ledger.claim_job(&claim, now()).await.unwrap().is_some());

    world.config.part = Part::All;
    let running = world.start();
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_the_disk_damaged_is_not_computed_with_and_can_come_again() {
    let mut world = World::new().await.and_folder("disk");
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.send(&phantom.files()).await;
    let sop_instance = Uid::parse(&phantom.sop_instance(4)).unwrap().into();
    let slice = world.ledger.instance(&sop_instance).await.unwrap().unwrap();
    let key = InstanceKey { study: study.clone(), series: slice.header.series, sop_instance };
    let path = world.spool.path_of(&key);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    std::fs::write(&path, bytes).unwrap();

    let running = world.start();
    eventually("the job says why it waits", async || {
        let jobs = world.jobs(&study).await;
        let said = jobs.first().and_then(|job| job.failure.as_ref());
        said.is_some_and(|(_, reason)| reason.contains(key.sop_instance.as_str()))
    })
    .await;
    assert!(!path.exists(), "the damaged file is aside");
    assert!(!world.out("disk").exists(), "nothing leaves");
    let wanted = world.ledger.wanted_again(10).await.unwrap();
    assert_eq!(wanted.iter().map(|wanted| &wanted.sop_instance).collect::<Vec<_>>(), [&key.sop_instance]);

    world.send(&phantom.files()).await;
    world.wait_for_jobs(&study, &[Done]).await;
    world.wait_for_proof("disk", 2).await;
    running.stop().await;
}
