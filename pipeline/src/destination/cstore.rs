//! C-STORE to any archive. With its success status the archive has taken the object over (PS3.4 §B.2.3);
//! where a site wants more, it is asked for storage commitment (PS3.4 Annex J).

use std::time::Duration;

use ledger::Priority;
use scp::{ClientError, ClientOptions, CommitmentReport, CommitmentRequest, SendFailure, SendOptions};

use super::{SendError, Shipment, StoreProof, chain};

/// How long the association that asked stays open for the report; later it comes to our listener.
const REPORT_HERE_WITHIN: Duration = Duration::from_secs(2);

/// PS3.4 Table B.2-1, Refused: Out of Resources; the same object may be welcome later.
const OUT_OF_RESOURCES: std::ops::RangeInclusive<u16> = 0xA700..=0xA7FF;
/// PS3.7 §C.5.20: something went wrong there, and nothing is said about the object.
const PROCESSING_FAILURE: u16 = 0x0110;

#[derive(Debug)]
pub(crate) struct StorePeer {
    peer: ClientOptions,
    pub(crate) proof: StoreProof,
}

/// What came of asking for storage commitment.
pub(crate) enum Asked {
    Reported(CommitmentReport),
    /// The report comes later.
    Taken,
    NotOffered,
}

impl StorePeer {
    pub(super) fn new(peer: ClientOptions, proof: StoreProof) -> Self {
        Self { peer, proof }
    }

    pub(crate) async fn ask(&self, request: CommitmentRequest) -> Result<Asked, SendError> {
        let peer = self.peer.clone();
        let asked =
            off_the_runtime(move || scp::ask_for_commitment(&peer, &request, REPORT_HERE_WITHIN)).await?;
        match asked {
            Ok(Some(report)) => Ok(Asked::Reported(report)),
            Ok(None) => Ok(Asked::Taken),
            Err(ClientError::NotAccepted { .. }) => Ok(Asked::NotOffered),
            Err(error) => Err(SendError::Unavailable(chain(&error))),
        }
    }

    pub(super) async fn send(&self, shipment: Shipment) -> Result<(), SendError> {
        // The outbox has its own retries; these would only hide them.
        let priority = match shipment.urgency {
            Priority::Stat => scp::Priority::High,
            Priority::Routine => scp::Priority::Medium,
        };
        let options = SendOptions { retries: 0, priority, ..SendOptions::new(self.peer.clone()) };
        let report = off_the_runtime(move || scp::send(vec![shipment.path], &options, &|_| {})).await?;
        match report.failed.into_iter().next() {
            Some((_, failure)) => Err(judge(&failure)),
            None => Ok(()),
        }
    }

    pub(super) async fn check(&self) -> Result<(), SendError> {
        let peer = self.peer.clone();
        match off_the_runtime(move || scp::echo(&peer)).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(SendError::Unavailable(chain(&error))),
        }
    }
}

/// Did the peer judge the object, or is the peer itself the trouble?
fn judge(failure: &SendFailure) -> SendError {
    let text = chain(failure);
    match failure {
        SendFailure::NotSendable(_) => SendError::Refused(text),
        SendFailure::Client(ClientError::NotAccepted { .. }) => SendError::Refused(text),
        SendFailure::Client(ClientError::Refused(status)) => {
            let is_passing = OUT_OF_RESOURCES.contains(&status.0) || status.0 == PROCESSING_FAILURE;
            if is_passing { SendError::Unavailable(text) } else { SendError::Refused(text) }
        }
        SendFailure::Client(
            ClientError::Connect { .. }
            | ClientError::Tls(_)
            | ClientError::Rejected(_)
            | ClientError::Aborted
            | ClientError::Protocol(_)
            | ClientError::Pdu(_)
            | ClientError::File(_)
            | ClientError::Wire(_),
        ) => SendError::Unavailable(text),
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SendError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SendError::Unavailable(format!("the sending thread ended early: {error}")))
}
