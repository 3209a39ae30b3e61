//! C-STORE (PS3.4 Annex B): a data set on its way from the wire into the spool.

use std::{net::SocketAddr, time::Duration};

use admission::Arrival;
use imaging::{SopClassUid, SopInstanceUid};
use spool::{Fault, FileMeta, Incoming, KeepError, Noted, Outcome, Spool};
use tokio_util::sync::CancellationToken;

use crate::{
    association::AssociationError,
    command::Command,
    config::Limits,
    intake::Carrier,
    negotiate::Context,
    promise::Promise,
    status::Status,
    wire::{Deadline, Wire},
};

/// Between attempts while the disk does not take an acknowledged instance.
const PLACE_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Receiving {
    incoming: Incoming,
    spool: Spool,
}

impl Receiving {
    /// # Errors
    /// The status to answer with, when the instance cannot be taken.
    pub(crate) fn begin(
        spool: &Spool,
        context: &Context,
        command: &Command<'_>,
        calling_ae_title: &str,
    ) -> Result<Self, Status> {
        let sop_class = command.sop_class.ok_or(Status::MISTYPED_ARGUMENT)?;
        if sop_class != context.abstract_syntax {
            return Err(Status::SOP_CLASS_NOT_SUPPORTED);
        }
        let sop_instance = command.sop_instance.ok_or(Status::MISTYPED_ARGUMENT)?;
        let meta = FileMeta {
            sop_class: SopClassUid::parse(sop_class).map_err(|_| Status::SOP_CLASS_NOT_SUPPORTED)?,
            sop_instance: SopInstanceUid::parse(sop_instance).map_err(|_| Status::INVALID_SOP_INSTANCE)?,
            transfer_syntax: context.transfer_syntax.clone(),
            calling_ae_title: calling_ae_title.to_owned(),
        };
        let incoming = spool.receive(meta).map_err(|error| refused(&error))?;
        Ok(Self { incoming, spool: spool.clone() })
    }

    /// Takes `bytes` bytes off the wire. The inner error is the status to answer with once the
    /// rest has been passed over.
    pub(crate) fn take(
        &mut self,
        wire: &mut Wire,
        bytes: u32,
        limits: &Limits,
        deadline: Deadline,
    ) -> Result<Result<(), Status>, AssociationError> {
        let mut left = bytes as usize;
        if self.incoming.dataset_bytes() + left as u64 > limits.dataset_bytes_max {
            wire.skip(left as u64, deadline)?;
            return Ok(Err(Status::OUT_OF_RESOURCES));
        }
        while left > 0 {
            let room = match self.incoming.room() {
                Ok(room) => room,
                Err(error) => {
                    wire.skip(left as u64, deadline)?;
                    return Ok(Err(refused(&error)));
                }
            };
            let length = room.len().min(left);
            let count = wire.read_some(&mut room[..length], deadline)?;
            self.incoming.advance(count);
            left -= count;
        }
        Ok(Ok(()))
    }

    pub(crate) fn end(self, carrier: &mut Carrier) -> Ended {
        match self.incoming.end() {
            Ok(spool::Ended::Noted(noted)) => {
                Ended::Acknowledge(Acknowledged { noted, spool: self.spool, _promise: carrier.promise() })
            }
            Ok(spool::Ended::Known(outcome)) => Ended::Answer(settle(&self.spool, *outcome, carrier)),
            Err(error) => Ended::Answer(refused(&error)),
        }
    }
}

/// What follows the last byte of a data set.
#[derive(Debug)]
pub(crate) enum Ended {
    Answer(Status),
    /// The answer is success; then comes [`Acknowledged::place`].
    Acknowledge(Acknowledged),
}

/// An instance that is kept in the journal, and whose sender may know it.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    noted: Box<Noted>,
    spool: Spool,
    _promise: Promise,
}

impl Acknowledged {
    /// Puts it in its place, however long the disk takes. When the service ends before, the next start does it.
    pub(crate) fn place(self, carrier: &mut Carrier, shutdown: &CancellationToken) {
        let mut noted = self.noted;
        let mut told = false;
        let outcome = loop {
            match noted.place() {
                Ok(outcome) => break outcome,
                Err(unplaced) if shutdown.is_cancelled() => {
                    tracing::warn!(
                        error = &unplaced as &dyn std::error::Error,
                        "the next start puts an instance in its place"
                    );
                    return;
                }
                Err(unplaced) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(
                            error = &unplaced as &dyn std::error::Error,
                            "an acknowledged instance waits for the disk"
                        );
                    }
                    noted = unplaced.noted;
                    std::thread::sleep(PLACE_AGAIN);
                }
            }
        };
        let status = settle(&self.spool, outcome, carrier);
        if status != Status::SUCCESS {
            tracing::error!(%status, "an instance was acknowledged, and could not be settled");
        }
    }
}

/// Tells the ledger what became of an instance; the status is for its sender.
fn settle(spool: &Spool, outcome: Outcome, carrier: &mut Carrier) -> Status {
    metrics::counter!("overread_instances_received_total", "outcome" => outcome_label(&outcome)).increment(1);
    let arrival = match admission::settle(spool, outcome) {
        Ok(arrival) => arrival,
        Err(error) => return refused(&KeepError::from(error)),
    };
    match arrival {
        Arrival::Kept(one) => carrier.arrived(one),
        Arrival::Mending(one, aside) => {
            carrier.set_aside(aside);
            carrier.arrived(one);
        }
        Arrival::Replacing(one, aside) => carrier.replaced(one, aside),
        Arrival::Twin(one, aside) => carrier.twin(one, aside),
        Arrival::Unusable(fault, aside) => {
            carrier.set_aside(aside);
            return match fault {
                Fault::Disagrees(_) => Status::DATA_SET_DOES_NOT_MATCH,
                Fault::Malformed(_) | Fault::Missing(_) | Fault::Unreadable(_) => Status::CANNOT_UNDERSTAND,
            };
        }
    }
    Status::SUCCESS
}

fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Kept(_) => "kept",
        Outcome::Same(_) => "same",
        Outcome::Conflict(_) => "conflict",
        Outcome::Unusable(_) => "unusable",
    }
}

fn refused(error: &KeepError) -> Status {
    metrics::counter!("overread_instances_refused_total").increment(1);
    match error {
        KeepError::Full => Status::OUT_OF_RESOURCES,
        KeepError::Io(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "an instance could not be written");
            Status::PROCESSING_FAILURE
        }
    }
}

/// The peer's address as the ledger keeps it.
pub(crate) fn peer_name(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}
