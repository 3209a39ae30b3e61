//! An association that we open: negotiation, C-ECHO, C-STORE, a commitment report, release.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use spool::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use tokio_util::sync::CancellationToken;

use crate::{
    ae_title::AeTitle,
    command::{self, COMMAND_BYTES_MAX, Command, Priority},
    pdu::{
        self, APPLICATION_CONTEXT_NAME, ASSOCIATE_BYTES_MAX, Abort, AbstractSyntaxResult, AssociateAc,
        AssociateRq, BadPdu, ContextProposed, PduType, PdvHeader, RoleSelection, UserInformation,
    },
    sop_class::VERIFICATION,
    status::Status,
    tls::{self, TlsError, TlsOptions},
    wire::{Deadline, Wait, Wire, WireError, next_fragment},
};

/// PS3.8 §9.3.2.2: ids are odd and fit a byte.
pub(crate) const CONTEXTS_MAX: usize = 128;
/// Longest PDU that we accept as an answer.
const PDU_BYTES_MAX: u32 = 64 << 10;
/// Longest data set that we accept with a message: a report on some thousands of instances.
const DATA_BYTES_MAX: usize = 1 << 20;

/// Whom to call, and how.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Host and port.
    pub address: String,
    pub called_ae_title: AeTitle,
    pub calling_ae_title: AeTitle,
    pub tls: Option<TlsOptions>,
    pub connect_timeout: Duration,
    /// For an answer.
    pub answer_timeout: Duration,
    /// For one write to be taken.
    pub write_timeout: Duration,
}

impl ClientOptions {
    pub fn new(address: impl Into<String>, called_ae_title: AeTitle, calling_ae_title: AeTitle) -> Self {
        Self {
            address: address.into(),
            called_ae_title,
            calling_ae_title,
            tls: None,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// Why an association that we opened cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot speak TLS")]
    Tls(#[from] TlsError),
    #[error("the peer refused the association: {}", rejection_text(*.0))]
    Rejected([u8; 3]),
    #[error("the peer aborted the association")]
    Aborted,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the peer sent a malformed PDU")]
    Pdu(#[from] BadPdu),
    #[error("the peer does not take {sop_class} as {transfer_syntax}")]
    NotAccepted { sop_class: String, transfer_syntax: String },
    #[error("the peer answered {0}")]
    Refused(Status),
    #[error("cannot read the file to send")]
    File(#[source] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl ClientError {
    /// Whether another try may do better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Aborted | Self::Wire(_) => true,
            // PS3.8 §9.3.4: result 2 is rejected-transient.
            Self::Rejected(codes) => codes[0] == 2,
            Self::Refused(status) => status.may_pass(),
            Self::Tls(_) | Self::Protocol(_) | Self::Pdu(_) | Self::NotAccepted { .. } | Self::File(_) => {
                false
            }
        }
    }

    /// Whether the association can be used after it.
    pub(crate) fn leaves_association_usable(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotAccepted { .. })
    }
}

/// PS3.8 Table 9-21.
fn rejection_text([_, source, reason]: [u8; 3]) -> &'static str {
    match (source, reason) {
        (1, 2) => "it does not know the application context",
        (1, 3) => "it does not know our AE title",
        (1, 7) => "it does not have the AE title that we called",
        (2, 2) => "it does not speak our version of the protocol",
        (3, 1) => "it is congested",
        (3, 2) => "it has too many associations",
        _ => "no reason given",
    }
}

/// A presentation context to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proposal {
    pub(crate) sop_class: String,
    pub(crate) transfer_syntax: String,
    /// We are the provider although we open the association.
    is_reversed: bool,
}

impl Proposal {
    pub(crate) fn new(sop_class: &str, transfer_syntax: &str) -> Self {
        Self {
            sop_class: sop_class.to_owned(),
            transfer_syntax: transfer_syntax.to_owned(),
            is_reversed: false,
        }
    }

    pub(crate) fn reversed(sop_class: &str, transfer_syntax: &str) -> Self {
        Self { is_reversed: true, ..Self::new(sop_class, transfer_syntax) }
    }
}

