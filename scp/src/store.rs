//! C-STORE (PS3.4 Annex B): a data set on its way from the wire into the spool.

use std::net::SocketAddr;

use admission::Arrival;
use imaging::{SopClassUid, SopInstanceUid};
use spool::{Fault, FileMeta, Incoming, KeepError, Outcome, Spool};

use crate::{
    association::AssociationError,
    command::Command,
    config::Limits,
    intake::Carrier,
    negotiate::Context,
    status::Status,
    wire::{Deadline, Wire},
};

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

    /// Puts the instance into the spool; the answer says what became of it.
    pub(crate) fn finish(self, carrier: &mut Carrier) -> Status {
        let outcome = match self.incoming.finish() {
            Ok(outcome) => outcome,
            Err(error) => return refused(&error),
        };
        metrics::counter!("overread_instances_received_total", "outcome" => outcome_label(&outcome))
            .increment(1);
        let arrival = match admission::settle(&self.spool, outcome) {
            Ok(arrival) => arrival,
            Err(error) => return refused(&KeepError::from(error)),
        };
        match arrival {
            Arrival::Kept(one) => carrier.arrived(one.header, one.digest, one.size_bytes, one.receipt),
            Arrival::Replacing(one, aside) => carrier.replaced(one, aside),
            Arrival::Twin(one, aside) => {
                carrier.set_aside(aside);
                carrier.arrived(one.header, one.digest, one.size_bytes, one.receipt);
            }
            Arrival::Unusable(fault, aside) => {
                carrier.set_aside(aside);
                return match fault {
                    Fault::Disagrees(_) => Status::DATA_SET_DOES_NOT_MATCH,
                    Fault::Malformed(_) | Fault::Missing(_) | Fault::Unreadable(_) => {
                        Status::CANNOT_UNDERSTAND
                    }
                };
            }
        }
        Status::SUCCESS
    }
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
