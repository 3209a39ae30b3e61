//! Studies come in from Orthanc, whatever fails in between.

use std::time::Duration;

use orthanc_bridge::Credentials;
use peers::{Orthanc, OrthancOptions};
use serde_json::json;

use crate::world::{World, eventually, series, source, study_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_stable_study_is_found_in_the_change_log() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;

    for file in series() {
        orthanc.store(file);
    }

    world.wait_for_stable(&study_of(&series()[0]), 35).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_slices_make_a_study_unstable_until_they_are_fetched() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;
    let study = study_of(&series()[0]);

    series()[..20].iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study, 20).await;
    series()[20..].iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study, 35).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orthanc_that_dies_before_a_study_is_stable_loses_nothing() {
    let mut orthanc = Orthanc::start_with(OrthancOptions::default().set("StableAge", json!(600)));
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;

    series().iter().for_each(|file| drop(orthanc.store(file)));
    orthanc.kill();
    eventually("the bridge notices", async || bridge.handle.status()["main"].failure.is_some()).await;
    orthanc.restart();

    // Orthanc says nothing about the study any more, but calls it stable when it is asked.
    world.wait_for_stable(&study_of(&series()[0]), 35).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_bridge_was_off_is_fetched_once() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let sources = || vec![source("main", &orthanc.url())];
    let study = study_of(&series()[0]);
    let bridge = world.follow(sources());
    eventually("the bridge follows", async || bridge.handle.status()["main"].reached_at.is_some()).await;
    bridge.stop().await;

    series().iter().for_each(|file| drop(orthanc.store(file)));
    let bridge = world.follow(sources());
    world.wait_for_stable(&study, 35).await;
    bridge.stop().await;

    let bridge = world.follow(sources());
    eventually("the bridge follows", async || bridge.handle.status()["main"].reached_at.is_some()).await;
    bridge.stop().await;
    let evidence = world.ledger.evidence(&study).await.unwrap().unwrap();
    let carried: u64 = evidence.series[0].carriers.iter().map(|carrier| carrier.instance_count).sum();
    assert_eq!(carried, 35, "each instance was downloaded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_named_as_a_source_is_not_worked_through() {
    let orthanc = Orthanc::start();
    series()[..5].iter().for_each(|file| drop(orthanc.store(file)));
    peers::wait_until("the study is stable", Duration::from_secs(30), || {
        let studies = orthanc.get("/studies?expand");
        studies[0]["IsStable"].as_bool().filter(|stable| *stable)
    });
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;
    assert_eq!(world.instances(&study_of(&series()[0])).await, 0);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_orthanc_that_is_down_does_not_stop_another() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let nobody = format!("http://127.0.0.1:{}", peers::free_port());
    let bridge = world.follow(vec![source("down", &nobody), source("up", &orthanc.url())]);
    eventually("the other follows", async || bridge.handle.status()["up"].reached_at.is_some()).await;

    series().iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study_of(&series()[0]), 35).await;
    eventually("the trouble is named", async || {
        bridge.handle.status()["down"].failure.as_deref().is_some_and(|text| text.contains("cannot reach"))
    })
    .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_orthanc_cannot_give_holds_up_no_other() {
    // What is in its memory it would give all the same.
    let no_cache = OrthancOptions::default().set("MaximumStorageCacheSize", json!(0));
    let orthanc = Orthanc::start_with(no_cache);
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;

    let broken = orthanc.store(&series()[0]);
    series()[1..5].iter().for_each(|file| drop(orthanc.store(file)));
    // Its disk lost a file.
    let instance = orthanc.get(broken["Path"].as_str().unwrap());
    let uuid = instance["FileUuid"].as_str().unwrap();
    std::fs::remove_file(orthanc.storage().join(&uuid[..2]).join(&uuid[2..4]).join(uuid)).unwrap();
    let other = peers::workspace().join("tests/data/syntaxes/MR_small.dcm");
    orthanc.store(&other);

    world.wait_for_stable(&study_of(&other), 1).await;
    let study = study_of(&series()[0]);
    eventually("what is there is fetched", async || world.instances(&study).await == 4).await;
    let evidence = world.ledger.evidence(&study).await.unwrap().unwrap();
    assert!(evidence.series.iter().all(|series| !series.is_stable()), "it is not whole");
    assert_eq!(bridge.handle.status()["main"].failure, None, "Orthanc itself is well");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_the_right_one_lets_in() {
    let users = OrthancOptions::default()
        .set("AuthenticationEnabled", json!(true))
        .set("RegisteredUsers", json!({ "overread": "right" }));
    let orthanc = Orthanc::start_with(users);
    let world = World::new().await;
    let with = |name: &str, password: &str| {
        let mut source = source(name, &orthanc.url());
        source.connection.credentials =
            Some(Credentials { username: "overread".into(), password: password.into() });
        source
    };
    let bridge = world.follow(vec![with("wrong", "wrong"), with("right", "right")]);
    eventually("one is let in", async || bridge.handle.status()["right"].reached_at.is_some()).await;
    eventually("the other is told why not", async || {
        bridge.handle.status()["wrong"].failure.as_deref().is_some_and(|text| text.contains("password"))
    })
    .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_on_our_disk_is_fetched_again() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;
    let study = study_of(&series()[0]);
    series().iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study, 35).await;

    let header = imaging::Header::read_file(&series()[7]).unwrap();
    let key = spool::InstanceKey::of(&header);
    let sound = world.spool.read(&key).unwrap();
    world.spool.set_aside(&key, "it was damaged").unwrap().unwrap();
    world.ledger.want_again(std::slice::from_ref(&header.sop_instance), ledger::Millis::now()).await.unwrap();

    eventually("it is there again", async || {
        world.ledger.wanted_again(10).await.unwrap().is_empty() && world.spool.holds(&key).unwrap()
    })
    .await;
    let dataset = |file: &[u8]| file[file.len() - 100_000..].to_vec();
    assert_eq!(dataset(&world.spool.read(&key).unwrap()), dataset(&sound));
    assert_eq!(world.instances(&study).await, 35, "no instance was added");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_data_set_does_not_take_the_place_of_one_that_was_damaged() {
    let orthanc = Orthanc::start();
    let world = World::new().await;
    let bridge = world.follow_one(&orthanc).await;
    let study = study_of(&series()[0]);
    series().iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study, 35).await;
    bridge.stop().await;

    let header = imaging::Header::read_file(&series()[7]).unwrap();
    let key = spool::InstanceKey::of(&header);
    let mut other = world.spool.read(&key).unwrap();
    *other.last_mut().unwrap() ^= 1;
    world.spool.set_aside(&key, "it was damaged").unwrap().unwrap();
    let spool::Outcome::Kept(_) = world.spool.put(&other).unwrap() else { panic!("it was not kept") };
    world.ledger.want_again(std::slice::from_ref(&header.sop_instance), ledger::Millis::now()).await.unwrap();

    let bridge = world.follow(vec![source("main", &orthanc.url())]);
    eventually("the right one is there again", async || {
        world.ledger.wanted_again(10).await.unwrap().is_empty()
    })
    .await;
    let known = world.ledger.instance(&header.sop_instance).await.unwrap().unwrap().digest;
    assert_eq!(world.spool.find(&key).unwrap().digest.to_string(), known);
    let aside = world.ledger.quarantined(&ledger::PageRequest::first(10)).await.unwrap();
    assert_eq!(aside.rows.len(), 1);
    bridge.stop().await;
}
