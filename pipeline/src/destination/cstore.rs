//! C-STORE to any archive. Its success status is the proof of arrival: with it the archive
//! has taken the object over (PS3.4 §B.2.3). Storage commitment is not asked for.

use scp::{ClientError, ClientOptions, SendFailure, SendOptions};

use super::{SendError, Shipment, chain};

/// PS3.4 Table B.2-1, Refused: Out of Resources; the same object may be welcome later.
const OUT_OF_RESOURCES: std::ops::RangeInclusive<u16> = 0xA700..=0xA7FF;
/// PS3.7 §C.5.20: something went wrong there, and nothing is said about the object.
const PROCESSING_FAILURE: u16 = 0x0110;

#[derive(Debug)]
pub(crate) struct StorePeer {
    peer: ClientOptions,
}

impl StorePeer {
    pub(super) fn new(peer: ClientOptions) -> Self {
        Self { peer }
    }

    pub(super) async fn send(&self, shipment: Shipment) -> Result<(), SendError> {
        // The outbox has its own retries; these would only hide them.
        let options = SendOptions { retries: 0, ..SendOptions::new(self.peer.clone()) };
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
