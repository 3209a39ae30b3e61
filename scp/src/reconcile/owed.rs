//! What is kept and was left without a row, because whoever was to write that failed or was cancelled.

use std::time::Duration;

use admission::Aside;
use ledger::{BootId, Ledger, NodeId};
use spool::{InstanceKey, Receipt, Spool};
use tokio_util::sync::CancellationToken;

use super::{ReconcileError, read, record};

/// Between looks, and between attempts that fail again and again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(300);

/// Records what was kept and whose recording failed or was cancelled, until `shutdown`: a request that hangs up, a
/// ledger that was away for a moment.
pub async fn record_owed(
    spool: Spool,
    ledger: Ledger,
    node: NodeId,
    boot: BootId,
    shutdown: CancellationToken,
) {
    let mut told = false;
    let mut pause = LOOK_EVERY;
    while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let owed = spool.owed();
        if owed.is_empty() {
            continue;
        }
        let count = owed.len();
        let mut left = Vec::new();
        for (key, receipt) in owed {
            // One that the ledger refuses must not keep the others waiting.
            if let Err(error) = record_one(&spool, &ledger, &node, &boot, key, receipt).await {
                left.push(error);
            }
        }
        let recorded = count - left.len();
        if recorded > 0 {
            tracing::info!(instances = recorded, "recorded what was kept and left without a row");
        }
        pause = if left.is_empty() { LOOK_EVERY } else { (pause * 2).min(LOOK_EVERY_MAX) };
        match left.first() {
            Some(error) if !std::mem::replace(&mut told, true) => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, instances = left.len(), "instances that are kept have no rows yet");
            }
            Some(_) => {}
            None => told = false,
        }
    }
}

async fn record_one(
    spool: &Spool,
    ledger: &Ledger,
    node: &NodeId,
    boot: &BootId,
    key: InstanceKey,
    receipt: Receipt,
) -> Result<(), ReconcileError> {
    let read = read(spool, vec![key.clone()]).await?;
    if let Some(error) = read.failed {
        return Err(ReconcileError::Spool(error));
    }
    if read.unusable > 0
        && let Some(aside) = Aside::damaged(spool, key).await.map_err(ReconcileError::Quarantine)?
    {
        aside.record(ledger, None).await?;
    }
    record(spool, ledger, node, boot, read.found).await?;
    spool.recorded(receipt);
    Ok(())
}
