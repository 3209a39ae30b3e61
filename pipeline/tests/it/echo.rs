//! Own results never start a run, whichever way they come back.

use std::time::Duration;

use ledger::{Door, JobState::Done};
use orthanc_bridge::{Bridge, Connection, Process, SourceConfig};
use peers::Orthanc;
use tokio_util::sync::CancellationToken;

use crate::{
    flow::modalities,
    phantom::Phantom,
    world::{World, eventually, stays},
};

fn source(orthanc: &Orthanc) -> SourceConfig {
    SourceConfig {
        name: "pacs".to_owned(),
        connection: Connection::to(&orthanc.url()).unwrap(),
        webhook_secret: None,
        poll: Duration::from_millis(200),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_back_to_the_archive_that_is_followed_starts_no_second_run() {
    let orthanc = Orthanc::start();
    let mut world = World::new().await.and_orthanc("pacs", &orthanc.url());
    let running = world.start();
    let shutdown = CancellationToken::new();
    let process = Process { node: world.config.node.clone(), boot: world.config.boot.clone() };
    let bridge =
        Bridge::start(vec![source(&orthanc)], &world.ledger, &world.spool, &process, &shutdown).unwrap();
    eventually("the bridge follows", async || bridge.handle().status()["pacs"].reached_at.is_some()).await;
    let phantom = Phantom::new(1);
    let study = phantom.study();

    for file in phantom.files() {
        orthanc.http().post_bytes("/instances", "application/dicom", file);
    }
    world.wait_for_jobs(&study, &[Done]).await;
    world.wait_for_proof("pacs", 2).await;
    peers::wait_until("Orthanc calls the study stable again", Duration::from_secs(30), || {
        orthanc.get("/studies?expand")[0]["IsStable"].as_bool().filter(|stable| *stable)
    });
    // Long enough for several looks of the bridge.
    stays("one job", Duration::from_secs(2), async || world.states(&study).await == [Done]).await;

    let mut expected = vec!["MR".to_owned(); 12];
    expected.extend(["SEG".to_owned(), "SR".to_owned()]);
    assert_eq!(modalities(&orthanc), expected);
    let evidence = world.ledger.evidence(&study).await.unwrap().unwrap();
    assert_eq!(evidence.series.len(), 1, "results were not fetched");
    assert!(evidence.series[0].carriers.iter().all(|carrier| carrier.door == Door::Orthanc));
    shutdown.cancel();
    bridge.stopped().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_sent_to_us_starts_no_run() {
    let mut world = World::new().await.and_folder("disk");
    let running = world.start();
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.send(&phantom.files()).await;
    world.wait_for_proof("disk", 2).await;

    let results: Vec<Vec<u8>> = std::fs::read_dir(world.out("disk").join(study.as_str()))
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    world.send(&results).await;
    eventually("it was looked at", async || {
        let row = world.ledger.study(&study).await.unwrap().unwrap();
        row.looked_revision == row.revision
    })
    .await;
    assert_eq!(world.states(&study).await, [Done]);
    running.stop().await;
}
