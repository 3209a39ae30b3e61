//! Protocol data units of the DICOM upper layer (PS3.8 §9.3): encoding and decoding, no I/O.
//!
//! Decoding believes no length that does not fit what it was given, so hostile bytes cost
//! no more memory than they have. Items that are not known are skipped, as PS3.8 asks.

mod associate;
mod reader;

pub(crate) use associate::{
    AbstractSyntaxResult, AssociateAc, AssociateRq, ContextProposed, ContextResult, IdentityKind,
    RoleSelection, UserIdentity, UserInformation,
};

/// DICOM Application Context Name (PS3.7 §A.2.1).
pub(crate) const APPLICATION_CONTEXT_NAME: &str = "1.2.840.10008.3.1.1.1";
/// Type, reserved byte, length.
pub(crate) const PDU_HEADER_BYTES: usize = 6;
/// Length, presentation context, message control header.
pub(crate) const PDV_HEADER_BYTES: usize = 6;
/// The longest association request that is read; 128 contexts with 40 syntaxes each take less.
pub(crate) const ASSOCIATE_BYTES_MAX: u32 = 1 << 20;

/// PS3.8 §9.3.1: the type of a PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PduType {
    AssociateRq = 0x01,
    AssociateAc = 0x02,
    AssociateRj = 0x03,
    PData = 0x04,
    ReleaseRq = 0x05,
    ReleaseRp = 0x06,
    Abort = 0x07,
}

impl PduType {
    pub(crate) fn decode(byte: u8) -> Option<Self> {
        use PduType::*;
        [AssociateRq, AssociateAc, AssociateRj, PData, ReleaseRq, ReleaseRp, Abort]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// Bytes that are no PDU of the type that they claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPdu {
    #[error("it ends inside a field")]
    Cut,
    #[error("an item has more or fewer bytes than its length says")]
    Length,
    #[error("a text field has characters that it cannot have")]
    Text,
    #[error("presentation context id {0} is even or used twice")]
    ContextId(u8),
    #[error("a required item is missing")]
    Missing,
}

/// PS3.8 §9.3.4: why an association is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    ApplicationContextNotSupported,
    CallingAeTitleNotRecognized,
    CalledAeTitleNotRecognized,
    /// Also for an identity that was not accepted (PS3.7 §D.3.3.7).
    NoReasonGiven,
    ProtocolVersionNotSupported,
    TemporaryCongestion,
    LocalLimitExceeded,
}

impl Rejection {
    /// Result, source, reason.
    pub(crate) fn codes(self) -> [u8; 3] {
        match self {
            Self::ApplicationContextNotSupported => [1, 1, 2],
            Self::CallingAeTitleNotRecognized => [1, 1, 3],
            Self::CalledAeTitleNotRecognized => [1, 1, 7],
            Self::NoReasonGiven => [1, 2, 1],
            Self::ProtocolVersionNotSupported => [1, 2, 2],
            Self::TemporaryCongestion => [2, 3, 1],
            Self::LocalLimitExceeded => [2, 3, 2],
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let [result, source, reason] = self.codes();
        vec![PduType::AssociateRj as u8, 0, 0, 0, 0, 4, 0, result, source, reason]
    }
}

/// PS3.8 §9.3.8: who aborts, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    ServiceUser,
    ReasonNotSpecified,
    UnrecognizedPdu,
    UnexpectedPdu,
    InvalidParameter,
}

impl Abort {
    pub(crate) fn encode(self) -> Vec<u8> {
        let (source, reason) = match self {
            Self::ServiceUser => (0, 0),
            Self::ReasonNotSpecified => (2, 0),
            Self::UnrecognizedPdu => (2, 1),
            Self::UnexpectedPdu => (2, 2),
            Self::InvalidParameter => (2, 6),
        };
        vec![PduType::Abort as u8, 0, 0, 0, 0, 4, 0, 0, source, reason]
    }
}

/// PS3.8 §9.3.6 and §9.3.7: four reserved bytes.
pub(crate) fn encode_release(kind: PduType) -> Vec<u8> {
    vec![kind as u8, 0, 0, 0, 0, 4, 0, 0, 0, 0]
}

/// PS3.8 §E.2: the message control header of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PdvHeader {
    /// Bytes of the fragment itself.
    pub(crate) bytes: u32,
    pub(crate) context: u8,
    pub(crate) is_command: bool,
    pub(crate) is_last: bool,
}

impl PdvHeader {
    /// # Errors
    /// When the length leaves no room for context and control header.
    pub(crate) fn decode(bytes: [u8; PDV_HEADER_BYTES]) -> Result<Self, BadPdu> {
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(Self {
            bytes: length.checked_sub(2).ok_or(BadPdu::Length)?,
            context: bytes[4],
            is_command: bytes[5] & 1 != 0,
            is_last: bytes[5] & 2 != 0,
        })
    }

    fn flags(self) -> u8 {
        u8::from(self.is_command) | u8::from(self.is_last) << 1
    }
}

/// Appends one P-DATA-TF PDU with one fragment.
pub(crate) fn encode_p_data(out: &mut Vec<u8>, header: PdvHeader, fragment: &[u8]) {
    let length = u32::try_from(fragment.len()).expect("fragments are cut to the peer's PDU length");
    out.extend_from_slice(&[PduType::PData as u8, 0]);
    out.extend_from_slice(&(length + 6).to_be_bytes());
    out.extend_from_slice(&(length + 2).to_be_bytes());
    out.extend_from_slice(&[header.context, header.flags()]);
    out.extend_from_slice(fragment);
}

/// Cuts one command or data set into P-DATA-TF PDUs that the peer accepts, all in one piece of bytes.
pub(crate) fn encode_message_part(
    out: &mut Vec<u8>,
    context: u8,
    is_command: bool,
    part: &[u8],
    pdu_max: u32,
) {
    let fragment_max = fragment_bytes_max(pdu_max);
    let mut chunks = part.chunks(fragment_max).peekable();
    while let Some(chunk) = chunks.next() {
        let is_last = chunks.peek().is_none();
        encode_p_data(out, PdvHeader { bytes: 0, context, is_command, is_last }, chunk);
    }
}

/// How much of a message fits a PDU of at most `pdu_max` bytes after its header; 0 means no limit.
pub(crate) fn fragment_bytes_max(pdu_max: u32) -> usize {
    const OURS: usize = 1 << 20;
    let room = if pdu_max == 0 { OURS } else { (pdu_max as usize).min(OURS) };
    room.saturating_sub(PDV_HEADER_BYTES).max(2) & !1
}
