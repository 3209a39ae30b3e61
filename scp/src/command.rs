//! Command sets (PS3.7 §6.3, §E): the part of a message that says what is wanted.
//!
//! Always Implicit VR Little Endian. Elements that nothing here needs are skipped.

use crate::status::Status;

/// The longest command set that is gathered.
pub(crate) const COMMAND_BYTES_MAX: usize = 16 << 10;

const GROUP_LENGTH: u16 = 0x0000;
const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const MESSAGE_ID_BEING_RESPONDED_TO: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
const EVENT_TYPE_ID: u16 = 0x1002;
const ACTION_TYPE_ID: u16 = 0x1008;

/// PS3.7 Table E.1-1: Command Data Set Type (0000,0800) when there is none.
const NO_DATA_SET: u16 = 0x0101;
const WITH_DATA_SET: u16 = 0x0001;

/// PS3.7 Table E.1-1: Command Field (0000,0100).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    StoreRq,
    StoreRsp,
    EchoRq,
    EchoRsp,
    EventReportRq,
    EventReportRsp,
    ActionRq,
    ActionRsp,
    CancelRq,
    Other(u16),
}

impl Operation {
    const CODES: &[(Self, u16)] = &[
        (Self::StoreRq, 0x0001),
        (Self::StoreRsp, 0x8001),
        (Self::EchoRq, 0x0030),
        (Self::EchoRsp, 0x8030),
        (Self::EventReportRq, 0x0100),
        (Self::EventReportRsp, 0x8100),
        (Self::ActionRq, 0x0130),
        (Self::ActionRsp, 0x8130),
        (Self::CancelRq, 0x0FFF),
    ];

    fn decode(code: u16) -> Self {
        Self::CODES
            .iter()
            .find(|(_, known)| *known == code)
            .map_or(Self::Other(code), |(operation, _)| *operation)
    }

    fn code(self) -> u16 {
        match self {
            Self::Other(code) => code,
            known => {
                Self::CODES.iter().find(|(operation, _)| *operation == known).map_or(0, |(_, code)| *code)
            }
        }
    }

    /// The response to a request (PS3.7 §E.1: the highest bit).
    fn response(self) -> Self {
        Self::decode(self.code() | 0x8000)
    }

    pub(crate) fn is_request(self) -> bool {
        self.code() & 0x8000 == 0
    }
}

/// PS3.7 Table E.1-1: Priority (0000,0700).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    #[default]
    Medium = 0,
    High = 1,
}

/// A command set that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCommand {
    #[error("it ends inside an element")]
    Cut,
    #[error("element ({0:04X},{1:04X}) is no element of a command")]
    Misplaced(u16, u16),
    #[error("element (0000,{0:04X}) is missing or malformed")]
    Missing(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command<'bytes> {
    pub(crate) operation: Operation,
    pub(crate) message_id: u16,
    pub(crate) has_data_set: bool,
    pub(crate) status: Option<Status>,
    /// Affected or requested SOP Class UID, as the operation has it.
    pub(crate) sop_class: Option<&'bytes str>,
    pub(crate) sop_instance: Option<&'bytes str>,
    pub(crate) action_type: Option<u16>,
    pub(crate) event_type: Option<u16>,
}

impl<'bytes> Command<'bytes> {
    /// # Errors
    /// When it is no command set, or says neither what it is nor whether data follow.
    pub(crate) fn decode(mut bytes: &'bytes [u8]) -> Result<Self, BadCommand> {
        let (mut operation, mut data_set_type, mut message_id, mut responded) = (None, None, None, None);
        let (mut affected_class, mut requested_class) = (None, None);
        let (mut affected_instance, mut requested_instance) = (None, None);
        let (mut status, mut action_type, mut event_type) = (None, None, None);
        while !bytes.is_empty() {
            let (element, value, rest) = next_element(bytes)?;
            bytes = rest;
            match element {
                COMMAND_FIELD => operation = us(value).map(Operation::decode),
                COMMAND_DATA_SET_TYPE => data_set_type = us(value),
                MESSAGE_ID => message_id = us(value),
                MESSAGE_ID_BEING_RESPONDED_TO => responded = us(value),
                AFFECTED_SOP_CLASS_UID => affected_class = ui(value),
                REQUESTED_SOP_CLASS_UID => requested_class = ui(value),
                AFFECTED_SOP_INSTANCE_UID => affected_instance = ui(value),
                REQUESTED_SOP_INSTANCE_UID => requested_instance = ui(value),
                STATUS => status = us(value).map(Status),
                ACTION_TYPE_ID => action_type = us(value),
                EVENT_TYPE_ID => event_type = us(value),
                _ => {}
            }
        }
        let operation = operation.ok_or(BadCommand::Missing(COMMAND_FIELD))?;
        let id = if operation.is_request() { message_id } else { responded.or(message_id) };
        Ok(Self {
            operation,
            message_id: id.ok_or(BadCommand::Missing(MESSAGE_ID))?,
            has_data_set: data_set_type.ok_or(BadCommand::Missing(COMMAND_DATA_SET_TYPE))? != NO_DATA_SET,
            status,
            sop_class: affected_class.or(requested_class),
            sop_instance: affected_instance.or(requested_instance),
            action_type,
            event_type,
        })
    }

    /// The response to this request.
    pub(crate) fn answer(&self, status: Status) -> Vec<u8> {
        let mut out = CommandWriter::new();
        out.text(AFFECTED_SOP_CLASS_UID, self.sop_class);
        out.number(COMMAND_FIELD, Some(self.operation.response().code()));
        out.number(MESSAGE_ID_BEING_RESPONDED_TO, Some(self.message_id));
        out.number(COMMAND_DATA_SET_TYPE, Some(NO_DATA_SET));
        out.number(STATUS, Some(status.0));
        out.text(AFFECTED_SOP_INSTANCE_UID, self.sop_instance);
        out.number(EVENT_TYPE_ID, self.event_type);
        out.number(ACTION_TYPE_ID, self.action_type);
        out.finish()
    }
}

