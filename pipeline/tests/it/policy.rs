//! What a package says about its results leaving.

use std::time::Duration;

use ledger::{JobState::Done, PageRequest, ResultFilter};

use crate::{
    phantom::Phantom,
    world::{World, copy_package, registry_of, stays, variant},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_model_is_run_and_sends_nothing() {
    let mut world = World::new().await.and_folder("disk");
    let registry = variant(&world.folder, &[("policy = \"write\"", "policy = \"shadow\"")]);
    let running = world.start_with(registry);
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    stays("nothing leaves", Duration::from_millis(500), async || !world.out("disk").exists()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_version_supersedes_nothing_of_the_one_in_service() {
    let mut world = World::new().await.and_folder("disk");
    let models = world.folder.join("models");
    copy_package("bright", &models.join("bright"), &[]);
    let shadow =
        [("version = \"1.0.0\"", "version = \"1.1.0\""), ("policy = \"write\"", "policy = \"shadow\"")];
    copy_package("bright", &models.join("bright@1.1.0"), &shadow);
    let running = world.start_with(registry_of(&models));
    let phantom = Phantom::new(1);
    let study = phantom.study();
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&study, &[Done, Done]).await;
    world.wait_for_proof("disk", 2).await;

    let results = world.ledger.results(&ResultFilter::default(), &PageRequest::first(10)).await.unwrap().rows;
    let mut versions: Vec<_> = results.iter().map(|row| row.model_version.as_str()).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["1.0.0", "1.1.0"]);
    assert!(results.iter().all(|row| row.superseded_by.is_none()), "{results:?}");
    let in_force = running.handle.in_force(&study, "bright").await.unwrap().unwrap();
    assert_eq!(in_force.model_version, "1.0.0", "what is only tried out is not in force");
    running.stop().await;
}
