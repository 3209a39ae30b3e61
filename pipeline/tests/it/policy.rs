//! What a package says about its results leaving.

use std::time::Duration;

use ledger::JobState::Done;

use crate::{
    phantom::Phantom,
    world::{World, stays, variant},
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
