//! Storage Commitment, Push Model (PS3.4 Annex J), as provider; [`ask`] is the user's side.
//!
//! An instance is confirmed when the ledger knows it with the SOP class that was named and the spool holds that
//! very data set, read through and compared with its digest: the requester may delete its own then. What the
//! spool holds is as durable as configured. The report
//! goes to the requester's own listener when its address is configured: then the request is
//! in the ledger before it is answered, and [`owed`] delivers, also after a restart. Else it goes
//! out on the association that asked; when that dies, the requester asks again, as the standard has it.

mod ask;
mod elements;
mod owed;

use std::{io, sync::Arc};

use admission::Aside;
pub(crate) use owed::{Owed, deliver_all};

pub use ask::{CommitmentReport, CommitmentRequest, ask_for_commitment};

use imaging::{SopInstanceUid, Uid};
use ledger::{CommitmentOutcome, CommitmentVerdict, Ledger, Millis, OwedReport};
use spool::{InstanceKey, ReadError, Spool};
use tokio::runtime::Handle;

use crate::{
    ae_title::AeTitle,
    client::{self, Client},
    command::{self, Command},
    config::CommitmentPeer,
    intake::Intake,
    sop_class::{STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE},
    status::Status,
    transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN,
};

/// PS3.4 §J.3.2.1: Request Storage Commitment.
const REQUEST: u16 = 1;
/// PS3.4 §J.3.3.1: all confirmed; some failed.
const SUCCESSFUL: u16 = 1;
const FAILURES_EXIST: u16 = 2;

const TRANSACTION_UID: (u16, u16) = (0x0008, 0x1195);
const FAILURE_REASON: (u16, u16) = (0x0008, 0x1197);
const FAILED_SOP_SEQUENCE: (u16, u16) = (0x0008, 0x1198);
const REFERENCED_SOP_SEQUENCE: (u16, u16) = (0x0008, 0x1199);
const REFERENCED_SOP_CLASS_UID: (u16, u16) = (0x0008, 0x1150);
const REFERENCED_SOP_INSTANCE_UID: (u16, u16) = (0x0008, 0x1155);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    sop_class: String,
    sop_instance: String,
}

/// What a peer wants to have confirmed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    transaction: Uid,
    references: Vec<Reference>,
}

impl Request {
    /// # Errors
    /// The status to answer the action with.
    pub(crate) fn read(command: &Command<'_>, argument: &[u8], implicit: bool) -> Result<Self, Status> {
        if command.sop_instance != Some(STORAGE_COMMITMENT_PUSH_INSTANCE) {
            return Err(Status::NO_SUCH_SOP_INSTANCE);
        }
        if command.action_type != Some(REQUEST) {
            return Err(Status::NO_SUCH_ACTION);
        }
        Self::parse(argument, implicit).ok_or(Status::INVALID_ARGUMENT_VALUE)
    }

    fn parse(argument: &[u8], implicit: bool) -> Option<Self> {
        let elements = elements::read(argument, implicit)?;
        let transaction = Uid::parse(elements::text(&elements, TRANSACTION_UID)?).ok()?;
        let items = elements::items(&elements, REFERENCED_SOP_SEQUENCE, implicit)?;
        let references = items
            .iter()
            .map(|item| {
                Some(Reference {
                    sop_class: elements::text(item, REFERENCED_SOP_CLASS_UID)?.to_owned(),
                    sop_instance: elements::text(item, REFERENCED_SOP_INSTANCE_UID)?.to_owned(),
                })
            })
            .collect::<Option<_>>()?;
        Some(Self { transaction, references })
    }
}

impl From<&OwedReport> for Request {
    fn from(owed: &OwedReport) -> Self {
        let reference = |(sop_class, sop_instance): &(String, String)| Reference {
            sop_class: sop_class.clone(),
            sop_instance: sop_instance.clone(),
        };
        Self { transaction: owed.transaction.clone(), references: owed.asked.iter().map(reference).collect() }
    }
}

/// What is said of a request's instances.
#[derive(Debug)]
pub(crate) struct Report {
    event_type: u16,
    pub(crate) data_set: Vec<u8>,
}

impl Report {
    fn new(request: &Request, verdicts: &[Result<(), Status>], implicit: bool) -> Self {
        let mut kept = Vec::new();
        let mut failed = Vec::new();
        for (reference, verdict) in request.references.iter().zip(verdicts) {
            let mut item = elements::Writer::new(implicit);
            item.uid(REFERENCED_SOP_CLASS_UID, &reference.sop_class);
            item.uid(REFERENCED_SOP_INSTANCE_UID, &reference.sop_instance);
            match verdict {
                Ok(()) => kept.push(item),
                Err(reason) => {
                    item.number(FAILURE_REASON, reason.0);
                    failed.push(item);
                }
            }
        }
        let mut out = elements::Writer::new(implicit);
        out.uid(TRANSACTION_UID, request.transaction.as_str());
        let event_type = if failed.is_empty() { SUCCESSFUL } else { FAILURES_EXIST };
        out.sequence(FAILED_SOP_SEQUENCE, failed);
        out.sequence(REFERENCED_SOP_SEQUENCE, kept);
        Self { event_type, data_set: out.finish() }
    }

    pub(crate) fn command(&self, message_id: u16) -> Vec<u8> {
        command::event_report_rq(
            message_id,
            STORAGE_COMMITMENT_PUSH,
            STORAGE_COMMITMENT_PUSH_INSTANCE,
            self.event_type,
        )
    }
}

