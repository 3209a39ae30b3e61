//! Results reach their destinations, whatever the destinations do meanwhile.

use std::time::Duration;

use imaging::StudyUid;
use ledger::{DeliveryFilter, DeliveryState, JobState::Done, PageRequest, Parcel};
use peers::{Orthanc, OrthancOptions};
use serde_json::{Value, json};

use crate::{
    flow::modalities,
    phantom::Phantom,
    world::{World, eventually},
};

/// UIDs of what an Orthanc was given, in the order in which it came.
fn arrivals(orthanc: &Orthanc) -> Vec<String> {
    let log = orthanc.get("/changes?limit=1000");
    let lines = log["Changes"].as_array().unwrap().iter();
    let new = lines.filter(|line| line["ChangeType"] == "NewInstance");
    let uid = |line: &Value| {
        let instance = orthanc.get(line["Path"].as_str().unwrap());
        instance["MainDicomTags"]["SOPInstanceUID"].as_str().unwrap().to_owned()
    };
    new.map(uid).collect()
}

/// UIDs of what was put into the outbox of a destination for a study, in that order.
async fn put_into_outbox(world: &World, destination: &str, study: &StudyUid) -> Vec<String> {
    let filter = DeliveryFilter {
        destination: Some(destination.to_owned()),
        study: Some(study.clone()),
        ..DeliveryFilter::default()
    };
    let mut deliveries = world.ledger.deliveries(&filter, &PageRequest::first(100)).await.unwrap().rows;
    deliveries.sort_by_key(|delivery| delivery.id.0);
    let mut uids = Vec::new();
    for delivery in deliveries {
        let Parcel::Artifact(id) = delivery.parcel else { panic!("an archive is sent no message") };
        uids.push(world.ledger.artifact(id).await.unwrap().unwrap().sop_instance.to_string());
    }
    uids
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_down_for_a_day_gets_everything_afterwards_once_and_in_order() {
    let mut orthanc = Orthanc::start();
    orthanc.kill();
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url()).and_folder("disk");
    let running = world.start();
    let phantoms: Vec<Phantom> = (1..=3).map(Phantom::new).collect();
    // Each study has two results, the second of which supersedes the first.
    for phantom in &phantoms {
        world.send(&phantom.files()[..8]).await;
        world.wait_for_jobs(&phantom.study(), &[Done]).await;
    }
    for phantom in &phantoms {
        world.send(&phantom.files()[8..]).await;
        world.wait_for_jobs(&phantom.study(), &[Done, Done]).await;
    }
    // Four objects of each study, and the note that the first two are superseded.
    world.wait_for_proof("disk", 15).await;
    eventually("the archive is known to be down", async || {
        let known = world.ledger.destination("pacs").await.unwrap();
        known.is_some_and(|known| known.failures > 0)
    })
    .await;
    let answers = running.handle.check_destinations().await;
    assert!(answers["pacs"].as_ref().is_err_and(|text| text.contains("cannot reach")));
    assert!(answers["disk"].is_ok());

    // A day in hours; each time the pause is over it is tried again, and fails again.
    for _ in 0..24 {
        let before = world.ledger.destination("pacs").await.unwrap().unwrap().failures;
        world.config.clock.advance(Duration::from_secs(3600));
        eventually("it is tried again", async || {
            world.ledger.destination("pacs").await.unwrap().unwrap().failures > before
        })
        .await;
    }
    orthanc.restart();
    world.config.clock.advance(Duration::from_secs(3600));

    world.wait_for_proof("pacs", 15).await;
    let arrived = arrivals(&orthanc);
    assert_eq!(arrived.len(), 15, "each once: {arrived:?}");
    for phantom in &phantoms {
        let expected = put_into_outbox(&world, "pacs", &phantom.study()).await;
        assert_eq!(expected.len(), 5);
        let came: Vec<_> = arrived.iter().filter(|uid| expected.contains(uid)).cloned().collect();
        assert_eq!(came, expected, "in order");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_over_a_restart() {
    let mut orthanc = Orthanc::start();
    orthanc.kill();
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url());
    let running = world.start();
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    running.stop().await;

    orthanc.restart();
    world.config.clock.advance(Duration::from_secs(600));
    let running = world.start();
    world.wait_for_proof("pacs", 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_object_parks_its_own_study_only() {
    // A real Orthanc that does not want the second study.
    let folder = tempfile::tempdir().unwrap();
    let unwanted = Phantom::new(2);
    let script = folder.path().join("filter.lua");
    let filter = format!(
        "function ReceivedInstanceFilter(dicom, origin) return dicom.StudyInstanceUID ~= '{}' end",
        unwanted.study()
    );
    std::fs::write(&script, filter).unwrap();
    let orthanc = Orthanc::start_with(OrthancOptions::default().set("LuaScripts", json!([script])));
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url());
    let running = world.start();

    for phantom in [Phantom::new(1), unwanted.clone(), Phantom::new(3)] {
        world.send(&phantom.files()).await;
        world.wait_for_jobs(&phantom.study(), &[Done]).await;
    }

    world.wait_for_proof("pacs", 4).await;
    eventually("one is parked", async || world.delivered("pacs", DeliveryState::Parked).await == 1).await;
    assert_eq!(
        world.delivered("pacs", DeliveryState::Waiting).await,
        1,
        "the rest of its study waits behind it"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stow_stores_and_proves_by_a_search() {
    let orthanc = Orthanc::start();
    let mut world = World::new().await;
    let connection = orthanc_bridge::Connection::to(&format!("{}/dicom-web", orthanc.url())).unwrap();
    let kind = pipeline::DestinationKind::Stow { connection };
    world.config.destinations.push(pipeline::DestinationConfig::new("web", kind));
    let running = world.start();
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_proof("web", 2).await;
    assert_eq!(modalities(&orthanc), ["SEG", "SR"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_store_reaches_an_archive_without_rest() {
    let orthanc = Orthanc::start();
    let mut world = World::new().await;
    let title = |text: &str| scp::AeTitle::parse(text).unwrap();
    let address = format!("127.0.0.1:{}", orthanc.dicom_port());
    let peer = scp::ClientOptions::new(address, title(orthanc.ae_title()), title("OVERREAD"));
    let kind = pipeline::DestinationKind::Cstore { peer, proof: pipeline::StoreProof::Status };
    world.config.destinations.push(pipeline::DestinationConfig::new("pacs", kind));
    let running = world.start();
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_proof("pacs", 2).await;
    assert_eq!(modalities(&orthanc), ["SEG", "SR"]);
    running.stop().await;
}
