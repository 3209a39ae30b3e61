//! Rows for what the spool keeps, whatever became of those who were to write them.

use std::{path::Path, time::Duration};

use imaging::{SopClassUid, Uid};
use ledger::{BootId, Ledger, NodeId};
use spool::{Durability, FileMeta, InstanceKey, Outcome, Spool, SpoolConfig};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    service::PATIENCE,
    wire::{EXPLICIT, MR, dataset},
};

const INSTANCE: &str = "1.2.3.4";

fn spool(folder: &Path) -> Spool {
    Spool::open(SpoolConfig {
        durability: Durability::Process,
        min_free_bytes: 0,
        ..SpoolConfig::new(folder.join("spool"), folder.join("quarantine"))
    })
    .unwrap()
}

async fn ledger(folder: &Path) -> Ledger {
    let url = format!("sqlite:{}", folder.join("ledger.db").display());
    Ledger::open(&url, ledger::Durability::Process).await.unwrap()
}

fn node() -> (NodeId, BootId) {
    (NodeId::new("test"), BootId::new("one"))
}

/// Keeps an instance and forgets to record it.
fn keep(spool: &Spool) -> InstanceKey {
    let meta = FileMeta {
        sop_class: SopClassUid::parse(MR).unwrap(),
        sop_instance: INSTANCE.parse().unwrap(),
        transfer_syntax: Uid::parse(EXPLICIT).unwrap(),
        calling_ae_title: "MODALITY".to_owned(),
    };
    let mut incoming = spool.receive(meta).unwrap();
    incoming.write(&dataset(INSTANCE, 100)).unwrap();
    match incoming.finish().unwrap() {
        Outcome::Kept(kept) => kept.key,
        other => panic!("not kept: {other:?}"),
    }
}

#[tokio::test]
async fn what_nobody_records_gets_its_row_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let (spool, ledger, (node, boot)) = (spool(folder.path()), ledger(folder.path()).await, node());
    let key = keep(&spool);
    let shutdown = CancellationToken::new();
    let recording =
        tokio::spawn(scp::record_owed(spool.clone(), ledger.clone(), node, boot, shutdown.clone()));
    let row = tokio::time::timeout(PATIENCE, async {
        while ledger.instance(&key.sop_instance).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    row.await.expect("a row");
    shutdown.cancel();
    recording.await.unwrap();
    drop(spool);
    assert_eq!(self::spool(folder.path()).unrecorded(), [], "the journal waits for nobody");
}

#[tokio::test]
async fn what_the_disk_does_not_give_keeps_its_place_in_the_journal() {
    let folder = TempDir::new().unwrap();
    let (ledger, (node, boot)) = (ledger(folder.path()).await, node());
    let first = spool(folder.path());
    let key = keep(&first);
    let path = first.path_of(&key);
    drop(first);
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap(); // reading it is an error of the disk
    let second = spool(folder.path());
    let done = scp::reconcile(&second, &ledger, &node, &boot).await.unwrap();
    assert_eq!(done.instances, 0);
    drop(second);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    let third = spool(folder.path());
    assert_eq!(scp::reconcile(&third, &ledger, &node, &boot).await.unwrap().instances, 1);
    assert!(ledger.instance(&key.sop_instance).await.unwrap().is_some());
}
