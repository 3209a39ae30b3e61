//! Storage commitment as proof, asked of an archive by pynetdicom that reports on the association that asked.

use std::{path::PathBuf, process::Stdio, time::Duration};

use ledger::DeliveryState;
use peers::{Guarded, mortal, python};
use pipeline::{DestinationConfig, DestinationKind, StoreProof};

use crate::{
    phantom::Phantom,
    world::{World, eventually, stays},
};

struct Archive {
    peer: scp::ClientOptions,
    said: PathBuf,
    _process: Guarded,
}

impl Archive {
    /// Started, and answering.
    async fn that(mode: &str, world: &World) -> Self {
        let port = peers::free_port();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/archive.py");
        let said = world.folder.join("said");
        let mut command = mortal(python());
        command.arg(script).args([&port.to_string(), mode]).stdin(Stdio::null());
        command.stdout(std::fs::File::create(&said).unwrap());
        let process = Guarded::spawn(command);
        let title = |text: &str| scp::AeTitle::parse(text).unwrap();
        let peer = scp::ClientOptions::new(format!("127.0.0.1:{port}"), title("ARCHIVE"), title("OVERREAD"));
        eventually("the archive answers", async || {
            let peer = peer.clone();
            tokio::task::spawn_blocking(move || scp::echo(&peer).is_ok()).await.unwrap()
        })
        .await;
        Self { peer, said, _process: process }
    }

    fn said(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(&self.said).unwrap();
        text.lines().filter(|line| *line == what).count()
    }
}

async fn world_with(mode: &str, proof: StoreProof) -> (World, Archive) {
    let mut world = World::new().await;
    let archive = Archive::that(mode, &world).await;
    let kind = DestinationKind::Cstore { peer: archive.peer.clone(), proof };
    world.config.destinations.push(DestinationConfig::new("pacs", kind));
    (world, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_archive_commits_itself_to_has_arrived() {
    let (mut world, archive) = world_with("commits", StoreProof::Commitment).await;
    let running = world.start();
    world.send(&Phantom::new(1).files()).await;
    world.wait_for_proof("pacs", 2).await;
    running.stop().await;
    assert!(archive.said("asked 1") + archive.said("asked 2") >= 1);
    assert_eq!(archive.said("priority 0"), 2, "it was routine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_refuses_at_first_is_asked_again() {
    let (mut world, archive) = world_with("refuses-first", StoreProof::Commitment).await;
    let running = world.start();
    let association = world.open_to("EMERGENCY", "stat").await;
    world.receive(association, &Phantom::new(1).files()).await;
    world.release(association).await;
    eventually("a refusal is noted", async || {
        let text = std::fs::read_to_string(&archive.said).unwrap();
        text.lines().any(|line| line.starts_with("reported 0"))
    })
    .await;
    eventually("all has arrived", async || {
        world.config.clock.advance(Duration::from_secs(30));
        world.delivered("pacs", DeliveryState::Proved).await == 2
    })
    .await;
    running.stop().await;
    assert!(archive.said("priority 1") >= 2, "it was urgent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_offers_no_commitment_is_believed_only_where_that_is_allowed() {
    let (mut world, _archive) = world_with("offers-none", StoreProof::Commitment).await;
    let running = world.start();
    world.send(&Phantom::new(1).files()).await;
    eventually("both are sent", async || world.delivered("pacs", DeliveryState::Sent).await == 2).await;
    stays("nothing is proved", Duration::from_secs(1), async || {
        world.delivered("pacs", DeliveryState::Proved).await == 0
    })
    .await;
    running.stop().await;

    if let DestinationKind::Cstore { proof, .. } = &mut world.config.destinations[0].kind {
        *proof = StoreProof::CommitmentIfOffered;
    }
    let running = world.start();
    world.config.clock.advance(Duration::from_secs(3600));
    world.wait_for_proof("pacs", 2).await;
    running.stop().await;
}
