//! One association from its request to its end, on a thread of its own.
//!
//! The thread owns its connection and blocks on nothing but its peer, the disk, and, when
//! the ledger lags far behind, the intake queue. What is received is judged in `spool`;
//! here it becomes a status. Nothing is answered with success before it is kept.

use std::{net::SocketAddr, sync::Arc};

use ledger::Ending;
use spool::Spool;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Census,
    command::{BadCommand, COMMAND_BYTES_MAX, Command, Operation},
    commitment::{self, CommitmentReport, Commitments},
    config::ScpConfig,
    intake::{Carrier, Intake},
    negotiate::{Agreed, Context, Service, negotiate},
    pdu::{self, ASSOCIATE_BYTES_MAX, Abort, AssociateRq, BadPdu, PduType, PdvHeader, Rejection},
    status::Status,
    store::{Ended, Receiving},
    wire::{Deadline, Wait, Wire, WireError, next_fragment},
};

/// What all associations of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ScpConfig,
    pub(crate) spool: Spool,
    pub(crate) intake: Intake,
    pub(crate) commitments: Commitments,
    pub(crate) census: Arc<Census>,
    pub(crate) shutdown: CancellationToken,
}

/// Why an association ended otherwise than by a release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssociationError {
    #[error("the association was refused: {0:?}")]
    Rejected(Rejection),
    #[error("the peer aborted")]
    Aborted,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the peer sent a PDU of the unknown type {0:02X}H")]
    UnknownPdu(u8),
    #[error("the peer sent a malformed PDU")]
    Pdu(#[from] BadPdu),
    #[error("the peer sent a malformed command")]
    Command(#[from] BadCommand),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl AssociationError {
    /// What the peer is told.
    fn abort(&self) -> Option<Abort> {
        match self {
            Self::Rejected(_) | Self::Aborted | Self::Wire(WireError::Closed | WireError::Io(_)) => None,
            // PS3.8 §9.2.3, AA-2: whoever never sent a request is not waited for a second time.
            Self::Wire(WireError::TimedOut(Wait::Association)) => None,
            Self::Wire(WireError::ShuttingDown) => Some(Abort::ServiceUser),
            Self::Wire(WireError::TimedOut(_)) => Some(Abort::ReasonNotSpecified),
            Self::Protocol(_) => Some(Abort::UnexpectedPdu),
            Self::UnknownPdu(_) => Some(Abort::UnrecognizedPdu),
            Self::Pdu(_) | Self::Command(_) => Some(Abort::InvalidParameter),
        }
    }
}

/// Serves one connection to its end.
pub(crate) fn serve(mut wire: Wire, peer: SocketAddr, shared: &Arc<Shared>) {
    let span = tracing::info_span!("association", peer = %peer, aet.calling = tracing::field::Empty);
    let _entered = span.enter();
    let artim = Deadline::after(shared.config.timeouts.artim, Wait::Association);
    let ended = match open(&mut wire, peer, shared, artim, &span) {
        Ok((agreed, _seat)) => run(&mut wire, peer, shared, agreed),
        Err(error) => Err(error),
    };
    let Err(error) = ended else { return };
    metrics::counter!("overread_associations_failed_total").increment(1);
    tracing::warn!(error = &error as &dyn std::error::Error, "the association ended early");
    if let Some(abort) = error.abort()
        && wire.write(&abort.encode()).is_ok()
    {
        wire.wait_for_close(Deadline::after(shared.config.timeouts.artim, Wait::Association));
    }
}

/// PS3.8 §9.2, states 2 and 3: from the connection to the acceptance.
fn open(
    wire: &mut Wire,
    peer: SocketAddr,
    shared: &Shared,
    artim: Deadline,
    span: &tracing::Span,
) -> Result<(Agreed, crate::access::Seat), AssociationError> {
    let (kind, length) = wire.next_pdu(artim, artim)?;
    if PduType::decode(kind) != Some(PduType::AssociateRq) || length > ASSOCIATE_BYTES_MAX {
        return Err(AssociationError::Protocol("the first PDU is no association request"));
    }
    let mut content = vec![0; length as usize];
    wire.read_exact(&mut content, artim)?;
    let request = AssociateRq::decode(&content)?;
    span.record("aet.calling", request.calling_ae_title.as_str());
    let fields = (field(&content, 4)?, field(&content, 20)?);
    let decided = negotiate(&shared.config, peer.ip(), &request, fields).and_then(|agreed| {
        // Disk space comes first to whoever is being served already.
        shared.spool.check_space().map_err(|_| Rejection::TemporaryCongestion)?;
        Ok((agreed, shared.census.take_seat(peer.ip())?))
    });
    match decided {
        Ok((agreed, seat)) => {
            wire.write(&agreed.acceptance.encode())?;
            Ok((agreed, seat))
        }
        Err(rejection) => {
            wire.write(&rejection.encode())?;
            metrics::counter!("overread_associations_rejected_total").increment(1);
            wire.wait_for_close(artim);
            Err(AssociationError::Rejected(rejection))
        }
    }
}

fn field(content: &[u8], at: usize) -> Result<[u8; 16], BadPdu> {
    content.get(at..at + 16).and_then(|field| field.try_into().ok()).ok_or(BadPdu::Cut)
}

fn run(
    wire: &mut Wire,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    agreed: Agreed,
) -> Result<(), AssociationError> {
    metrics::counter!("overread_associations_accepted_total").increment(1);
    let carrier = shared.intake.carrier(&shared.config, peer, &agreed);
    let mut association = Association { wire, shared, agreed, carrier, message: Message::None };
    let result = association.serve_messages();
    association.message = Message::None; // what is half received goes before the end is told
    association.carrier.ended(if result.is_ok() { Ending::Released } else { Ending::Aborted });
    result
}

struct Association<'served> {
    wire: &'served mut Wire,
    shared: &'served Arc<Shared>,
    agreed: Agreed,
    carrier: Carrier,
    message: Message,
}