/// A message of the peer's.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) context: u8,
    pub(crate) command: Vec<u8>,
    pub(crate) data_set: Vec<u8>,
}

/// An open association.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
    accepted: HashMap<(String, String), u8>,
    peer_pdu_max: u32,
    answer_timeout: Duration,
    next_message_id: u16,
}

impl Client {
    /// # Errors
    /// When there is no association to be had. Contexts that are refused are no error.
    pub(crate) fn open(options: &ClientOptions, proposals: &[Proposal]) -> Result<Self, ClientError> {
        let mut wire = connect(options)?;
        let request = request(options, proposals);
        let (called, calling) = (options.called_ae_title.field(), options.calling_ae_title.field());
        wire.write(&request.encode(called, calling))?;
        let deadline = Deadline::after(options.answer_timeout, Wait::Answer);
        let (kind, length) = wire.next_pdu(deadline, deadline)?;
        if length > ASSOCIATE_BYTES_MAX {
            return Err(ClientError::Protocol("an answer that is too long"));
        }
        let mut content = vec![0; length as usize];
        wire.read_exact(&mut content, deadline)?;
        let answer = match PduType::decode(kind) {
            Some(PduType::AssociateAc) => AssociateAc::decode(&content)?,
            Some(PduType::AssociateRj) if content.len() == 4 => {
                return Err(ClientError::Rejected([content[1], content[2], content[3]]));
            }
            Some(PduType::Abort) => return Err(ClientError::Aborted),
            _ => return Err(ClientError::Protocol("no answer to an association request")),
        };
        Ok(Self {
            wire,
            accepted: accepted(proposals, &answer),
            peer_pdu_max: answer.user.pdu_max,
            answer_timeout: options.answer_timeout,
            next_message_id: 1,
        })
    }

    /// # Errors
    /// When the peer does not answer with success.
    pub(crate) fn echo(&mut self) -> Result<(), ClientError> {
        let context = self.context(VERIFICATION, crate::transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN)?;
        let id = self.message_id();
        self.send_part(context, true, &command::echo_rq(id))?;
        success(self.answer()?)
    }

    /// Sends one instance: the rest of `file` from where it stands.
    ///
    /// # Errors
    /// When the peer does not store it.
    pub(crate) fn store(
        &mut self,
        proposal: &Proposal,
        sop_instance: &str,
        priority: Priority,
        file: &mut File,
    ) -> Result<Status, ClientError> {
        let context = self.context(&proposal.sop_class, &proposal.transfer_syntax)?;
        let id = self.message_id();
        let mut out = Vec::with_capacity(pdu::fragment_bytes_max(self.peer_pdu_max) * 2);
        let command = command::store_rq(id, &proposal.sop_class, sop_instance, priority);
        pdu::encode_message_part(&mut out, context, true, &command, self.peer_pdu_max);
        self.send_file(context, file, out)?;
        let status = self.answer()?;
        if status.is_stored() { Ok(status) } else { Err(ClientError::Refused(status)) }
    }

