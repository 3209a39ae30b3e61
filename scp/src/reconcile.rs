//! Brings the ledger into agreement with the spool: after a crash, and from nothing.

mod owed;

use std::io;

use admission::Aside;
use imaging::is_own_result;
use ledger::{
    AssociationId, BootId, Door, Ending, Ledger, Millis, NewAssociation, NewInstance, NodeId, Recorded,
};
use spool::{Found, HeadError, InstanceKey, Spool, WalkError};

pub use owed::record_owed;

/// Rows in one transaction.
const BATCH: usize = 256;

/// Why spool and ledger could not be brought into agreement.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("the ledger does not take what the spool holds")]
    Ledger(#[from] ledger::Error),
    #[error("the quarantine cannot be read or written")]
    Quarantine(#[source] io::Error),
    #[error("an instance of the spool cannot be read")]
    Spool(#[source] io::Error),
    #[error("the spool's old journal cannot be removed")]
    Journal(#[source] io::Error),
    #[error("a blocking task ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reconciled {
    /// Instances whose rows were written, new or not.
    pub instances: u64,
    /// Files that are no readable instances.
    pub unreadable: u64,
}

/// After a start: records what the process that died before had kept but perhaps not recorded,
/// and ends its associations. Bounded by the size of the spool's journal.
///
/// # Errors
/// When the ledger or the disk does not take it; nothing is lost then.
pub async fn reconcile(
    spool: &Spool,
    ledger: &Ledger,
    node: &NodeId,
    boot: &BootId,
) -> Result<Reconciled, ReconcileError> {
    let keys = spool.unrecorded();
    let mut done = Reconciled::default();
    let mut unread = None;
    if !keys.is_empty() {
        let read = read(spool, keys).await?;
        done.unreadable = read.unusable;
        unread = read.failed;
        done.instances = record(spool, ledger, node, boot, read.found).await?;
        tracing::info!(instances = done.instances, "recorded what an earlier process had kept");
    }
    note_left_in_quarantine(spool, ledger, node, boot).await?;
    ledger.end_lost_associations(node, boot, Millis::now()).await?;
    if let Some(error) = unread {
        tracing::error!(%error, "an acknowledged instance cannot be read; its journal is kept for the next start");
        return Ok(done);
    }
    let finishing = spool.clone();
    tokio::task::spawn_blocking(move || finishing.reconciled()).await?.map_err(ReconcileError::Journal)?;
    Ok(done)
}

/// What the files of some instances say.
#[derive(Debug, Default)]
struct Read {
    found: Vec<Found>,
    /// They are not there any more, or are no instances.
    unusable: u64,
    /// Why the disk did not give one.
    failed: Option<io::Error>,
}

async fn read(spool: &Spool, keys: Vec<InstanceKey>) -> Result<Read, ReconcileError> {
    let spool = spool.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut read = Read::default();
        for key in &keys {
            match spool.find(key) {
                Ok(found) => read.found.push(found),
                Err(HeadError::Io(error)) => read.failed = Some(error),
                Err(error) => {
                    read.unusable += 1;
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, sop_instance.uid = %key.sop_instance, "what was kept is no instance any more");
                }
            }
        }
        read
    });
    Ok(reading.await?)
}

/// A process may die between putting a file into quarantine, which it answers, and the file's row, which may hold
/// a study. The files themselves tell.
async fn note_left_in_quarantine(
    spool: &Spool,
    ledger: &Ledger,
    node: &NodeId,
    boot: &BootId,
) -> Result<(), ReconcileError> {
    let known = ledger.quarantined_files().await?;
    let reading = spool.clone();
    let left = tokio::task::spawn_blocking(move || -> io::Result<Vec<_>> {
        let files = reading.quarantined()?.into_iter();
        let unknown = files
            .filter(|path| path.file_name().is_none_or(|name| !known.contains(&*name.to_string_lossy())));
        Ok(unknown.map(|path| Aside::left_behind(&reading, path)).collect())
    })
    .await?
    .map_err(ReconcileError::Quarantine)?;
    let (asides, in_service): (Vec<Aside>, Vec<Option<Found>>) = left.into_iter().unzip();
    // A study can be held when it is known; where the database is new, nothing is.
    record(spool, ledger, node, boot, in_service.into_iter().flatten().collect()).await?;
    for aside in &asides {
        aside.record(ledger, None).await?;
    }
    if !asides.is_empty() {
        tracing::info!(files = asides.len(), "noted what an earlier process had put into quarantine");
    }
    Ok(())
}

