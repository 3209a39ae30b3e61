//! Delivers the reports that go out on an association of ours, and forgets none over a restart.

use std::{sync::Arc, time::Duration};

use ledger::{Ledger, Millis, NodeId, OwedReport};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Commitments, Request, send};
use crate::config::CommitmentPeer;

/// Reports that are delivered at the same time: a requester that does not answer holds up few others.
const AT_ONCE: u32 = 4;
/// Between attempts, twice as long each time.
const PAUSE: Duration = Duration::from_secs(15);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Then a requester that cannot be reached has to ask again.
const OWED_MAX: Duration = Duration::from_secs(2 * 24 * 3600);
/// Between looks while the ledger does not answer.
const RETRY: Duration = Duration::from_secs(5);
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What of the ledger concerns the reports of this node.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    ledger: Ledger,
    node: NodeId,
    more: Arc<Notify>,
}

impl Owed {
    pub(crate) fn new(ledger: Ledger, node: NodeId) -> Self {
        Self { ledger, node, more: Arc::new(Notify::new()) }
    }

    /// Takes a request down; with that its report is certain.
    pub(super) async fn add(&self, requester: &str, request: &Request) -> Result<(), ledger::Error> {
        let asked: Vec<_> = request
            .references
            .iter()
            .map(|reference| (reference.sop_class.clone(), reference.sop_instance.clone()))
            .collect();
        self.ledger.owe_report(&self.node, requester, &request.transaction, &asked, Millis::now()).await?;
        self.more.notify_one();
        Ok(())
    }
}

/// Delivers what is due until `shutdown`; what is under way then is tried again at the next start.
pub(crate) async fn deliver_all(commitments: Commitments, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let pause = match deliver_due(&commitments, &shutdown).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger does not answer; commitment reports wait"
                );
                RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = commitments.owed.more.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Says how long there is nothing to do.
async fn deliver_due(
    commitments: &Commitments,
    shutdown: &CancellationToken,
) -> Result<Duration, ledger::Error> {
    let Owed { ledger, node, .. } = &commitments.owed;
    loop {
        let due = ledger.owed_reports_due(node, AT_ONCE, Millis::now()).await?;
        if due.is_empty() {
            break;
        }
        let mut delivering = JoinSet::new();
        for report in due {
            delivering.spawn(deliver(commitments.clone(), report));
        }
        while let Some(delivered) = tokio::select! {
            () = shutdown.cancelled() => return Ok(Duration::ZERO),
            delivered = delivering.join_next() => delivered,
        } {
            match delivered {
                Ok(noted) => noted?,
                Err(error) => tracing::error!(error = %error, "a commitment report ended early"),
            }
        }
    }
    let next = ledger.next_owed_report_due(node).await?;
    Ok(next.map_or(LOOK_MAX, |due| due.since(Millis::now()).min(LOOK_MAX)))
}

async fn deliver(commitments: Commitments, owed: OwedReport) -> Result<(), ledger::Error> {
    let ledger = commitments.owed.ledger.clone();
    let Some(peer) = commitments.peer(&owed.requester) else {
        tracing::warn!(peer = %owed.requester, "a commitment report has nowhere to go: dicom.commitment does not name its requester any more");
        return ledger.report_settled(&owed).await;
    };
    let failure = match try_deliver(commitments, Request::from(&owed), peer).await {
        Ok(()) => return ledger.report_settled(&owed).await,
        Err(failure) => failure,
    };
    let (attempt, now) = (owed.attempts + 1, Millis::now());
    let given_up = now.since(owed.owed_since) > OWED_MAX;
    tracing::warn!(
        attempt, given_up, peer = %owed.requester, error = failure.as_ref() as &dyn std::error::Error,
        "a commitment report was not taken"
    );
    if given_up {
        return ledger.report_settled(&owed).await;
    }
    ledger.report_not_taken(&owed, now.plus(pause(attempt))).await
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sender holds nothing of ours: a requester that does not answer keeps no shutdown waiting.
async fn try_deliver(
    commitments: Commitments,
    request: Request,
    peer: CommitmentPeer,
) -> Result<(), Failure> {
    let own_title = commitments.own_title.clone();
    let report = tokio::task::spawn_blocking(move || commitments.report(&request, true)).await?;
    tokio::task::spawn_blocking(move || send(&report, &peer, own_title)).await??;
    Ok(())
}

fn pause(attempt: u32) -> Duration {
    PAUSE.saturating_mul(1 << (attempt - 1).min(8)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_quarter_of_an_hour() {
        let seconds: Vec<_> = (1..=9).map(|attempt| pause(attempt).as_secs()).collect();
        assert_eq!(seconds, [15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