    /// The data set in as many PDUs as it takes; `out` goes out with the first.
    fn send_file(&mut self, context: u8, file: &mut File, mut out: Vec<u8>) -> Result<(), ClientError> {
        let mut left = remaining(file).map_err(ClientError::File)?;
        let mut fragment = vec![0; pdu::fragment_bytes_max(self.peer_pdu_max)];
        loop {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(fragment.len());
            file.read_exact(&mut fragment[..count]).map_err(ClientError::File)?;
            left -= count as u64;
            let header = PdvHeader { bytes: 0, context, is_command: false, is_last: left == 0 };
            pdu::encode_p_data(&mut out, header, &fragment[..count]);
            self.wire.write(&out)?;
            out.clear();
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// # Errors
    /// When the peer does not take the report.
    pub(crate) fn report(&mut self, command: &[u8], data_set: &[u8]) -> Result<(), ClientError> {
        let context = self.context(
            crate::sop_class::STORAGE_COMMITMENT_PUSH,
            crate::transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN,
        )?;
        self.send_part(context, true, command)?;
        self.send_part(context, false, data_set)?;
        success(self.answer()?)
    }

    /// # Errors
    /// When the peer does not agree to the end.
    pub(crate) fn release(mut self) -> Result<(), ClientError> {
        self.wire.write(&pdu::encode_release(PduType::ReleaseRq))?;
        let deadline = Deadline::after(self.answer_timeout, Wait::Answer);
        match self.wire.next_pdu(deadline, deadline)? {
            (kind, _) if PduType::decode(kind) == Some(PduType::ReleaseRp) => Ok(()),
            _ => Err(ClientError::Protocol("no answer to a release request")),
        }
    }

    /// Ends the association without asking; for when it is of no use any more.
    pub(crate) fn abort(mut self) {
        // The peer may be gone already; then there is nobody to tell.
        let _ = self.wire.write(&Abort::ServiceUser.encode());
    }

    fn message_id(&mut self) -> u16 {
        let id = self.next_message_id;
        self.next_message_id = id.checked_add(1).unwrap_or(1);
        id
    }

    fn context(&self, sop_class: &str, transfer_syntax: &str) -> Result<u8, ClientError> {
        let (sop_class, transfer_syntax) = (sop_class.to_owned(), transfer_syntax.to_owned());
        match self.accepted.get(&(sop_class.clone(), transfer_syntax.clone())) {
            Some(&id) => Ok(id),
            None => Err(ClientError::NotAccepted { sop_class, transfer_syntax }),
        }
    }

    fn send_part(&mut self, context: u8, is_command: bool, part: &[u8]) -> Result<(), ClientError> {
        let mut out = Vec::with_capacity(part.len() + 64);
        pdu::encode_message_part(&mut out, context, is_command, part, self.peer_pdu_max);
        Ok(self.wire.write(&out)?)
    }

    /// Waits for the response to what was sent last.
    fn answer(&mut self) -> Result<Status, ClientError> {
        let deadline = Deadline::after(self.answer_timeout, Wait::Answer);
        let message = self.message(deadline, 0)?.ok_or(ClientError::Protocol("a PDU that is no answer"))?;
        let command = Command::decode(&message.command)
            .map_err(|_| ClientError::Protocol("an answer with a malformed command set"))?;
        command.status.ok_or(ClientError::Protocol("an answer without a status"))
    }

    /// Waits for something that the peer says of itself; nothing when it says nothing in time, or has no more to say.
    ///
    /// # Errors
    /// When the association cannot go on.
    pub(crate) fn message_of_peer(&mut self, patience: Duration) -> Result<Option<Message>, ClientError> {
        match self.message(Deadline::after(patience, Wait::Message), DATA_BYTES_MAX) {
            Err(ClientError::Wire(WireError::TimedOut(Wait::Message))) => Ok(None),
            other => other,
        }
    }

    /// # Errors
    /// When the peer does not take it.
    pub(crate) fn answer_peer(&mut self, context: u8, command: &[u8]) -> Result<(), ClientError> {
        self.send_part(context, true, command)
    }

    /// The next message: a command set, and the data set that it announces. Nothing when the peer wants to end.
    fn message(&mut self, idle: Deadline, data_bytes_max: usize) -> Result<Option<Message>, ClientError> {
        let rest = Deadline::after(self.answer_timeout, Wait::Answer);
        let mut message = Message { context: 0, command: Vec::with_capacity(256), data_set: Vec::new() };
        let mut has_command = false;
        let mut idle = idle;
        loop {
            let (kind, length) = self.wire.next_pdu(idle, rest)?;
            idle = rest;
            match PduType::decode(kind) {
                Some(PduType::PData) if length <= PDU_BYTES_MAX => {}
                Some(PduType::ReleaseRq) if message.command.is_empty() => return Ok(None),
                Some(PduType::Abort) => return Err(ClientError::Aborted),
                _ => return Err(ClientError::Protocol("a PDU that is no answer")),
            }
            let mut left = length;
            while left > 0 {
                let fragment = next_fragment(&mut self.wire, &mut left, rest)?
                    .ok_or(ClientError::Protocol("a fragment that is longer than its PDU"))?;
                let (part, bytes_max) = match fragment.is_command {
                    true => (&mut message.command, COMMAND_BYTES_MAX),
                    false => (&mut message.data_set, data_bytes_max),
                };
                let start = part.len();
                let end = start + fragment.bytes as usize;
                if fragment.is_command == has_command || end > bytes_max {
                    return Err(ClientError::Protocol("an answer that is no command set"));
                }
                part.resize(end, 0);
                self.wire.read_exact(&mut part[start..], rest)?;
                if !fragment.is_last {
                    continue;
                }
                message.context = fragment.context;
                // What cannot be decoded is for the caller to name.
                let is_whole = has_command
                    || Command::decode(&message.command).map_or(true, |command| !command.has_data_set);
                if is_whole {
                    return Ok(Some(message));
                }
                has_command = true;
            }
        }
    }
}

fn success(status: Status) -> Result<(), ClientError> {
    if status == Status::SUCCESS { Ok(()) } else { Err(ClientError::Refused(status)) }
}

fn remaining(file: &mut File) -> io::Result<u64> {
    let at = file.stream_position()?;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(at))?;
    Ok(end.saturating_sub(at))
}

fn connect(options: &ClientOptions) -> Result<Wire, ClientError> {
    let failed = |source| ClientError::Connect { address: options.address.clone(), source };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in options.address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, options.connect_timeout) {
            Ok(tcp) => return wire(options, tcp),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn wire(options: &ClientOptions, tcp: TcpStream) -> Result<Wire, ClientError> {
    let failed = |source| ClientError::Connect { address: options.address.clone(), source };
    // Nobody shuts a client down but its own deadlines.
    let shutdown = CancellationToken::new();
    let wire = match &options.tls {
        None => Wire::plain(tcp, options.write_timeout, shutdown),
        Some(tls) => {
            let host = options.address.rsplit_once(':').map_or(options.address.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = tls::connect(tls, host, tcp.try_clone().map_err(failed)?)?;
            Wire::tls(tcp, stream, options.write_timeout, shutdown)
        }
    };
    wire.map_err(failed)
}

fn request(options: &ClientOptions, proposals: &[Proposal]) -> AssociateRq {
    let contexts = proposals
        .iter()
        .zip((1..=u8::MAX).step_by(2))
        .map(|(proposal, id)| ContextProposed {
            id,
            abstract_syntax: proposal.sop_class.clone(),
            transfer_syntaxes: vec![proposal.transfer_syntax.clone()],
        })
        .collect();
    AssociateRq {
        protocol_version: 1,
        called_ae_title: options.called_ae_title.to_string(),
        calling_ae_title: options.calling_ae_title.to_string(),
        application_context: APPLICATION_CONTEXT_NAME.to_owned(),
        contexts,
        user: UserInformation {
            pdu_max: PDU_BYTES_MAX,
            implementation_class_uid: IMPLEMENTATION_CLASS_UID.to_owned(),
            implementation_version_name: IMPLEMENTATION_VERSION_NAME.to_owned(),
            roles: proposals
                .iter()
                .filter(|proposal| proposal.is_reversed)
                .map(|proposal| RoleSelection {
                    sop_class: proposal.sop_class.clone(),
                    scu: false,
                    scp: true,
                })
                .collect(),
            ..UserInformation::default()
        },
    }
}

fn accepted(proposals: &[Proposal], answer: &AssociateAc) -> HashMap<(String, String), u8> {
    proposals
        .iter()
        .zip((1..=u8::MAX).step_by(2))
        .filter(|(_, id)| {
            answer
                .contexts
                .iter()
                .any(|context| context.id == *id && context.result == AbstractSyntaxResult::Acceptance)
        })
        .map(|(proposal, id)| ((proposal.sop_class.clone(), proposal.transfer_syntax.clone()), id))
        .collect()
}
