//! Results reach their destinations, whatever the destinations do meanwhile.

use std::time::Duration;

use ledger::{DeliveryState, JobState::Done};
use peers::{Orthanc, OrthancOptions};
use serde_json::json;

use crate::{
    flow::modalities,
    phantom::Phantom,
    world::{World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_down_for_a_day_gets_everything_afterwards_once() {
    let mut orthanc = Orthanc::start();
    orthanc.kill();
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url()).and_folder("disk");
    let running = world.start();
    let phantoms: Vec<Phantom> = (1..=3).map(Phantom::new).collect();
    for phantom in &phantoms {
        world.send(&phantom.files()).await;
    }
    for phantom in &phantoms {
        world.wait_for_jobs(&phantom.study(), &[Done]).await;
    }
    world.wait_for_proof("disk", 6).await;
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

    world.wait_for_proof("pacs", 6).await;
    assert_eq!(modalities(&orthanc), ["SEG", "SEG", "SEG", "SR", "SR", "SR"]);
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
    world.config.destinations.push(pipeline::DestinationConfig { name: "web".to_owned(), kind });
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
    let kind = pipeline::DestinationKind::Cstore { peer };
    world.config.destinations.push(pipeline::DestinationConfig { name: "pacs".to_owned(), kind });
    let running = world.start();
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_proof("pacs", 2).await;
    assert_eq!(modalities(&orthanc), ["SEG", "SR"]);
    running.stop().await;
}