pub(crate) fn echo_rq(message_id: u16) -> Vec<u8> {
    let mut out = CommandWriter::new();
    out.text(AFFECTED_SOP_CLASS_UID, Some(crate::sop_class::VERIFICATION));
    out.number(COMMAND_FIELD, Some(Operation::EchoRq.code()));
    out.number(MESSAGE_ID, Some(message_id));
    out.number(COMMAND_DATA_SET_TYPE, Some(NO_DATA_SET));
    out.finish()
}

pub(crate) fn store_rq(message_id: u16, sop_class: &str, sop_instance: &str, priority: Priority) -> Vec<u8> {
    let mut out = CommandWriter::new();
    out.text(AFFECTED_SOP_CLASS_UID, Some(sop_class));
    out.number(COMMAND_FIELD, Some(Operation::StoreRq.code()));
    out.number(MESSAGE_ID, Some(message_id));
    out.number(PRIORITY, Some(priority as u16));
    out.number(COMMAND_DATA_SET_TYPE, Some(WITH_DATA_SET));
    out.text(AFFECTED_SOP_INSTANCE_UID, Some(sop_instance));
    out.finish()
}

pub(crate) fn event_report_rq(
    message_id: u16,
    sop_class: &str,
    sop_instance: &str,
    event_type: u16,
) -> Vec<u8> {
    let mut out = CommandWriter::new();
    out.text(AFFECTED_SOP_CLASS_UID, Some(sop_class));
    out.number(COMMAND_FIELD, Some(Operation::EventReportRq.code()));
    out.number(MESSAGE_ID, Some(message_id));
    out.number(COMMAND_DATA_SET_TYPE, Some(WITH_DATA_SET));
    out.text(AFFECTED_SOP_INSTANCE_UID, Some(sop_instance));
    out.number(EVENT_TYPE_ID, Some(event_type));
    out.finish()
}

pub(crate) fn action_rq(message_id: u16, sop_class: &str, sop_instance: &str, action_type: u16) -> Vec<u8> {
    let mut out = CommandWriter::new();
    out.text(REQUESTED_SOP_CLASS_UID, Some(sop_class));
    out.number(COMMAND_FIELD, Some(Operation::ActionRq.code()));
    out.number(MESSAGE_ID, Some(message_id));
    out.number(COMMAND_DATA_SET_TYPE, Some(WITH_DATA_SET));
    out.text(REQUESTED_SOP_INSTANCE_UID, Some(sop_instance));
    out.number(ACTION_TYPE_ID, Some(action_type));
    out.finish()
}

/// Writes elements in the order of their tags, with the group length in front.
struct CommandWriter(Vec<u8>);

impl CommandWriter {
    fn new() -> Self {
        let mut out = Self(Vec::with_capacity(256));
        out.element(GROUP_LENGTH, &[0; 4]);
        out
    }

    fn number(&mut self, element: u16, value: Option<u16>) {
        if let Some(value) = value {
            self.element(element, &value.to_le_bytes());
        }
    }

    fn text(&mut self, element: u16, value: Option<&str>) {
        if let Some(value) = value {
            let mut value = value.as_bytes().to_vec();
            value.resize(value.len().next_multiple_of(2), 0);
            self.element(element, &value);
        }
    }

    fn element(&mut self, element: u16, value: &[u8]) {
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&element.to_le_bytes());
        let length = u32::try_from(value.len()).expect("command values are short");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 12).expect("commands are short");
        self.0[8..12].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

fn next_element(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), BadCommand> {
    let (header, rest) = bytes.split_at_checked(8).ok_or(BadCommand::Cut)?;
    let group = u16::from_le_bytes([header[0], header[1]]);
    let element = u16::from_le_bytes([header[2], header[3]]);
    if group != 0 {
        return Err(BadCommand::Misplaced(group, element));
    }
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (value, rest) = rest.split_at_checked(length as usize).ok_or(BadCommand::Cut)?;
    Ok((element, value, rest))
}

fn us(value: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(value.try_into().ok()?))
}

fn ui(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim_matches(['\0', ' ']);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_store_request_reads_back_and_its_answer_names_it() {
        let bytes = store_rq(7, "1.2.840.10008.5.1.4.1.1.4", "1.2.3", Priority::High);
        let command = Command::decode(&bytes).unwrap();
        assert_eq!(
            (command.operation, command.message_id, command.has_data_set),
            (Operation::StoreRq, 7, true)
        );
        let answer = command.answer(Status::OUT_OF_RESOURCES);
        let answer = Command::decode(&answer).unwrap();
        assert_eq!((answer.operation, answer.message_id), (Operation::StoreRsp, 7));
        assert_eq!(answer.status, Some(Status(0xA700)));
        assert_eq!(answer.sop_instance, Some("1.2.3"));
        assert!(!answer.has_data_set);
    }

    #[test]
    fn the_group_length_counts_what_follows_it() {
        let bytes = echo_rq(1);
        assert_eq!(u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize, bytes.len() - 12);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Command::decode(&bytes).is_ok();
        }

        #[test]
        fn no_damage_makes_decoding_panic(at in 0_usize..200, byte in any::<u8>(), end in 0_usize..200) {
            let mut bytes = store_rq(7, "1.2.840.10008.5.1.4.1.1.4", "1.2.3", Priority::High);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(end.max(1));
            let _ = Command::decode(&bytes).is_ok();
        }
    }
}