/// A report as the ledger takes it.
#[must_use]
pub fn verdicts(report: &CommitmentReport) -> Vec<CommitmentVerdict> {
    let committed = report.committed.iter().map(|sop_instance| CommitmentVerdict {
        sop_instance: sop_instance.clone(),
        outcome: CommitmentOutcome::Committed,
        reason: None,
    });
    let failed = report.failed.iter().map(|(sop_instance, reason)| CommitmentVerdict {
        sop_instance: sop_instance.clone(),
        outcome: CommitmentOutcome::Failed,
        reason: Some(reason.to_string()),
    });
    committed.chain(failed).collect()
}

/// Everything that a verdict needs.
#[derive(Debug, Clone)]
pub(crate) struct Commitments {
    pub(crate) spool: Spool,
    pub(crate) ledger: Ledger,
    pub(crate) intake: Intake,
    pub(crate) runtime: Handle,
    pub(crate) peers: Arc<Vec<CommitmentPeer>>,
    pub(crate) owed: Owed,
    pub(crate) own_title: AeTitle,
}

impl Commitments {
    /// Where the report of a requester goes, when it does not belong on the association that asks.
    fn peer(&self, requester: &str) -> Option<CommitmentPeer> {
        self.peers.iter().find(|peer| peer.ae_title.as_str() == requester).cloned()
    }

    /// Takes a request down whose report goes out on an association of ours. False when it belongs here.
    ///
    /// # Errors
    /// The status to answer the action with.
    pub(crate) fn owe(&self, request: &Request, calling_ae_title: &str) -> Result<bool, Status> {
        if self.peer(calling_ae_title).is_none() {
            return Ok(false);
        }
        self.runtime.block_on(self.owed.add(calling_ae_title, request)).map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a request for commitment cannot be taken down"
            );
            Status::PROCESSING_FAILURE
        })?;
        Ok(true)
    }

    pub(crate) fn report(&self, request: &Request, implicit: bool) -> Report {
        Report::new(request, &self.judge(request), implicit)
    }

    /// Takes what a peer of ours says about objects that it was sent.
    pub(crate) fn take_report(&self, report: &CommitmentReport) -> Status {
        let verdicts = verdicts(report);
        let noted = self.ledger.commitment_reported(&report.transaction, &verdicts, Millis::now());
        match self.runtime.block_on(noted) {
            Ok(true) => Status::SUCCESS,
            Ok(false) => Status::INVALID_ARGUMENT_VALUE,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a commitment report cannot be noted"
                );
                Status::PROCESSING_FAILURE
            }
        }
    }

    fn judge(&self, request: &Request) -> Vec<Result<(), Status>> {
        self.intake.settle();
        request.references.iter().map(|reference| self.judge_one(reference)).collect()
    }

    fn judge_one(&self, reference: &Reference) -> Result<(), Status> {
        let sop_instance =
            SopInstanceUid::parse(&reference.sop_instance).map_err(|_| Status::COMMIT_NO_SUCH_OBJECT)?;
        let row = self
            .runtime
            .block_on(self.ledger.instance(&sop_instance))
            .map_err(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "a commitment cannot be judged");
                Status::COMMIT_PROCESSING_FAILURE
            })?
            .ok_or(Status::COMMIT_NO_SUCH_OBJECT)?;
        if row.header.sop_class.as_str() != reference.sop_class {
            return Err(Status::COMMIT_CLASS_CONFLICT);
        }
        let key = InstanceKey { study: row.header.study, series: row.header.series, sop_instance };
        match self.spool.verify(&key) {
            Ok(()) if self.spool.find(&key).is_ok_and(|found| found.digest.to_string() == row.digest) => {
                Ok(())
            }
            Ok(()) | Err(ReadError::Missing) => Err(Status::COMMIT_NO_SUCH_OBJECT),
            Err(ReadError::Damaged) => Err(self.set_damaged_aside(key)),
            Err(ReadError::Io(error)) => Err(cannot_judge(&error)),
        }
    }

    /// In its place it would be taken for the same when the requester sends it again.
    fn set_damaged_aside(&self, key: InstanceKey) -> Status {
        tracing::error!(study.uid = %key.study, "an instance whose commitment is asked for is damaged on the disk");
        let aside = match self.runtime.block_on(Aside::damaged(&self.spool, key)) {
            Ok(aside) => aside,
            Err(error) => return cannot_judge(&error),
        };
        if let Some(aside) = aside
            && let Err(error) = self.runtime.block_on(aside.record(&self.ledger, None))
        {
            // The next start finds it in quarantine and does it.
            tracing::error!(error = &error as &dyn std::error::Error, "a file in quarantine has no row");
        }
        Status::COMMIT_NO_SUCH_OBJECT
    }
}

fn cannot_judge(error: &io::Error) -> Status {
    tracing::error!(error = error as &dyn std::error::Error, "a commitment cannot be judged: the disk");
    Status::COMMIT_PROCESSING_FAILURE
}

/// Brings a report to its requester's own listener. Blocks.
fn send(report: &Report, peer: &CommitmentPeer, own_title: AeTitle) -> Result<(), client::ClientError> {
    let options = client::ClientOptions::new(&peer.address, peer.ae_title.clone(), own_title);
    let context = client::Proposal::reversed(STORAGE_COMMITMENT_PUSH, IMPLICIT_VR_LITTLE_ENDIAN);
    let mut client = Client::open(&options, &[context])?;
    client.report(&report.command(1), &report.data_set)?;
    client.release()
}