/// What a recovery comes by.
#[derive(Debug)]
pub enum RecoveryEvent {
    /// So much is done.
    Recorded(Reconciled),
    /// A file that is no readable instance stays where it is, without a row.
    PassedOver(WalkError),
}

/// Rebuilds the rows of all instances from the spool. Safe to repeat.
///
/// # Errors
/// When the ledger does not take it; what was recorded until then stays.
pub async fn recover(
    spool: &Spool,
    ledger: &Ledger,
    node: &NodeId,
    boot: &BootId,
    mut tell: impl FnMut(RecoveryEvent),
) -> Result<Reconciled, ReconcileError> {
    let mut walk = spool.walk();
    let mut done = Reconciled::default();
    loop {
        let (rest, batch) = tokio::task::spawn_blocking(move || {
            let batch: Vec<_> = walk.by_ref().take(BATCH).collect();
            (walk, batch)
        })
        .await?;
        walk = rest;
        if batch.is_empty() {
            return Ok(done);
        }
        let mut found = Vec::with_capacity(batch.len());
        for item in batch {
            match item {
                Ok(item) => found.push(item),
                Err(error) => {
                    done.unreadable += 1;
                    tell(RecoveryEvent::PassedOver(error));
                }
            }
        }
        done.instances += record(spool, ledger, node, boot, found).await?;
        tell(RecoveryEvent::Recorded(done));
    }
}

/// Own results are rows of their jobs, not arrivals.
async fn record(
    spool: &Spool,
    ledger: &Ledger,
    node: &NodeId,
    boot: &BootId,
    found: Vec<Found>,
) -> Result<u64, ReconcileError> {
    let found: Vec<_> = found.into_iter().filter(|found| !is_own_result(&found.header)).collect();
    let mut recorded = 0;
    for chunk in found.chunks(BATCH) {
        let now = Millis::now();
        let new = NewAssociation {
            door: Door::Recovery,
            calling_ae: "recovery".to_owned(),
            called_ae: String::new(),
            peer: String::new(),
            node: node.clone(),
            boot: boot.clone(),
            opened_at: now,
        };
        let association = ledger.open_association(&new).await?;
        let rows: Vec<_> = chunk.iter().map(|found| row(found, association, now)).collect();
        let answers = ledger.record_instances(&rows).await?;
        for (row, answer) in rows.iter().zip(answers) {
            settle(spool, ledger, row, answer).await?;
        }
        // Nobody knows whether the sender had finished: it counts as lost, so quiet decides.
        ledger.end_association(association, Ending::Lost, now).await?;
        recorded += rows.len() as u64;
    }
    Ok(recorded)
}

/// What the spool has in service is what counts; the ledger may know older content, or another instance.
async fn settle(
    spool: &Spool,
    ledger: &Ledger,
    row: &NewInstance,
    answer: Recorded,
) -> Result<(), ReconcileError> {
    match answer {
        Recorded::New | Recorded::NewOfOtherPatient | Recorded::Same => {}
        Recorded::Twin => ledger.replace_instance(row).await?,
        Recorded::Misplaced => {
            let aside = Aside::misplaced(spool, &row.header).await.map_err(ReconcileError::Quarantine)?;
            if let Some(aside) = aside {
                aside.record(ledger, Some(row.association)).await?;
            }
        }
    }
    Ok(())
}

fn row(found: &Found, association: AssociationId, now: Millis) -> NewInstance {
    NewInstance {
        header: found.header.clone(),
        digest: found.digest.to_string(),
        size_bytes: found.size_bytes,
        association,
        arrived_at: now,
    }
}