/// The message that is being received.
enum Message {
    None,
    Command { context: u8, bytes: Vec<u8>, deadline: Deadline },
    DataSet { context: u8, command: Vec<u8>, sink: Sink, deadline: Deadline },
}

/// Where a data set goes.
enum Sink {
    Instance(Box<Receiving>),
    /// The argument of a service of ours, and whether it became too long.
    Argument(Vec<u8>),
    /// It is received and answered with this, but nobody looks at it.
    Refused(Status),
}

/// Longest argument of N-ACTION: some thirty thousand references.
const ARGUMENT_BYTES_MAX: usize = 8 << 20;

impl Association<'_> {
    fn serve_messages(&mut self) -> Result<(), AssociationError> {
        loop {
            let timeouts = &self.shared.config.timeouts;
            if matches!(self.message, Message::None) {
                self.wire.wait_for_pdu(Deadline::after(timeouts.idle, Wait::Message))?;
            }
            let pdu = Deadline::after(timeouts.pdu, Wait::RestOfPdu);
            let (kind, length) = self.wire.pdu_header(match &self.message {
                Message::None => pdu,
                Message::Command { deadline, .. } | Message::DataSet { deadline, .. } => pdu.or(*deadline),
            })?;
            // The time that was spent waiting for the header does not count for the content.
            let rest = Deadline::after(timeouts.pdu, Wait::RestOfPdu);
            match PduType::decode(kind) {
                Some(PduType::PData) => self.take_p_data(length, rest)?,
                Some(PduType::ReleaseRq) => return self.release(length, rest),
                Some(PduType::Abort) => return Err(AssociationError::Aborted),
                Some(_) => {
                    return Err(AssociationError::Protocol("a PDU that has no place within an association"));
                }
                None => return Err(AssociationError::UnknownPdu(kind)),
            }
        }
    }

    fn release(&mut self, length: u32, deadline: Deadline) -> Result<(), AssociationError> {
        self.wire.skip(u64::from(length.min(64)), deadline)?;
        if !matches!(self.message, Message::None) {
            return Err(AssociationError::Protocol("a release within a message"));
        }
        self.wire.write(&pdu::encode_release(PduType::ReleaseRp))?;
        let artim = Deadline::after(self.shared.config.timeouts.artim, Wait::Association);
        self.carrier.released();
        self.wire.wait_for_close(artim);
        Ok(())
    }

    fn take_p_data(&mut self, length: u32, deadline: Deadline) -> Result<(), AssociationError> {
        if length > self.shared.config.limits.pdu_bytes_max {
            return Err(AssociationError::Protocol("a PDU that is longer than was agreed"));
        }
        let mut left = length;
        while left > 0 {
            let fragment = next_fragment(self.wire, &mut left, deadline)?
                .ok_or(AssociationError::Protocol("a fragment that is longer than its PDU"))?;
            self.take_fragment(fragment, deadline)?;
        }
        Ok(())
    }

    fn take_fragment(&mut self, fragment: PdvHeader, pdu: Deadline) -> Result<(), AssociationError> {
        match std::mem::replace(&mut self.message, Message::None) {
            Message::None if fragment.is_command => {
                let deadline = Deadline::after(self.shared.config.timeouts.message, Wait::RestOfMessage);
                self.take_command(fragment, Vec::with_capacity(256), deadline, pdu)
            }
            Message::Command { context, bytes, deadline }
                if fragment.is_command && fragment.context == context =>
            {
                self.take_command(fragment, bytes, deadline, pdu.or(deadline))
            }
            Message::DataSet { context, command, mut sink, deadline }
                if !fragment.is_command && fragment.context == context =>
            {
                self.take_data(fragment.bytes, &mut sink, pdu.or(deadline))?;
                if fragment.is_last {
                    return self.finish_message(context, &command, sink);
                }
                self.message = Message::DataSet { context, command, sink, deadline };
                Ok(())
            }
            _ => Err(AssociationError::Protocol("a fragment that does not belong to the message")),
        }
    }

    fn take_command(
        &mut self,
        fragment: PdvHeader,
        mut bytes: Vec<u8>,
        deadline: Deadline,
        pdu: Deadline,
    ) -> Result<(), AssociationError> {
        let start = bytes.len();
        let end = start + fragment.bytes as usize;
        if end > COMMAND_BYTES_MAX {
            return Err(AssociationError::Protocol("a command set that is too long"));
        }
        bytes.resize(end, 0);
        self.wire.read_exact(&mut bytes[start..], pdu)?;
        if !fragment.is_last {
            self.message = Message::Command { context: fragment.context, bytes, deadline };
            return Ok(());
        }
        let command = Command::decode(&bytes)?;
        let sink = self.sink(fragment.context, &command)?;
        if command.has_data_set {
            self.message = Message::DataSet { context: fragment.context, command: bytes, sink, deadline };
            return Ok(());
        }
        self.finish_message(fragment.context, &bytes, sink)
    }

    /// Decides by the command where its data set goes, if one follows.
    fn sink(&self, context: u8, command: &Command<'_>) -> Result<Sink, AssociationError> {
        let Some(context) = self.agreed.contexts.get(&context) else {
            return Err(AssociationError::Protocol("a presentation context that was not accepted"));
        };
        Ok(match (command.operation, context.service) {
            (Operation::StoreRq, Service::Storage) if command.has_data_set => {
                self.receiving(context, command)
            }
            (Operation::StoreRq, Service::Storage) => Sink::Refused(Status::MISTYPED_ARGUMENT),
            (Operation::EchoRq, _) => Sink::Refused(Status::SUCCESS),
            (Operation::ActionRq | Operation::EventReportRq, Service::StorageCommitment) => {
                Sink::Argument(Vec::new())
            }
            (Operation::StoreRq | Operation::ActionRq, _) => Sink::Refused(Status::SOP_CLASS_NOT_SUPPORTED),
            _ => Sink::Refused(Status::UNRECOGNIZED_OPERATION),
        })
    }

    fn receiving(&self, context: &Context, command: &Command<'_>) -> Sink {
        match Receiving::begin(&self.shared.spool, context, command, &self.agreed.calling_ae_title) {
            Ok(receiving) => Sink::Instance(Box::new(receiving)),
            Err(status) => Sink::Refused(status),
        }
    }

    fn take_data(&mut self, bytes: u32, sink: &mut Sink, deadline: Deadline) -> Result<(), AssociationError> {
        match sink {
            Sink::Instance(receiving) => {
                if let Err(status) = receiving.take(self.wire, bytes, &self.shared.config.limits, deadline)? {
                    *sink = Sink::Refused(status);
                }
            }
            Sink::Argument(argument) => {
                let start = argument.len();
                if start + bytes as usize > ARGUMENT_BYTES_MAX {
                    self.wire.skip(u64::from(bytes), deadline)?;
                    *sink = Sink::Refused(Status::INVALID_ARGUMENT_VALUE);
                } else {
                    argument.resize(start + bytes as usize, 0);
                    self.wire.read_exact(&mut argument[start..], deadline)?;
                }
            }
            Sink::Refused(_) => self.wire.skip(u64::from(bytes), deadline)?,
        }
        Ok(())
    }

    fn finish_message(&mut self, context: u8, command: &[u8], sink: Sink) -> Result<(), AssociationError> {
        let command = Command::decode(command)?;
        if !command.operation.is_request() || command.operation == Operation::CancelRq {
            return Ok(()); // the answer to a report of ours, or a C-CANCEL that comes too late for anything
        }
        match sink {
            Sink::Refused(status) => self.answer(context, &command, status),
            Sink::Instance(receiving) => {
                let acknowledged = match receiving.end(&mut self.carrier) {
                    Ended::Answer(status) => return self.answer(context, &command, status),
                    Ended::Acknowledge(acknowledged) => acknowledged,
                };
                let answered = self.answer(context, &command, Status::SUCCESS);
                // Also when the peer is gone: it is kept.
                acknowledged.place(&mut self.carrier, &self.shared.shutdown);
                answered
            }
            Sink::Argument(argument) if command.operation == Operation::EventReportRq => {
                self.take_report(context, &command, &argument)
            }
            Sink::Argument(argument) => self.commit(context, &command, &argument),
        }
    }

    fn answer(&mut self, context: u8, command: &Command<'_>, status: Status) -> Result<(), AssociationError> {
        let mut out = Vec::with_capacity(256);
        pdu::encode_message_part(&mut out, context, true, &command.answer(status), self.agreed.peer_pdu_max);
        Ok(self.wire.write(&out)?)
    }

    /// PS3.4 §J.3.3: a peer that we asked says what it keeps.
    fn take_report(
        &mut self,
        context: u8,
        command: &Command<'_>,
        argument: &[u8],
    ) -> Result<(), AssociationError> {
        let status = match CommitmentReport::read(command, argument, self.is_implicit(context)) {
            Ok(report) => self.shared.commitments.take_report(&report),
            Err(status) => status,
        };
        self.answer(context, command, status)
    }

    fn is_implicit(&self, context: u8) -> bool {
        self.agreed.contexts.get(&context).is_some_and(|context| {
            context.transfer_syntax.as_str() == crate::transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN
        })
    }

    /// PS3.4 §J.3: the action is answered, then comes the report.
    fn commit(
        &mut self,
        context: u8,
        command: &Command<'_>,
        argument: &[u8],
    ) -> Result<(), AssociationError> {
        let implicit = self.is_implicit(context);
        let request = match commitment::Request::read(command, argument, implicit) {
            Ok(request) => request,
            Err(status) => return self.answer(context, command, status),
        };
        let commitments = &self.shared.commitments;
        let is_owed = match commitments.owe(&request, &self.agreed.calling_ae_title) {
            Ok(is_owed) => is_owed,
            Err(status) => return self.answer(context, command, status),
        };
        self.answer(context, command, Status::SUCCESS)?;
        if is_owed {
            return Ok(()); // it goes out on an association of ours
        }
        let report = self.shared.commitments.report(&request, implicit);
        let mut out = Vec::new();
        pdu::encode_message_part(&mut out, context, true, &report.command(1), self.agreed.peer_pdu_max);
        pdu::encode_message_part(&mut out, context, false, &report.data_set, self.agreed.peer_pdu_max);
        Ok(self.wire.write(&out)?)
    }
}
