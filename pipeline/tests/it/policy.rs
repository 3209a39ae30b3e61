//! What a package says about its results leaving.

use std::time::Duration;

use ledger::{DeliveryState, JobState::Done};

use crate::{
    phantom::Phantom,
    world::{World, stays, variant},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_held_for_review_leaves_when_a_person_accepts_it() {
    let mut world = World::new().await.and_folder("disk");
    let registry = variant(&world.folder, &[("policy = \"write\"", "policy = \"hold-for-review\"")]);
    let running = world.start_with(registry);
    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    world.wait_for_jobs(&phantom.study(), &[Done]).await;
    assert_eq!(world.delivered("disk", DeliveryState::Waiting).await, 0);
    stays("nothing leaves", Duration::from_millis(500), async || !world.out("disk").exists()).await;

    let job = &world.jobs(&phantom.study()).await[0];
    let result = world.ledger.result_of_job(job.id).await.unwrap().unwrap();
    assert_eq!(running.handle.accept_result(result.id).await.unwrap(), 2);
    world.wait_for_proof("disk", 2).await;
    assert_eq!(running.handle.accept_result(result.id).await.unwrap(), 0, "a second yes sends nothing");
    running.stop().await;
}

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
