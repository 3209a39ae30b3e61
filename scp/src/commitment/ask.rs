//! Asking a peer to commit itself to what it was sent (PS3.4 Annex J), as user.
//!
//! The peer answers the action at once and reports when it knows: on the association that asked
//! while that is open, or on an association of its own, to our listener.

use std::time::Duration;

use imaging::{SopClassUid, SopInstanceUid, Uid};

use super::{
    FAILED_SOP_SEQUENCE, FAILURE_REASON, FAILURES_EXIST, REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID, REFERENCED_SOP_SEQUENCE, SUCCESSFUL, TRANSACTION_UID, elements,
};
use crate::{
    client::{Client, ClientError, ClientOptions, Proposal},
    command::{self, Command, Operation},
    sop_class::{STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE},
    status::Status,
    transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN,
};

/// What a peer is asked to commit itself to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRequest {
    /// Never used before.
    pub transaction: Uid,
    pub instances: Vec<(SopClassUid, SopInstanceUid)>,
}

/// What a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentReport {
    pub transaction: Uid,
    pub committed: Vec<SopInstanceUid>,
    /// Each with the reason.
    pub failed: Vec<(SopInstanceUid, Status)>,
}

impl CommitmentRequest {
    fn data_set(&self) -> Vec<u8> {
        let items = self.instances.iter().map(|(sop_class, sop_instance)| {
            let mut item = elements::Writer::new(true);
            item.uid(REFERENCED_SOP_CLASS_UID, sop_class.as_str());
            item.uid(REFERENCED_SOP_INSTANCE_UID, sop_instance.as_str());
            item
        });
        let mut out = elements::Writer::new(true);
        out.uid(TRANSACTION_UID, self.transaction.as_str());
        out.sequence(REFERENCED_SOP_SEQUENCE, items.collect());
        out.finish()
    }
}

impl CommitmentReport {
    /// # Errors
    /// The status to answer the report with.
    pub(crate) fn read(command: &Command<'_>, argument: &[u8], implicit: bool) -> Result<Self, Status> {
        if command.sop_instance != Some(STORAGE_COMMITMENT_PUSH_INSTANCE) {
            return Err(Status::NO_SUCH_SOP_INSTANCE);
        }
        if !matches!(command.event_type, Some(SUCCESSFUL | FAILURES_EXIST)) {
            return Err(Status::INVALID_ARGUMENT_VALUE);
        }
        Self::parse(argument, implicit).ok_or(Status::INVALID_ARGUMENT_VALUE)
    }

    fn parse(argument: &[u8], implicit: bool) -> Option<Self> {
        let elements = elements::read(argument, implicit)?;
        let transaction = Uid::parse(elements::text(&elements, TRANSACTION_UID)?).ok()?;
        let named = |item: &[elements::Element<'_>]| {
            SopInstanceUid::parse(elements::text(item, REFERENCED_SOP_INSTANCE_UID)?).ok()
        };
        // Either sequence may be left out.
        let items = |tag| match elements::has(&elements, tag) {
            true => elements::items(&elements, tag, implicit),
            false => Some(Vec::new()),
        };
        let committed =
            items(REFERENCED_SOP_SEQUENCE)?.iter().map(|item| named(item)).collect::<Option<_>>()?;
        let failed = items(FAILED_SOP_SEQUENCE)?
            .iter()
            .map(|item| {
                let reason =
                    elements::number(item, FAILURE_REASON).map_or(Status::PROCESSING_FAILURE, Status);
                Some((named(item)?, reason))
            })
            .collect::<Option<_>>()?;
        Some(Self { transaction, committed, failed })
    }
}

/// Asks `peer`, and waits a little for its report; nothing when it comes later. Blocks.
///
/// # Errors
/// [`ClientError::NotAccepted`] when the peer does not offer the service; else when it does not take the question.
pub fn ask_for_commitment(
    peer: &ClientOptions,
    request: &CommitmentRequest,
    patience: Duration,
) -> Result<Option<CommitmentReport>, ClientError> {
    let context = Proposal::new(STORAGE_COMMITMENT_PUSH, IMPLICIT_VR_LITTLE_ENDIAN);
    let mut client = Client::open(peer, &[context])?;
    let action =
        command::action_rq(1, STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE, super::REQUEST);
    // A commitment's action and report have the same form: command, data set, answer.
    client.report(&action, &request.data_set())?;
    let report = wait_for_report(&mut client, patience);
    // It was asked: how the association ends changes nothing.
    if let Err(error) = client.release() {
        tracing::debug!(error = &error as &dyn std::error::Error, "the peer did not release the association");
    }
    report
}

fn wait_for_report(client: &mut Client, patience: Duration) -> Result<Option<CommitmentReport>, ClientError> {
    let Some(message) = client.message_of_peer(patience)? else { return Ok(None) };
    let command = Command::decode(&message.command)
        .map_err(|_| ClientError::Protocol("a request with a malformed command set"))?;
    if command.operation != Operation::EventReportRq {
        return Err(ClientError::Protocol("a request that is no report"));
    }
    let report = CommitmentReport::read(&command, &message.data_set, true);
    let status = report.as_ref().map_or_else(|status| *status, |_| Status::SUCCESS);
    client.answer_peer(message.context, &command.answer(status))?;
    report.map(Some).map_err(|_| ClientError::Protocol("a report that cannot be read"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(implicit: bool) -> Vec<u8> {
        let item = |uid: &str, reason: Option<u16>| {
            let mut item = elements::Writer::new(implicit);
            item.uid(REFERENCED_SOP_CLASS_UID, "1.2");
            item.uid(REFERENCED_SOP_INSTANCE_UID, uid);
            if let Some(reason) = reason {
                item.number(FAILURE_REASON, reason);
            }
            item
        };
        let mut out = elements::Writer::new(implicit);
        out.uid(TRANSACTION_UID, "2.25.1");
        out.sequence(FAILED_SOP_SEQUENCE, vec![item("1.3", Some(0x0112))]);
        out.sequence(REFERENCED_SOP_SEQUENCE, vec![item("1.4", None)]);
        out.finish()
    }

    #[test]
    fn a_report_says_what_is_kept_and_what_is_not() {
        for implicit in [true, false] {
            let read = CommitmentReport::parse(&report(implicit), implicit).unwrap();
            assert_eq!(read.transaction.as_str(), "2.25.1");
            assert_eq!(read.committed, [SopInstanceUid::parse("1.4").unwrap()]);
            assert_eq!(read.failed, [(SopInstanceUid::parse("1.3").unwrap(), Status(0x0112))]);
        }
    }

    proptest! {
        #[test]
        fn no_damage_makes_reading_panic(at in 0_usize..120, byte: u8, implicit: bool) {
            let mut bytes = report(implicit);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            let _ = CommitmentReport::parse(&bytes, implicit);
        }
    }
}
